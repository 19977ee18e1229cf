"""Routines that come with the library: registered, so that a flow with them is saved and restored."""

from routilux.builtin_routines.control_flow import ConditionalRouter
from routilux.builtin_routines.data_processing import DataFlattener, DataTransformer, DataValidator
from routilux.builtin_routines.text_processing import ResultExtractor, TextClipper, TextRenderer
from routilux.builtin_routines.utils import TimeProvider

__all__ = [
    "ConditionalRouter",
    "DataFlattener",
    "DataTransformer",
    "DataValidator",
    "ResultExtractor",
    "TextClipper",
    "TextRenderer",
    "TimeProvider",
]
