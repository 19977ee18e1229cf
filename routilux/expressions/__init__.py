"""Expressions: conditions as text, evaluated by walking a checked syntax tree.

A flow file may hold a condition that was a lambda. Python's own `eval` would let whoever wrote the file do anything;
here the text is parsed, every node of it is looked at, and what is not allowed is an error (`syntax`). There are no
loops, no comprehensions and no assignments, so an evaluation takes as many steps as the text has nodes (`evaluation`,
`calls`); what all of them together may produce is bounded as well (`budget`).
"""

from routilux.expressions.expression import Expression

__all__ = ["Expression"]
