"""Stores: where runs are kept so that they outlive their process."""

from routilux.stores.base import JournalRow, RunHeader, Store, StoredInput, Write
from routilux.stores.opening import open_store

__all__ = ["JournalRow", "RunHeader", "Store", "StoredInput", "Write", "open_store"]
