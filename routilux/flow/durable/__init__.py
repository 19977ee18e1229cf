"""Runs that outlive their process: what a flow with a store does beyond one without.

`durability.py` is the durable side of an engine, `run.py` that of a run. `scribe.py` writes down what happens, and
`group_commit.py` brings it into the store; `recovery.py` takes up what a dead process has left, and the other files are
one ability each. A flow without a store imports next to nothing of this (see `opening.py`).
"""
