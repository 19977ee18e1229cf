"""A routine that asks for inputs, for tests."""

from collections.abc import Callable
from typing import Any

from routilux import ErrorHandler, Flow, Routine

__all__ = ["Clerk", "desk", "handle"]


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


def handle(clerk: Clerk, **handlers: Callable[..., Any]) -> None:
    """Give slots of a clerk other handlers."""
    for name, handler in handlers.items():
        slot = clerk.get_slot(name)
        assert slot is not None
        slot.handler = handler
