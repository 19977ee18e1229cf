"""Config values that hold functions: checked when they are set, written as data, and brought back."""

from collections.abc import Callable
from typing import Any

from routilux.builtin_routines.plain_functions import check_function
from routilux.callables import is_saved_callable, remember_callable, restore_callable
from routilux.errors import InvalidValueError
from routilux.lambda_source import describe_function
from routilux.plain import shortened

__all__ = ["checked_functions", "restored_functions", "saved_functions", "texts_in"]

# A list of functions, a dict of functions, or a dict of lists of functions. What is deeper is data.
LEVELS = 2


def checked_functions(value: Any, owner: Any, place: str, levels: int = LEVELS) -> Any:
    """A copy of a config value, as far as it holds functions; those may come back by name from now on.

    Args:
        value: Anything.
        owner: The routine, for messages.
        place: What is there in it, for messages: the config key.
        levels: How deep containers in containers may hold functions.

    Raises:
        InvalidValueError: It holds the saved form of a function, which would come back as that function.
        InvalidTypeError: It holds a function that is `async def` or a generator function.
    """

    def check(found: Any, where: str) -> Any:
        if is_saved_callable(found):
            raise InvalidValueError(
                f"{where} of {owner!r} is the saved form of a function, {shortened(found)}. Give the function "
                "itself, or restore the routine with deserialize."
            )
        check_function(found, f"{where} of {owner!r}")
        remember_callable(found)
        return found

    return _mapped(value, place, lambda found: callable(found) or is_saved_callable(found), check, levels)


def saved_functions(value: Any, owner: Any, place: str, levels: int = LEVELS) -> Any:
    """A config value with its functions as data.

    Raises:
        CallableError: A function that cannot be saved; the message names it and what to do.
    """
    return _mapped(
        value, place, callable, lambda found, where: describe_function(found, owner, f"{where} of {owner!r}"), levels
    )


def restored_functions(value: Any, owner: Any, place: str, levels: int = LEVELS) -> Any:
    """What `saved_functions` wrote, with the functions in it.

    Raises:
        CallableError: A function that saved data may not bring back; the message names it.
    """
    return _mapped(
        value,
        place,
        is_saved_callable,
        lambda found, where: restore_callable(found, owner, f"{where} of {owner!r}"),
        levels,
    )


def texts_in(value: Any) -> set[str]:
    """The texts of a config value where it may hold functions: names of them, or anything else."""
    texts: set[str] = set()

    def note(found: str, _where: str) -> str:
        texts.add(str.__str__(found))
        return found

    _mapped(value, "", lambda found: isinstance(found, str), note, LEVELS)
    return texts


def _mapped(
    value: Any, where: str, is_meant: Callable[[Any], bool], change: Callable[[Any, str], Any], levels: int
) -> Any:
    if is_meant(value):
        return change(value, where)
    if not levels:
        return value
    if isinstance(value, list | tuple):
        return [
            _mapped(each, f"{where}[{index}]", is_meant, change, levels - 1) for index, each in enumerate(list(value))
        ]
    if isinstance(value, dict):
        return {
            key: _mapped(each, f"{where}[{shortened(key)}]", is_meant, change, levels - 1)
            for key, each in value.copy().items()
        }
    return value
