"""Blocks of code are found in Markdown as it is written by people, by programs and by language models."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.builtin_routines.text_processing.fenced_blocks import blocks_in


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("", []),
        ("no block", []),
        ("```json\n1\n```", [("json", "1")]),
        ("text\n```python\na\n\nb\n```\ntext", [("python", "a\n\nb")]),
        ("```{json}\n1\n```", [("json", "1")]),
        ("```{ json }\n1\n```", [("json", "1")]),
        ("``` JSON  \r\n1\r\n```\r\n", [("json", "1")]),
        ("```\n1\n```", [("", "1")]),
        ("````\n1\n````", [("", "1")]),
        ("Result: ```json\n1\n``` and more", [("json", "1")]),
        ("Result: ```json 1``` and ```python 2```", [("json", "1"), ("python", "2")]),
        ("a ```json 1``` b\n```\n2\n```", [("json", "1"), ("", "2")]),
        ("```1 + 1```", [("1", "+ 1")]),
        ('```{"a": 1}```', [("", '{"a": 1}')]),
        ("```json\n1```\n```json\n2\n```", [("json", "1"), ("json", "2")]),
        ("```python\nfirst\n```\n```\nsecond\n```", [("python", "first"), ("", "second")]),
        ('```json\n{"a": "```python\\nb\\n```"}\n```', [("json", '{"a": "```python\\nb\\n```"}')]),
        ("  ```python\n  if a:\n      b\n  ```", [("python", "if a:\n    b")]),
        ("```python\n\n    a\n    b\n\n```", [("python", "    a\n    b")]),
        ("```c++\n1\n```", [("c++", "1")]),
        ("```json\nnot closed", []),
        ("```json\n```", [("json", "")]),
        ("``````", []),
        ("```json\n\ud800\n```", [("json", "\ud800")]),
        ('```python title="a.py"\nprint(1)\n```', [("python", "print(1)")]),
        ("```js showLineNumbers title='a b' {1,3}\r\na\r\n```", [("js", "a")]),
        ('```{json} title="a"\n1\n```', [("json", "1")]),
        ('```json {"a": 1}\n```', [("json", ' {"a": 1}')]),
        ('```json {"a":\n1}\n```', [("json", ' {"a":\n1}')]),
        ("```json {}\n```", [("json", " {}")]),
        ("```output all is well\nnow\n```", [("output", " all is well\nnow")]),
        ('Result: ```python title="a"\n1\n```', [("python", ' title="a"\n1')]),
        ("````markdown\n```json\n1\n```\n````\n```json\n2\n```", [("markdown", "```json\n1\n```"), ("json", "2")]),
        ("`````a\n````b\n```c\n1\n```\n````\n`````", [("a", "````b\n```c\n1\n```\n````")]),
        ("````json\n1\n```\n```json\n2\n```", [("json", "1"), ("json", "2")]),
        ("```json\n1\n````", [("json", "1")]),
        ("a ````json ```1``` ````", [("json", "```1```")]),
    ],
)
def test_the_blocks_of_a_text(text, blocks):
    assert blocks_in(text) == blocks


@given(st.text(st.sampled_from("`j \n{}a"), max_size=200))
def test_no_text_is_too_odd(text):
    for block in blocks_in(text):
        assert block.text in text or "\n" in block.text
        assert block.language in text


@pytest.mark.parametrize(
    "part", ["```", "``` ", "```json\n", "```json\nx```", "   ", "`", "```{", "```a{", "\n```\n", "\n````\n```",
     "```a b=\n", "```a {=", "```a b=c d {e} ", "\n" + "`" * 2000, " ````", "\n````a\n```` ```"]
)  # fmt: skip
def test_the_time_grows_with_the_length_and_not_faster(part):
    began = time.perf_counter()
    blocks_in(part * (400_000 // len(part)))
    assert time.perf_counter() - began < 10  # a square of the length would be hours


FENCED = st.lists(
    st.tuples(st.sampled_from(["json", "python", "output"]), st.lists(st.sampled_from(["a", "b 1", "{}"]), min_size=1))
)


@given(FENCED)
def test_blocks_that_are_written_plainly_come_back(blocks):
    text = "".join(f"text\n```{language}\n" + "\n".join(lines) + "\n```\n" for language, lines in blocks)
    assert blocks_in(text) == [(language, "\n".join(lines)) for language, lines in blocks]


def test_the_time_grows_with_the_length_also_for_fences_of_every_length():
    began = time.perf_counter()
    blocks_in("".join(f"\n{'`' * length}a\n" for length in range(400, 2, -1)) + " ```` " * 10_000)
    blocks_in("".join(f"\n{'`' * length}a\n{'`' * 900} b" for length in range(400, 2, -1)) + f" {'`' * 900} " * 100)
    assert time.perf_counter() - began < 10
