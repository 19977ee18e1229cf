"""Reading saved data: every value is looked at before it is used."""

import math
from collections.abc import Callable
from typing import Any

from routilux.errors import InvalidDataError
from routilux.plain import plain, shortened

__all__ = ["Reader"]


class Reader:
    """The saved form of one object. A missing key keeps what the object has; an unknown one is ignored.

    Args:
        data: The saved form; never changed.
        what: What it is of, for messages.

    Raises:
        InvalidDataError: It is not a dict.
    """

    def __init__(self, data: Any, what: str) -> None:
        if not isinstance(data, dict):
            raise InvalidDataError(f"The saved form of {what} must be a dict, not {shortened(data)}.")
        self._data = data
        self._what = what

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def has(self, key: str) -> bool:
        """Whether a key is there and not None."""
        return self._data.get(key) is not None

    def all(self) -> dict[str, Any]:
        """Everything, not looked at."""
        return self._data

    def raw(self, key: str) -> Any:
        """A value as it stands there, not looked at.

        Raises:
            InvalidDataError: It is missing.
        """
        if key not in self._data:
            raise InvalidDataError(f"{self._what}: {key!r} is missing.")
        return self._data[key]

    def wrong(self, key: str, expected: str) -> InvalidDataError:
        """The error for a value that is not what it should be."""
        return InvalidDataError(f"{self._what}: {key!r} must be {expected}, not {shortened(self._data[key])}.")

    def text(self, key: str) -> str:
        """A str."""
        value = self.raw(key)
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def number(self, key: str) -> float:
        """An int or float, not a bool, and no int that is beyond all floats."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        try:
            math.isnan(value)
        except OverflowError:
            raise self.wrong(key, "a number that can be reckoned with") from None
        return value

    def flag(self, key: str) -> bool:
        """A bool."""
        value = self.raw(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        """A dict with str keys; its values are not looked at."""
        value = self.raw(key)
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise self.wrong(key, "a dict with text keys")
        return value

    def items(self, key: str) -> list[Any]:
        """A list; its items are not looked at."""
        value = self.raw(key)
        if not isinstance(value, list | tuple):
            raise self.wrong(key, "a list")
        return list(value)

    def user_data(self, key: str) -> Any:
        """A copy of user data, whatever they are."""
        return plain(self.raw(key), f"{self._what}: {key}")

    def dicts(self, key: str, check: Callable[[dict[str, Any], str], None] | None = None) -> list[dict[str, Any]]:
        """A list of dicts, copied."""
        found = self.user_data(key)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise self.wrong(key, "a list of dicts")
        for index, item in enumerate(found):
            if check is not None:
                check(item, f"{self._what}: {key}[{index}]")
        return found
