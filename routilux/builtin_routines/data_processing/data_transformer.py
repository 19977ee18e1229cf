"""DataTransformer: functions applied to data, one after the other."""

from collections.abc import Callable
from typing import Any

from routilux.builtin_routines.any_value import is_repeated_too_often, text_of_value, value_received
from routilux.builtin_routines.named_functions import NamedFunctions
from routilux.builtin_routines.plain_functions import answer_of, check_function
from routilux.callables import is_saved_callable
from routilux.errors import InvalidTypeError, InvalidValueError, text_of
from routilux.expressions import Expression
from routilux.plain import shortened
from routilux.registration import registered

__all__ = ["DataTransformer"]

# Functions of this module may be named by saved data, as every function beside a registered class: they are harmless.


def lowercase(value: Any) -> Any:
    """A text in lower case; anything else as it is."""
    return value.lower() if isinstance(value, str) else value


def uppercase(value: Any) -> Any:
    """A text in upper case; anything else as it is."""
    return value.upper() if isinstance(value, str) else value


def strip_whitespace(value: Any) -> Any:
    """A text without space around it; anything else as it is."""
    return value.strip() if isinstance(value, str) else value


def to_string(value: Any) -> str:
    """As text.

    Raises:
        ValueError: Containers in it share their parts without end in sight.
    """
    if isinstance(value, dict | list | tuple) and is_repeated_too_often(value):
        raise ValueError("containers in it stand in so many places that the text would take all memory")
    return str(value)


def to_int(value: Any) -> int:
    """As a whole number."""
    return int(value)


def to_float(value: Any) -> float:
    """As a float."""
    return float(value)


def remove_none(value: Any) -> Any:
    """A dict, list or tuple without its items that are None; anything else as it is."""
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [item for item in value if item is not None]
    if isinstance(value, tuple):
        return tuple([item for item in value if item is not None])
    return value


BUILT_IN: dict[str, Callable[[Any], Any]] = {
    "lowercase": lowercase,
    "uppercase": uppercase,
    "strip_whitespace": strip_whitespace,
    "strip": strip_whitespace,
    "to_string": to_string,
    "to_int": to_int,
    "to_float": to_float,
    "remove_none": remove_none,
}


@registered
class DataTransformer(NamedFunctions):
    """Applies transformations in order, each to the result of the one before.

    Slot `input`: anything, and optionally `transformations` instead of the configured ones. Event `output`:
    `transformed_data`, `transformation_applied` (the names of those that succeeded) and `errors` (a list of texts, or
    None). A transformation that raises, or is not known, leaves the value as it is.

    Names: lowercase, uppercase, strip_whitespace (or strip), to_string, to_int, to_float, remove_none. A name is
    looked for in `transformation_map`, then among the registered ones, then among these. One that the map leads to is
    looked for in the same way, but for one that leads to itself. Names that lead round in a circle are an error.

    Functions of the config must be savable where the flow is saved: functions at module level, lambdas that use nothing
    but their parameters, and methods of the routine itself. Registered ones that are not are left out of saved
    data: register them again in the constructor of a subclass, or after loading.

    Config:
        transformations: A list of names and functions of one argument ([]); one alone need not be in a list.
        transformation_map: Further names: {name: function, or another name} ({}).
        chain_transformations: Has no effect (True).
    """

    def __init__(self) -> None:
        super().__init__("transformation", BUILT_IN, ("transformations", "transformation_map"))
        self.set_config(transformations=[], transformation_map={}, chain_transformations=True)
        self.input_slot = self.define_slot("input", handler=self._transform_input)
        self.output_event = self.define_event("output", ["transformed_data", "transformation_applied", "errors"])

    def register_transformation(self, name: str, function: Callable[[Any], Any]) -> None:
        """Make a function of one argument known by a name; a built-in of that name is replaced in this routine.

        Raises:
            ValueError: The name is no text, or empty.
            TypeError: The function cannot be called, or is `async def`.
        """
        self._register(name, function)

    def set_config(self, **kwargs: Any) -> None:
        """Set configuration values; functions among them may come back from saved data.

        Raises:
            TypeError: Transformations that are no list, a map that is no dict, or a function that is `async def`;
                nothing is set then.
            ValueError: The saved form of a function.
        """
        wanted = kwargs.get("transformations")
        if not isinstance(wanted, str | list | tuple | None) and not callable(wanted) and not is_saved_callable(wanted):
            raise InvalidTypeError(
                f"transformations of {self!r} must be a list of names and functions, or one of them, not "
                f"{shortened(wanted)}."
            )
        super().set_config(**kwargs)

    def _check_config(self, key: str, value: Any) -> None:
        if key == "transformation_map":
            self._require_mapping(key, value)

    def _transform_input(self, /, **received: Any) -> None:
        config = self.config()
        delivered = received.pop("transformations", None)
        transformations = config.get("transformations") if delivered is None else delivered
        names = self._require_mapping("transformation_map", config.get("transformation_map"))
        value = value_received(self, received)
        applied: list[str] = []
        errors: list[str] = []
        for each in _listed(transformations):
            name = _name_of(each)
            try:
                function = self._found(each, names)
                if not callable(function):
                    errors.append(f"Unknown transformation: {name}")
                    continue
                if delivered is not None:
                    check_function(function, name)
                value = answer_of(function, value)
            except Exception as error:  # noqa: BLE001 - code of the application
                errors.append(f"Error applying {name}: {text_of(error)}")
            else:
                applied.append(name)
        self.emit("output", transformed_data=value, transformation_applied=applied, errors=errors or None)

    def _found(self, wanted: Any, names: dict[Any, Any]) -> Any:
        """What a name means, by way of the map; anything else is itself.

        Raises:
            InvalidValueError: The names of the map lead round in a circle.
        """
        passed: dict[str, None] = {}
        while isinstance(wanted, str) and wanted in names:
            meant = names[wanted]
            if isinstance(meant, str) and meant == wanted:
                break
            if wanted in passed:
                way = list(passed)
                circle = " -> ".join([*way[way.index(wanted) :], wanted])
                raise InvalidValueError(f"transformation_map leads round in a circle, {circle[:500]}")
            passed[wanted] = None
            wanted = meant
        return self._named(wanted) if isinstance(wanted, str) else wanted


def _listed(transformations: Any) -> list[Any]:
    if transformations is None:
        return []
    return list(transformations) if isinstance(transformations, list | tuple) else [transformations]


def _name_of(wanted: Any) -> str:
    if isinstance(wanted, str):
        return text_of_value(wanted)
    if isinstance(wanted, Expression):
        return "<lambda>"  # as before it was saved
    try:
        name = wanted.__name__
    except Exception:  # noqa: BLE001 - an object of the application that is called like a function
        name = None
    return name if isinstance(name, str) else shortened(wanted)
