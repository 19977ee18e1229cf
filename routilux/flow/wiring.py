"""The drawing, prepared for the engine: what an emission does is worked out when it happens first, not each time."""

from threading import Lock
from typing import TYPE_CHECKING, Any

from routilux.errors import UnknownNameError
from routilux.event import Link
from routilux.flow.identity import identity_of
from routilux.ledger import RecordKey
from routilux.routine import Routine

if TYPE_CHECKING:  # the drawing's vocabulary, named only
    from routilux.connection import Connection
    from routilux.event import Event
    from routilux.slot import Slot

__all__ = ["Delivery", "Node", "Port", "Wired", "Wiring", "seconds_of"]


class Node:
    """A routine as one flow has it: the object, its id there, and what its emissions do."""

    __slots__ = ("completed_key", "has_plain_policy", "id", "ports", "routine", "wired")

    def __init__(self, routine_id: str, routine: "Routine | None") -> None:
        self.id = routine_id
        self.routine = routine
        self.ports: dict[Slot, Port] = {}
        self.wired: dict[str, Wired] = {}
        # Whether its error handler may be read as an attribute: a call per hop, where a subclass does not override it.
        self.has_plain_policy = getattr(type(routine), "get_error_handler", None) is Routine.get_error_handler
        self.completed_key = RecordKey(routine_id, "completed", seconds_of)

    def port(self, slot: "Slot") -> "Port":
        """A slot of this node, prepared."""
        port = self.ports.get(slot)
        if port is None:
            port = self.ports[slot] = Port(self, slot)
        return port


class Port:
    """A slot of a node, and the constants that each of its activations needs."""

    __slots__ = ("key", "name", "node", "slot", "start_key")

    def __init__(self, node: Node, slot: "Slot") -> None:
        self.node = node
        self.slot = slot
        self.key = (node.id, slot.name)
        self.name = f"{node.id}.{slot.name}"
        self.start_key = RecordKey(node.id, "start", lambda data: {"slot": slot.name} if data is None else data)

    def begins_anywhere(self) -> bool:
        """Whether an activation may begin on any thread: a coroutine is made, and nothing of the application's runs."""
        return self.slot.is_purely_async and self.slot.replaces and self.node.has_plain_policy


class Delivery:
    """One line of an event, prepared: where it ends, how names change, and its part of an activation's identity."""

    __slots__ = ("connection", "mapping", "port", "salt", "text")

    def __init__(self, port: Port, connection: "Connection | None", mapping: dict[str, str] | None, salt: int) -> None:
        self.port = port
        self.connection = connection
        self.mapping = mapping
        self.salt = salt
        # How a journal writes it down; made when it is needed first.
        self.text: tuple[str, str] | None = None


class Wired:
    """Everything that an emission of one event by one node does; right while `version` is the event's."""

    __slots__ = ("deliveries", "event", "long_name", "name", "node", "record_key", "text", "version")

    def __init__(self, node: Node, event: "Event", name: str, version: int, deliveries: tuple[Delivery, ...]) -> None:
        self.node = node
        self.name = name
        # What it is called among the emissions of another routine's activation.
        self.long_name = f"{node.id}\0{name}"
        self.event = event
        self.version = version
        self.record_key = RecordKey(node.id, name, None, True)
        self.deliveries = deliveries
        # How a journal writes it down; made when it is needed first.
        self.text = ""

    def __str__(self) -> str:
        return f"what {self.node.id!r} emits with {self.name!r}"

    def name_in(self, node: Node) -> str:
        """What the event is called among the emissions of a node's activation."""
        return self.name if node is self.node else self.long_name


class Wiring:
    """The prepared drawing of one flow.

    Workers look prepared things up without a lock: what they find is never changed afterwards, only replaced as a
    whole, and an out-of-date `Wired` is recognised by its version. `_lock` makes preparing happen once; it is taken
    last, and nothing is called while it is held.
    """

    def __init__(self, routines: "dict[str, Routine]", owner: object) -> None:
        self._routines = routines
        self._owner = owner
        self._nodes: dict[str, Node] = {}
        self._lock = Lock()

    def forget_threads(self) -> None:
        """In a forked child, where the thread that held the lock does not exist."""
        self._lock = Lock()

    def node(self, routine_id: str) -> Node:
        """The node of an id.

        Raises:
            UnknownNameError: The flow has no such routine.
        """
        routine = self._routines.get(routine_id)
        if routine is None:
            raise UnknownNameError("routine", routine_id, self._routines)
        with self._lock:
            node = self._nodes.get(routine_id)
            if node is None or node.routine is not routine:
                node = self._nodes[routine_id] = Node(routine_id, routine)
        return node

    def id_of(self, routine: Any) -> str | None:
        """Under which id a routine object stands in the flow; the first, where there are several."""
        own_id = getattr(routine, "_id", None)
        if own_id is not None and self._routines.get(own_id) is routine:
            return str(own_id)
        return next((key for key, value in list(self._routines.items()) if value is routine), None)

    def node_of(self, routine: Any) -> Node:
        """The node of a routine object; one of its own when the flow does not have it."""
        routine_id = self.id_of(routine)
        if routine_id is None:
            return Node(str(getattr(routine, "_id", "")), routine)
        return self.node(routine_id)

    def wired(self, node: Node, event_name: str) -> Wired:
        """What an emission does, prepared now if it was not, or is out of date.

        Raises:
            UnknownNameError: The routine has no such event.
        """
        wired = node.wired.get(event_name)
        return wired if wired is not None and wired.version == wired.event.version else self.wire(node, event_name)

    def wire(self, node: Node, event_name: str) -> Wired:
        """Prepare what an emission does.

        Raises:
            UnknownNameError: The routine has no such event.
        """
        event = node.routine.get_event(event_name) if node.routine is not None else None
        if event is None:
            known = [] if node.routine is None else list(node.routine._events)
            raise UnknownNameError("event", event_name, known, f"routine {node.id!r}")
        version = event.version  # read before the links: a change in between makes this one stale, not wrong
        wired = Wired(node, event, event_name, version, self.deliveries(node, event_name, event))
        node.wired[event_name] = wired
        return wired

    def deliveries(self, node: Node, event_name: str, event: "Event") -> tuple[Delivery, ...]:
        """The lines of an event, as an emission by a node goes along them."""
        found: dict[tuple[str, Slot], Delivery] = {}
        for link in list(event.links):
            if self._is_ours(link, node):
                target = self._target(link)
                # The same pair again takes the place of the earlier line: it replaces the mapping and delivers once.
                found[target.id, link.slot] = _delivery(node, event_name, link, target)
        return tuple(found.values())

    def _is_ours(self, link: Link, node: Node) -> bool:
        connection = link.connection
        if connection is None or connection.owner is None:
            return True
        return connection.owner is self._owner and connection.source_id in (node.id, None)

    def _target(self, link: Link) -> Node:
        target_id = link.connection.target_id if link.connection is not None else None
        return self.node(target_id) if target_id in self._routines else self.node_of(link.slot.routine)


def _delivery(source: Node, event_name: str, link: Link, target: Node) -> Delivery:
    text = f"{source.id}\0{event_name}\0{target.id}\0{link.slot.name}"
    mapping = link.mapping if link.connection is None else link.connection.param_mapping
    return Delivery(target.port(link.slot), link.connection, mapping or None, identity_of(text))


def seconds_of(duration_ns: Any) -> dict[str, Any]:
    """The data of a `completed` record, from its column."""
    if isinstance(duration_ns, dict):
        return duration_ns
    return {"execution_time": duration_ns / 1e9}
