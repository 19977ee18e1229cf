"""DrawnNow: the structure of a flow as it is drawn now, looked at when the drawing has changed."""

import weakref
from typing import TYPE_CHECKING

from routilux.flow.structure import Drawn, shapes_of, structure_text

if TYPE_CHECKING:  # what is drawn
    from routilux.flow.flow import Flow

__all__ = ["DrawnNow"]


class DrawnNow:
    """Called, it gives the structure of a flow; the last one when the flow is gone."""

    def __init__(self, flow: "Flow") -> None:
        self._flow = weakref.ref(flow)
        # Replaced as a whole, so it needs no lock.
        self._drawn = Drawn((-1, 0), {}, "")

    def __call__(self) -> Drawn:
        """The structure of the flow as it is drawn now."""
        flow = self._flow()
        if flow is None:
            return self._drawn
        # A look at every slot would cost each run of a large drawing: who gives one another handler after runs have
        # begun is not noticed until something is added or connected.
        version = flow.change_count, len(flow.routines)
        drawn = self._drawn
        if version != drawn.version:
            shapes = shapes_of(flow.graph())
            drawn = self._drawn = Drawn(version, shapes, structure_text(shapes))
        return drawn
