"""Making sure that a flow's event loop runs. How a run's completion is found out stands in `routilux.waiting`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the flow stands above this room
    from routilux.flow.flow import Flow

__all__ = ["ensure_event_loop_running"]


def ensure_event_loop_running(flow: "Flow") -> bool:
    """Start a flow's event loop if something waits for it; returns whether it runs.

    It is needed only by those who put tasks into `flow._task_queue` themselves: `execute` starts the loop.
    """
    if flow.has_arrivals():
        flow.start_event_loop()
    return flow.is_loop_running()
