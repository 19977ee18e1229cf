"""Our classes in serilux's registry, which knows classes by their bare name only."""

from importlib import import_module
from types import ModuleType
from typing import TypeVar

from serilux import Serializable, SerializableRegistry, register_serializable

from routilux.errors import RegisteredNameError

__all__ = ["BUILTIN_NAMES", "OwnFields", "load_builtins", "registered", "registered_class"]

C = TypeVar("C", bound=type)

# Together they cost a third of `import routilux` again, so they are imported when one of them is first asked for: by a
# name of the package root, or by saved data. Both come here.
BUILTIN_NAMES = frozenset(
    {
        "ConditionalRouter",
        "DataFlattener",
        "DataTransformer",
        "DataValidator",
        "ResultExtractor",
        "TextClipper",
        "TextRenderer",
        "TimeProvider",
    }
)
_BUILTIN_MODULE = "routilux.builtin_routines"


def load_builtins() -> ModuleType:
    """The module of the built-in routines. A thread that comes while another imports it waits until it is complete.

    Raises:
        RegisteredNameError: When the application registered a class of the same name as one of them before.
    """
    return import_module(_BUILTIN_MODULE)


def registered_class(name: str) -> type | None:
    """The class that is registered under a name; one of the built-in routines is imported for it.

    This does not import what data name. The table is ours, and so is the one module that is imported: the name only
    decides whether. A class of the application that is registered under such a name is the one that is meant.

    Raises:
        RegisteredNameError: As in `load_builtins`.
    """
    known = SerializableRegistry.get_class(name)
    # Also where it is there already: another thread may have come no further than to register it.
    if name in BUILTIN_NAMES and (known is None or known.__module__.startswith(f"{_BUILTIN_MODULE}.")):
        load_builtins()
        known = SerializableRegistry.get_class(name)
    return known


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
