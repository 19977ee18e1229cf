"""Routines that other routines ask for something."""

from routilux.builtin_routines.utils.time_provider import TimeProvider

__all__ = ["TimeProvider"]
