"""Routines that ask for inputs, for tests. Child processes draw the last two flows by their names."""

from collections.abc import Callable
from typing import Any

from routilux import ErrorHandler, Flow, Routine
from routilux.stores import Store
from tests.drawings import draw, entry, node, own_run

__all__ = ["Clerk", "corresponding", "desk", "handle", "waiting"]


class Clerk(Routine):
    """Asks for what its trigger names, as `names`, and keeps what it is answered in `got`."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[dict[str, Any]] = []
        self.define_slot("trigger", self.ask)
        self.define_slot("ask", self.ask)
        self.define_slot("answer", self.take)

    def ask(self, names: list[str], timeout: float | None = None) -> None:
        for name in names:
            self.request_input(name, "answer", timeout=timeout)

    def take(self, **data: Any) -> None:
        self.got.append(data)


def desk(error_handler: ErrorHandler | None = None, **options: Any) -> tuple[Flow, Clerk]:
    """A flow of a clerk."""
    clerk = Clerk()
    clerk.set_error_handler(error_handler)
    flow = Flow("desk", **options)
    flow.add_routine(clerk, "clerk")
    return flow, clerk


def waiting(store: Store) -> Flow:
    """The same over a store, for a run that is there already."""
    return desk(store=store)[0]


def corresponding(store: Store) -> Flow:
    """A run that asks, and a handler of it that answers, while a second question waits for a second answer."""

    def ask(routine: Routine, data: dict[str, Any]) -> None:
        for name in ("first", "second"):
            routine.request_input(name, "answer")
        routine.emit("output", name="first")

    def answer(routine: Routine, data: dict[str, Any]) -> None:
        # It runs again after a crash, and who sends again sends twice: so it looks first.
        job_id, name = own_run(routine).job_id, data["name"]
        if all(each.name != name for each in store.inputs(job_id)):
            flow.send_input(job_id, name, {"to": name})

    asks = entry(ask, events=("output", "next"))
    asks.define_slot("answer", lambda to: asks.emit("next", name="second") if to == "first" else None)
    flow = draw("a -> b", "a.next -> b", flow=Flow("letters", store=store), a=asks, b=node(answer))
    return flow


def handle(clerk: Clerk, **handlers: Callable[..., Any]) -> None:
    """Give slots of a clerk other handlers."""
    for name, handler in handlers.items():
        slot = clerk.get_slot(name)
        assert slot is not None
        slot.handler = handler
