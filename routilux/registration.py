"""Our classes in serilux's registry, which knows classes by their bare name only."""

from typing import TypeVar

from serilux import Serializable, SerializableRegistry, register_serializable

from routilux.errors import RegisteredNameError

__all__ = ["OwnFields", "registered"]

C = TypeVar("C", bound=type)


def registered(cls: C) -> C:
    """Register one of our classes with serilux.

    Raises:
        RegisteredNameError: When the application registered a class of the same name before it imported routilux.
    """
    taken = SerializableRegistry.get_class(cls.__name__)
    if taken is not None and taken is not cls:
        theirs = f"{taken.__module__}.{taken.__qualname__}"
        ours = f"{cls.__module__}.{cls.__qualname__}"
        raise RegisteredNameError(
            f"serilux knows classes by their bare name, and {cls.__name__!r} is taken: {theirs} was registered "
            f"before {ours} could be. Rename {theirs}, or do not register it with serilux."
        )
    register_serializable(cls)
    return cls


class OwnFields(Serializable):
    """The list of saved fields stands on the class until an instance changes its own.

    serilux makes a list per instance (1.6 us, and 150 bytes a record). Reading the class's list costs nothing,
    but serilux appends to the list it finds: the first change therefore gives the instance a list of its own.
    """

    def add_serializable_fields(self, fields: list[str]) -> None:
        """Save further attributes of this instance, by their names."""
        self.fields_to_serialize = list(self.fields_to_serialize)  # not annotated: serilux saves annotated names
        super().add_serializable_fields(fields)
