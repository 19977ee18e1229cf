"""`a >> b`: the flow that the arrow is drawn in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from routilux.errors import InvalidValueError

if TYPE_CHECKING:  # the vocabulary stands above this room
    from routilux.flow.flow import Flow
    from routilux.routine import Routine

__all__ = ["flow_of"]


def flow_of(routines: "Sequence[Routine]") -> "Flow":
    """The flow that routines were added to last, for those that stand in any; it must be one and the same.

    A guess is not made: of routines that several flows share, one line in the wrong flow would go unnoticed.

    Raises:
        ValueError: There is none, or more than one.
    """
    found = [flow for flow in map(_last_flow_of, routines) if flow is not None]
    flows = list({id(flow): flow for flow in found}.values())
    if len(flows) == 1:
        return flows[0]
    shown = " and ".join(map(repr, routines))
    if not flows:
        raise InvalidValueError(
            f"{shown} stand in no flow, so there is nowhere to draw. Add one of them first, flow.add_routine(...), or "
            "draw with flow.chain(...), which takes the same routines."
        )
    places = " and ".join(repr(flow.flow_id) for flow in flows)
    raise InvalidValueError(
        f"{shown} were added last to different flows, {places}. Draw with flow.chain(...), which takes the same "
        "routines and says which flow is meant."
    )


def _last_flow_of(routine: "Routine") -> "Flow | None":
    flow = routine._current_flow
    return flow if flow is not None and flow.id_of(routine) is not None else None
