"""Who is compared with routilux, in which release, and what each of them can express."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["KEEPERS", "KEPT_CHAIN", "PEERS", "SHAPES", "Peer", "Shape"]

_HERE = Path(__file__).parent
_FOR_EVERYBODY = ("chain", "fan-out", "trivial-run", "many-runs")


@dataclass(frozen=True)
class Shape:
    """A piece of work that several libraries can be asked to do; `size` is how many hops, messages or runs it has."""

    name: str
    unit: str
    sizes: tuple[int, ...]

    def figure(self, seconds: float, size: int) -> float:
        """The seconds of the whole in the unit of the table."""
        if self.unit == "runs/s":
            return size / seconds
        return seconds / size * (1e3 if self.unit == "ms" else 1e6)


@dataclass(frozen=True)
class Peer:
    """One library: its program is the file of its name, which imports nothing but it and the standard library.

    Attributes:
        requirement: For pip; pinned with `==`.
        also: What it needs beside that to do its work, for pip as well.
        shapes: What its program does.
        sizes: Where it takes another size than the shape's own.
        notes: What a reader of the figure should know, shape by shape.
        lacks: Why it cannot express a shape.
    """

    name: str
    requirement: str
    also: tuple[str, ...] = ()
    shapes: tuple[str, ...] = _FOR_EVERYBODY
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The pinned release."""
        return self.requirement.rpartition("==")[2]

    @property
    def file(self) -> Path:
        """Its program. Run it with `python -I`, else `import dask` in dask.py would find itself."""
        return _HERE / f"{self.name.replace('-', '_')}.py"


SHAPES = (
    Shape("chain", "us/hop", (1_000,)),
    # Only for those whose pipelines are usually drawn node by node.
    Shape("chain-of-nodes", "us/hop", (100, 1_000)),
    Shape("fan-out", "us/message", (10_000,)),
    Shape("trivial-run", "ms", (100,)),
    Shape("many-runs", "runs/s", (1_000,)),
)

# Where they could also be gathered, or given to a pool, that takes longer.
_ONE_BY_ONE = {"many-runs": "one after another"}

PEERS = (
    Peer("langgraph", "langgraph==1.2.22", notes=_ONE_BY_ONE),
    Peer(
        "llama-index-workflows",
        "llama-index-workflows==2.26.1",
        sizes={"fan-out": (1_000,)},
        notes=_ONE_BY_ONE | {"fan-out": "fewer: time grows with their square"},
    ),
    Peer(
        "burr",
        # Its parallelism imports the tracking client, which is not used here, and that needs pydantic.
        "apache-burr[tracking-client]==0.42.0",
        notes=_ONE_BY_ONE | {"fan-out": "an application per message"},
    ),
    Peer("pydantic-graph", "pydantic-graph==2.68.0", notes=_ONE_BY_ONE),
    Peer(
        "dask",
        "dask==2026.8.0",
        shapes=("chain-of-nodes", "fan-out", "trivial-run", "many-runs"),
        notes=_ONE_BY_ONE | {"fan-out": "messages drawn before the run"},
        lacks={"chain": "a graph has no cycles"},
    ),
    Peer(
        "haystack",
        # 3.4.1 asks for a certifi that the index did not have when this was pinned.
        "haystack-ai==3.4.0",
        shapes=("chain", "chain-of-nodes", "trivial-run", "many-runs"),
        notes=_ONE_BY_ONE | {"chain": "two components in turn"},
        lacks={"fan-out": "an output sends one value in a run"},
    ),
    Peer("huey", "huey==3.5.4", notes={"trivial-run": "polls every 1 ms, by default 100"}),
)

# So many steps, each of which adds a text of 1,000 bytes to what the run has: in memory, and kept at every step.
KEPT_CHAIN = Shape("kept-chain", "us/step", (400,))

_KEPT = ("in-memory", "sync")
KEEPERS = (
    Peer("langgraph-sqlite", "langgraph==1.2.22", ("langgraph-checkpoint-sqlite==3.1.2",), _KEPT),
    Peer("burr-sqlite", "apache-burr[tracking-client]==0.42.0", shapes=_KEPT),
    Peer("dbos", "dbos==3.4.0", shapes=_KEPT, notes={"in-memory": "plain calls"}),
)
