"""How a journal's operations are made text."""

import json

from hypothesis import given
from hypothesis import strategies as st

from routilux.flow.durable.scribe import dumps

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_any_value_becomes_the_text_that_json_gives_it_in_ascii(value: object) -> None:
    text = dumps(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert text.isascii()
