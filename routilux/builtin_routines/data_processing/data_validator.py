"""DataValidator: data go one way or the other, by rules."""

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from routilux.builtin_routines.any_value import items_of, text_of_value, value_received
from routilux.builtin_routines.named_functions import NamedFunctions
from routilux.builtin_routines.plain_functions import answer_of
from routilux.errors import InvalidTypeError, text_of
from routilux.plain import pairs_of, shortened
from routilux.registration import registered

__all__ = ["DataValidator"]

# Functions of this module may be named by saved data, as every function beside a registered class: they are harmless.


def not_empty(value: Any) -> bool:
    """Whether it is neither None nor something of length 0. A number is never empty."""
    return value is not None and not (isinstance(value, Sized) and len(value) == 0)


def is_string(value: Any) -> bool:
    """Whether it is a str."""
    return isinstance(value, str)


def is_int(value: Any) -> bool:
    """Whether it is an int; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_float(value: Any) -> bool:
    """Whether it is a float, NaN and the infinities included."""
    return isinstance(value, float)


def is_number(value: Any) -> bool:
    """Whether it is an int or a float; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_dict(value: Any) -> bool:
    """Whether it is a dict."""
    return isinstance(value, dict)


def is_list(value: Any) -> bool:
    """Whether it is a list."""
    return isinstance(value, list)


def is_positive(value: Any) -> bool:
    """Whether it is a number above 0."""
    return is_number(value) and value > 0


def is_non_negative(value: Any) -> bool:
    """Whether it is a number that is 0 or above."""
    return is_number(value) and value >= 0


BUILT_IN: dict[str, Callable[[Any], Any]] = {
    each.__name__: each
    for each in (
        not_empty,
        is_string,
        is_int,
        is_float,
        is_number,
        is_dict,
        is_list,
        is_positive,
        is_non_negative,
    )
}


@registered
class DataValidator(NamedFunctions):
    """Checks data against rules, and emits `valid` or `invalid`.

    Slot `input`: anything. Event `valid`: `validated_data`. Event `invalid`: `errors` (a list of texts) and `data`.

    A dict is checked for its required fields, then by the rules of the fields that it has, then for fields that are
    neither required nor in the rules. Each item of a list or tuple is checked by the rule "items", and anything else by
    the rule "value"; `required_fields` and `allow_extra_fields` say nothing about those.

    A rule is a validator or a list of validators: a name, or a function that returns a bool or (bool, message). Names:
    not_empty, is_string, is_int, is_float, is_number, is_dict, is_list, is_positive, is_non_negative, and the
    registered ones, which come first. A validator that raises, or is not known, is an error of its field.

    Functions in the rules, and registered ones, are saved as those of `DataTransformer` are.

    Config:
        rules: {field: rule} ({}).
        strict_mode: Stop at the first error (False).
        required_fields: A list of fields, or one alone ([]).
        allow_extra_fields: Whether a dict may have other fields (True).
    """

    def __init__(self) -> None:
        super().__init__("validator", BUILT_IN, ("rules",))
        self.set_config(rules={}, strict_mode=False, required_fields=[], allow_extra_fields=True)
        self.input_slot = self.define_slot("input", handler=self._validate_input)
        self.valid_event = self.define_event("valid", ["validated_data"])
        self.invalid_event = self.define_event("invalid", ["errors", "data"])

    def register_validator(self, name: str, function: Callable[[Any], Any]) -> None:
        """Let rules name a function of one argument; in this routine it comes before a built-in of that name.

        Raises:
            ValueError: The name is no text, or empty.
            TypeError: The function cannot be called, or is `async def`.
        """
        self._register(name, function)

    def set_config(self, **kwargs: Any) -> None:
        """Set configuration values; functions in the rules may come back from saved data.

        Raises:
            TypeError: Rules that are no dict, a rule that is `async def`, or required fields that cannot be listed;
                nothing is set then.
        """
        required = kwargs.get("required_fields")
        if isinstance(required, Iterable) and not isinstance(required, str):
            kwargs["required_fields"] = list(required)  # the keys of a dict, say, which could not be saved
        elif not isinstance(required, str | None):
            raise InvalidTypeError(f"required_fields of {self!r} must be a list of fields, not {shortened(required)}.")
        super().set_config(**kwargs)

    def _check_config(self, key: str, value: Any) -> None:
        self._require_mapping(key, value)

    def _validate_input(self, /, **received: Any) -> None:
        value, config = value_received(self, received), self.config()
        found = self._errors_in(value, config)
        first = next(found, None)
        if first is None:
            self.emit("valid", validated_data=value)
            return
        errors = [first] if config.get("strict_mode", False) else [first, *found]
        self.emit("invalid", errors=errors, data=value)

    def _errors_in(self, value: Any, config: dict[str, Any]) -> Iterator[str]:
        """Everything that is wrong, one after the other: whoever stops asking stops the checking."""
        rules = self._require_mapping("rules", config.get("rules"))
        if isinstance(value, dict):
            fields = _fields_of(value)
            if fields is None:
                yield f"The fields of {shortened(value)} cannot be read"
            else:
                yield from self._errors_in_fields(fields, rules, config)
        elif isinstance(value, list | tuple):
            items = items_of(value)
            if items is None:
                yield f"The items of {shortened(value)} cannot be read"
            for index, item in items or () if "items" in rules else ():
                yield from self._errors_of_field(f"items[{index}]", item, rules["items"])
        elif "value" in rules:
            yield from self._errors_of_field("value", value, rules["value"])

    def _errors_in_fields(self, fields: dict[Any, Any], rules: dict[Any, Any], config: dict[str, Any]) -> Iterator[str]:
        required = _listed(config.get("required_fields"))
        for field in required:
            if not _has(fields, field):
                yield f"Required field {_quoted(field)} is missing"
        for field, rule in rules.copy().items():
            if _has(fields, field):
                yield from self._errors_of_field(field, fields[field], rule)
        if not config.get("allow_extra_fields", True):
            for field in fields:
                if not _has(rules, field) and not _has(required, field):
                    yield f"Unexpected field {_quoted(field)}"

    def _errors_of_field(self, field: Any, value: Any, rule: Any) -> Iterator[str]:
        for validator in _listed(rule):
            complaint = self._complaint(validator, value)
            if complaint is not None:
                yield f"Field {_quoted(field)} failed validation" + (f": {complaint}" if complaint else "")

    def _complaint(self, validator: Any, value: Any) -> str | None:
        """What a validator has to say against a value: None for nothing, "" for no more than that it fails."""
        function = self._named(validator) if isinstance(validator, str) else validator
        if not callable(function):
            return f"unknown validator {shortened(validator)}"
        try:
            result = answer_of(function, value)
            if not isinstance(result, tuple):
                return None if result else ""
            passed, message = result
            if passed:
                return None
            return "" if message is None else text_of_value(message)
        except Exception as error:  # noqa: BLE001 - code of the application, or a result that is neither true nor false
            return f"{type(error).__name__}: {text_of(error)}"


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def _quoted(field: Any) -> str:
    return f"'{text_of_value(field)}'"


def _fields_of(value: dict[Any, Any]) -> dict[Any, Any] | None:
    """The fields as they are now; None where a class of the application fails to give them."""
    try:
        return dict(pairs_of(value))
    except Exception:  # noqa: BLE001 - code of the application
        return None


def _has(container: dict[Any, Any] | list[Any], field: Any) -> bool:
    try:
        return field in container
    except Exception:  # noqa: BLE001 - no field at all, as a list is none, or an `__eq__` of the application
        return False
