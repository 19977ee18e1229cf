"""Routines and other classes of an application, registered as an application would: for tests of saved data."""

from typing import Any

from serilux import Serializable, register_serializable

from routilux import ErrorHandler, Routine

__all__ = [
    "Box",
    "Hopper",
    "Part",
    "Patient",
    "Tally",
    "double",
    "newest_wins",
    "only_from_here",
]

EVENTS = ("out", "back")


def newest_wins(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A merge strategy at module level."""
    return {**old, **new, "merges": old.get("merges", 0) + 1}


def double(data: dict[str, Any]) -> None:
    """A handler at module level, of a module that defines registered classes."""
    data["value"] *= 2


def only_from_here(data: dict[str, Any]) -> None:
    """Another one."""


@register_serializable
class Hopper(Routine):
    """Passes on what it gets, on the events that its config names, until a number of hops is reached.

    What it got stands in the shared log of the run. All hoppers have the same slots and events, so that names alone
    tell nobody which routine is meant.
    """

    def __init__(self) -> None:
        super().__init__()
        self.define_slot("trigger", handler=self.hop)
        self.define_slot("left", handler=self.hop)
        self.define_slot("right", handler=self.hop, merge_strategy="append")
        self.define_slot("merged", handler=self.hop, merge_strategy=newest_wins)
        for name in EVENTS:
            self.define_event(name)

    def hop(self, **data: Any) -> None:
        """Note the data and pass them on."""
        context = self.get_execution_context()
        assert context is not None
        context.job_state.append_to_shared_log({"at": context.routine_id, "got": data, "timestamp": "-"})
        hops = data.get("hops", 0)
        hops = max(hops) if isinstance(hops, list) else hops
        if hops < self.get_config("hop_count", 2):
            for name in self.get_config("emits", EVENTS):
                self.emit(name, hops=hops + 1, value=f"{context.routine_id}.{name}")


@register_serializable
class Part(Serializable):
    """Something of the application that serilux saves and restores."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.size = size
        self.items: list[Any] = []
        self.act: Any = None
        self.add_serializable_fields(["size", "items", "act"])


@register_serializable
class Tally(Routine):
    """A routine with saved attributes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.part = Part()
        self.choose: Any = None
        self.add_serializable_fields(["total", "part", "choose"])


@register_serializable
class Patient(ErrorHandler):
    """A policy of the application."""

    def handle_error(self, *args: Any) -> bool:
        """Whatever it is, it is tolerated."""
        return True


@register_serializable
class Box(Serializable):
    """An object of the application with one of the library's as a field; serilux restores it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Any = None
        self.add_serializable_fields(["held"])
