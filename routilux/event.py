"""Event: what a routine emits, and the slots that hear it."""

from typing import TYPE_CHECKING, Any

from routilux.plain import plain
from routilux.registration import OwnFields, registered
from routilux.restoration import Restoration, read_additions, restore_together, saved_additions
from routilux.saved import Reader

if TYPE_CHECKING:  # an event is drawn between these
    from routilux.connection import Connection
    from routilux.flow.flow import Flow
    from routilux.routine import Routine
    from routilux.slot import Slot

__all__ = ["Event", "Link", "read_event"]

OWN_KEYS = ("name", "output_params")


class Link:
    """One line from an event to a slot, in the order in which it was drawn.

    `connection` is None for a slot that was connected with `event.connect(slot)` alone.
    """

    __slots__ = ("connection", "mapping", "slot")

    def __init__(self, slot: "Slot", connection: "Connection | None", mapping: dict[str, str] | None) -> None:
        self.slot = slot
        self.connection = connection
        self.mapping = mapping


@registered
class Event(OwnFields):
    """Something that a routine emits.

    Args:
        name: Unique within the routine.
        routine: The routine that emits it.
        output_params: The names that it carries, for readers; any keyword may be emitted.

    Attributes:
        connected_slots: The slots that hear it, each once, in the order of their connection.
        version: Counts changes of the connections. A flow prepares what an emission does and looks here whether it
            is still right.
    """

    fields_to_serialize = list(OWN_KEYS)

    def __init__(
        self, name: str = "", routine: "Routine | None" = None, output_params: list[str] | None = None
    ) -> None:
        self.name = name
        self.routine = routine
        self.output_params: list[str] = list(output_params or [])
        self.connected_slots: list[Slot] = []
        self.links: list[Link] = []
        self.version = 0

    def __repr__(self) -> str:
        place = f"{getattr(self.routine, '_id', '')}.{self.name}" if self.routine is not None else self.name
        return f"Event[{place}] ({', '.join(self.output_params)}) -> {len(self.connected_slots)} slots"

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The event as data, with the fields that an application has added; its connections are the flow's."""
        where = f"event {self.name!r}"
        below: dict[str, Any] = {"max_depth": max_depth, "_current_depth": _current_depth + 1}
        return {
            "_type": type(self).__name__,
            "name": self.name,
            "output_params": plain(self.output_params, f"output_params of {where}"),
            **saved_additions(self, OWN_KEYS, where, below, self.routine),
        }

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:  # noqa: ARG002 - serilux's
        """Take over what `serialize` wrote; a missing key keeps the present value.

        Raises:
            ValueError: A value that cannot be; the event is then as it was.
        """
        restore_together([read_event(self, data)])

    def connect(self, slot: "Slot", param_mapping: dict[str, str] | None = None) -> None:
        """Let a slot hear this event. Doing it twice changes nothing."""
        if slot not in self.connected_slots:
            self.add_link(Link(slot, None, dict(param_mapping) if param_mapping else None))

    def disconnect(self, slot: "Slot") -> None:
        """Let a slot hear nothing more of this event, by whatever it was connected."""
        self._keep([link for link in self.links if link.slot is not slot])

    def add_link(self, link: Link) -> None:
        """Draw a line. It takes the place of an equal one, or of a bare one to the same slot."""
        slot = link.slot
        if self not in slot.connected_events:
            self.connected_slots.append(slot)
            slot.connected_events.append(self)
            self.links.append(link)
        else:
            for index, present in enumerate(self.links):
                if present.slot is slot and (present.connection is None or _same_ends(present, link)):
                    self.links[index] = link
                    break
            else:
                self.links.append(link)
        self.version += 1

    def remove_link(self, connection: "Connection") -> None:
        """Take away the line of a connection."""
        self._keep([link for link in self.links if link.connection is not connection])

    def _keep(self, links: list[Link]) -> None:
        before, self.links = self.connected_slots, links
        self.connected_slots = list(dict.fromkeys(link.slot for link in links))
        for slot in set(before).difference(self.connected_slots):
            if self in slot.connected_events:
                slot.connected_events.remove(self)
        self.version += 1

    def emit(self, /, flow: "Flow | None" = None, **kwargs: Any) -> None:
        """Emit this event; see `Routine.emit`. An event without a routine delivers now, on this thread."""
        routine = self.routine
        if routine is not None and routine.get_event(self.name) is self:
            routine.emit(self.name, flow=flow, **kwargs)
        else:
            self.deliver(kwargs)

    def deliver(self, data: dict[str, Any]) -> None:
        """Hand data to every connected slot, once, now and on this thread.

        Where several flows have drawn a line to one slot, the newest one's mapping counts.
        """
        for link in {link.slot: link for link in self.links}.values():
            if link.connection is not None:
                link.connection.activate(data)
            else:
                link.slot.receive(mapped(data, link.mapping))


def read_event(event: Event, data: Any) -> Restoration:
    """What data will change in an event; see `Event.deserialize`.

    Raises:
        ValueError: A value that cannot be.
    """
    where = f"event {event.name!r}"
    reader = Reader(data, where)
    values: dict[str, Any] = {}
    if "name" in reader:
        values["name"] = reader.text("name")
    if "output_params" in reader:
        values["output_params"] = params = reader.items("output_params")
        if not all(isinstance(param, str) for param in params):
            raise reader.wrong("output_params", "a list of names")
    return Restoration(event, values, read_additions(event, OWN_KEYS, reader), where, event.routine)


def _same_ends(one: Link, other: Link) -> bool:
    first, second = one.connection, other.connection
    return (
        first is not None
        and second is not None
        and (first.owner, first.source_id, first.target_id) == (second.owner, second.source_id, second.target_id)
    )


def mapped(data: dict[str, Any], mapping: dict[str, str] | None) -> dict[str, Any]:
    """A copy of `data` with the mapped keys renamed.

    A source key that is missing is skipped. Other keys pass, unless a renamed one has taken their name.
    """
    if not mapping:
        return dict(data)
    renamed = {target: data[source] for source, target in mapping.items() if source in data}
    passed = {key: value for key, value in data.items() if key not in mapping and key not in renamed}
    return {**passed, **renamed}
