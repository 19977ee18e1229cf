"""Opening a store for a flow. What makes runs durable is imported then, and not before: others do not pay for it."""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what is opened
    from routilux.flow.durable.durability import Durability
    from routilux.flow.engine import Engine
    from routilux.stores.base import Store

__all__ = ["open_for_flow"]


def open_for_flow(
    store: "Store | str | os.PathLike[str]", level: str, keep_finished: int | timedelta | None
) -> "tuple[Store, Callable[[Engine], Durability]]":
    """A store by its path or URL, and what gives an engine its durable side."""
    from routilux.flow.durable.durability import Durability  # noqa: PLC0415 - see above
    from routilux.stores.opening import open_store  # noqa: PLC0415

    opened = open_store(store, level)
    return opened, partial(Durability, store=opened, owns_store=opened is not store, keep_finished=keep_finished)
