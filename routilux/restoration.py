"""What our classes have in common as data: the fields that an application has added, and restoring all or nothing.

Reading comes first and changes nothing: each object that data are for becomes a `Restoration`. Then all of them are
carried out together, and what is refused at that stage is undone.
"""

from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

from serilux import Serializable

from routilux.callables import describe_callable, is_saved_callable, restore_callable, restore_part
from routilux.plain import plain
from routilux.registration import OwnFields
from routilux.saved import Reader

__all__ = [
    "Restoration",
    "added_values",
    "read_additions",
    "read_by_class",
    "restore_additions",
    "restore_together",
    "saved_additions",
]

P = TypeVar("P", bound=OwnFields)


def _added_fields(part: OwnFields, own_keys: Container[str]) -> list[str]:
    """What `add_serializable_fields`, or annotations of a registered subclass, save besides our own."""
    annotated = getattr(type(part), "__serilux_fields__", ())
    names = dict.fromkeys([*part.fields_to_serialize, *annotated])
    return [name for name in names if name not in own_keys and name not in ("_type", "fields_to_serialize")]


def added_values(part: OwnFields, own_keys: Container[str]) -> list[Any]:
    """What stands in the fields that an application has added to an object."""
    return [getattr(part, name, None) for name in _added_fields(part, own_keys)]


def saved_additions(
    part: OwnFields,
    own_keys: Container[str],
    where: str,
    below: dict[str, Any] | None = None,
    owner: Any = None,
) -> dict[str, Any]:
    """The fields that an application has added to an object, as data.

    Args:
        part: The object.
        own_keys: The keys that its class saves itself.
        where: What it is, for messages.
        below: The keyword arguments for `serialize` of what it holds.
        owner: Whose methods may come back: the routine that `part` belongs to, else `part` itself.

    Raises:
        TypeError: A value that is not JSON; the message names the path to it.
        ValueError: A method of another routine.
    """
    saved: dict[str, Any] = {}
    for name in _added_fields(part, own_keys):
        value, place = getattr(part, name, None), f"{name} of {where}"
        if isinstance(value, Serializable):
            saved[name] = plain(value.serialize(**(below or {})), place)
        elif callable(value):
            saved[name] = describe_callable(value, owner if owner is not None else part, place)
        else:
            saved[name] = plain(value, place)
    return saved


def read_additions(part: OwnFields, own_keys: Container[str], reader: Reader) -> dict[str, Any]:
    """The added fields that data have, copied. What they are is decided when they are set: that asks the object.

    Raises:
        TypeError: A value that is not JSON.
    """
    return {name: reader.user_data(name) for name in _added_fields(part, own_keys) if name in reader}


class Restoration:
    """What data will change in one object: read, and not yet done.

    Args:
        part: The object.
        values: Its attributes' new values, checked.
        additions: What `read_additions` found.
        where: What it is, for messages.
        owner: Whose methods may come back; see `saved_additions`.
    """

    def __init__(
        self, part: Any, values: dict[str, Any], additions: dict[str, Any], where: str, owner: Any = None
    ) -> None:
        self.part = part
        self._values = values
        self._additions = additions
        self._where = where
        self._owner = owner if owner is not None else part

    def set_values(self) -> None:
        """Set what the class saves itself."""
        for name, value in self._values.items():
            setattr(self.part, name, value)

    def set_additions(self) -> list[tuple[Serializable, Any, str]]:
        """Set the added fields; returns those that serilux restores, with their data and what they are.

        Raises:
            CallableError: A callable that saved data may not bring back.
        """
        left = []
        for name, saved in self._additions.items():
            present, value, where = getattr(self.part, name, None), saved, f"{name} of {self._where}"
            if value is not None and isinstance(present, Serializable):
                left.append((present, value, where))
                continue
            if (present is None or callable(present)) and is_saved_callable(value):
                is_there = present is not None and describe_callable(present, self._owner, where) == value
                value = present if is_there else restore_callable(value, self._owner, where)
            setattr(self.part, name, value)
        return left


class _ByItself(Restoration):
    """An object of a class of the application that has a `deserialize` of its own."""

    def __init__(self, part: Any, data: dict[str, Any]) -> None:
        super().__init__(part, {}, {}, "")
        self._data = data

    def set_values(self) -> None:
        self.part.deserialize(self._data)


def read_by_class(part: P, data: dict[str, Any], cls: type[P], read: Callable[[P, Any], Restoration]) -> Restoration:
    """What `read` finds for an object of `cls`; a subclass with a `deserialize` of its own reads the data itself."""
    return read(part, data) if type(part).deserialize is cls.deserialize else _ByItself(part, data)


def restore_together(restorations: Sequence[Restoration]) -> None:
    """Carry out what was read, all of it or nothing.

    Code of the application may refuse here: the setter of a property, a `deserialize` of its own. Then every object,
    and every part that serilux restores, gets back the attributes that it had. What such code has changed elsewhere,
    or inside a value that it did not replace, is not undone. Parts come last.

    Raises:
        CallableError: A callable that saved data may not bring back.
        InvalidDataError: serilux refuses the data of a part.
    """
    before = [(each.part, dict(vars(each.part))) for each in restorations]
    try:
        for each in restorations:
            each.set_values()
        parts = [found for each in restorations for found in each.set_additions()]
        for part, data, where in parts:
            before.append((part, dict(vars(part))))
            restore_part(part, data, where)
    except BaseException:
        for part, attributes in reversed(before):
            vars(part).update(attributes)
            for name in vars(part).keys() - attributes.keys():
                del vars(part)[name]
        raise


def restore_additions(part: OwnFields, own_keys: Container[str], data: Any, where: str) -> None:
    """Restore the fields that an application has added to an object, all of them or none; see `restore_together`.

    For classes whose own fields have been checked, and are taken over afterwards: those cannot be refused any more.

    Raises:
        TypeError: A value that is not JSON.
        ValueError: A value that is refused.
    """
    additions = read_additions(part, own_keys, Reader(data, where))
    restore_together([Restoration(part, {}, additions, where)])
