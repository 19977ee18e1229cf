"""Routines that come with the library: registered, so that a flow with them is saved and restored."""

from routilux.builtin_routines.text_processing import ResultExtractor, TextClipper, TextRenderer
from routilux.builtin_routines.utils import TimeProvider

__all__ = ["ResultExtractor", "TextClipper", "TextRenderer", "TimeProvider"]
