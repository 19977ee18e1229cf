"""Routines that come with the library: for data, and for choosing a way through a flow."""

from routilux.builtin_routines.control_flow import ConditionalRouter
from routilux.builtin_routines.data_processing import DataFlattener, DataTransformer, DataValidator

__all__ = ["ConditionalRouter", "DataFlattener", "DataTransformer", "DataValidator"]
