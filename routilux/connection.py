"""Connection: a line from an event to a slot, with a mapping of parameter names."""

from typing import TYPE_CHECKING, Any

from routilux.errors import InvalidTypeError
from routilux.event import Event, Link, mapped
from routilux.registration import OwnFields, registered
from routilux.restoration import Restoration, read_additions, restore_together, saved_additions
from routilux.saved import Reader

if TYPE_CHECKING:  # the far end is only named
    from routilux.slot import Slot

__all__ = ["Connection"]

OWN_KEYS = ("source_routine_id", "source_event", "target_routine_id", "target_slot", "param_mapping")


@registered
class Connection(OwnFields):
    """Connects an event and a slot, and renames parameters on the way.

    Args:
        source_event: Where it begins.
        target_slot: Where it ends.
        param_mapping: `{source name: target name}`. A source name that is present is renamed; other names pass.

    Attributes:
        owner: The flow that drew it, or None. In another flow with the same routines it is not there.
        source_id: The id of the source routine in that flow; None where only the event itself can tell.
        target_id: The id of the target routine in that flow; None likewise.
    """

    fields_to_serialize = ["param_mapping"]

    def __init__(
        self,
        source_event: Event | None = None,
        target_slot: "Slot | None" = None,
        param_mapping: dict[str, str] | None = None,
    ) -> None:
        self.owner: Any = None
        self.source_id: str | None = None
        self.target_id: str | None = None
        self._source_event = source_event
        self._target_slot = target_slot
        self._param_mapping = _checked(param_mapping)
        self._attach()

    def __repr__(self) -> str:
        return f"Connection[{self._end('source')} -> {self._end('target')}]" + (
            f" {self._param_mapping}" if self._param_mapping else ""
        )

    def _end(self, side: str) -> str:
        port: Any = self._source_event if side == "source" else self._target_slot
        if port is None:
            return "nothing"
        routine_id = self.source_id if side == "source" else self.target_id
        return f"{routine_id or getattr(port.routine, '_id', '')}.{port.name}"

    @property
    def source_event(self) -> Event | None:
        """The event; assigning another moves the line."""
        return self._source_event

    @source_event.setter
    def source_event(self, event: Event | None) -> None:
        self.disconnect()
        self._source_event = event
        self.source_id = None  # of another routine, perhaps: the wiring finds out whose event it is
        self._attach()

    @property
    def target_slot(self) -> "Slot | None":
        """The slot; assigning another moves the line."""
        return self._target_slot

    @target_slot.setter
    def target_slot(self, slot: "Slot | None") -> None:
        self.disconnect()
        self._target_slot = slot
        self.target_id = None
        self._attach()

    @property
    def param_mapping(self) -> dict[str, str]:
        """The mapping. Assign a new dict to change it; what was prepared from the old one is then prepared anew."""
        return self._param_mapping

    @param_mapping.setter
    def param_mapping(self, mapping: dict[str, str] | None) -> None:
        self._param_mapping = _checked(mapping)
        if self._source_event is not None:
            self._source_event.version += 1

    @property
    def is_connected(self) -> bool:
        """Whether the event has this line."""
        event = self._source_event
        return event is not None and any(link.connection is self for link in event.links)

    def activate(self, data: dict[str, Any]) -> None:
        """Map data and deliver them, now and on this thread."""
        if self._target_slot is not None:
            self._target_slot.receive(mapped(data, self._param_mapping))

    def disconnect(self) -> None:
        """Take the line away. Doing it twice changes nothing."""
        event = self._source_event
        if event is not None:
            event.remove_link(self)

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The connection as data: its ends by routine ids and names, and the fields that an application has added."""
        event, slot = self._source_event, self._target_slot
        below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": _current_depth + 1}
        return {
            "_type": type(self).__name__,
            "source_routine_id": self.source_id or getattr(getattr(event, "routine", None), "_id", None),
            "source_event": event.name if event is not None else None,
            "target_routine_id": self.target_id or getattr(getattr(slot, "routine", None), "_id", None),
            "target_slot": slot.name if slot is not None else None,
            "param_mapping": dict(self._param_mapping),
            **saved_additions(self, OWN_KEYS, "a Connection", below),
        }

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Take over the mapping, and added fields; a missing key keeps the present value.

        The ends are objects, and only a flow can find them; see `Flow.deserialize`.

        Raises:
            ValueError: A value that cannot be; the connection is then as it was.
        """
        reader = Reader(data, "a Connection")
        values = {"param_mapping": _checked(reader.mapping("param_mapping"))} if reader.has("param_mapping") else {}
        restore_together([Restoration(self, values, read_additions(self, OWN_KEYS, reader), "a Connection")])

    @classmethod
    def drawn_by(
        cls,
        owner: object,
        source: tuple[str, Event],
        target: tuple[str, "Slot"],
        param_mapping: dict[str, str] | None,
    ) -> "Connection":
        """A connection of one flow: the ids are part of it, since one routine may stand in a flow twice."""
        connection = cls(param_mapping=param_mapping)
        connection.owner = owner
        connection.source_id, connection._source_event = source
        connection.target_id, connection._target_slot = target
        connection._attach()
        return connection

    def _attach(self) -> None:
        if self._source_event is not None and self._target_slot is not None:
            self._source_event.add_link(Link(self._target_slot, self, None))


def _checked(mapping: Any) -> dict[str, str]:
    if mapping is None:
        return {}
    if not isinstance(mapping, dict) or not all(isinstance(n, str) for pair in mapping.items() for n in pair):
        raise InvalidTypeError(f"param_mapping must be a dict of names {{source: target}}, not {mapping!r}.")
    return dict(mapping)
