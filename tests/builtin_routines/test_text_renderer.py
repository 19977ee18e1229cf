"""TextRenderer writes data as text with tags, or as Markdown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.builtin_routines import TextRenderer
from tests.deliveries import (
    ODD_VALUES,
    HeldText,
    Mute,
    answer,
    circular,
    deep,
    run_restored,
    shared_without_end,
    two_runs_at_once,
)
from tests.drawings import Gate

PERSON = {"name": "Ada", "tags": ["a", "b"], "born": {"year": 1815, "city": "London"}}


def renderer(**config):
    routine = TextRenderer()
    routine.set_config(**config)
    return routine


def text_of(value, **config):
    return answer(renderer(**config), any_name=value)["rendered_text"]


def test_the_defaults_stand_in_the_config():
    assert TextRenderer().config() == {"tag_format": "xml", "indent": "  ", "include_type_hints": False}


def test_an_empty_config_means_the_defaults():
    routine = TextRenderer()
    routine._config.clear()
    assert answer(routine, data=PERSON) == answer(TextRenderer(), data=PERSON)


def test_the_slot_and_the_event_are_attributes():
    routine = TextRenderer()
    assert routine.input_slot is routine.get_slot("input")
    assert routine.output_event is routine.get_event("output")


def test_each_key_is_a_tag_on_a_line_of_its_own():
    assert text_of({"a": 1, "b": "x"}) == "<a>1</a>\n<b>x</b>"


@pytest.mark.parametrize("value", [["x", 2], ("x", 2)])
def test_each_item_is_a_tag_with_its_number(value):
    assert text_of(value) == "<item_0>x</item_0>\n<item_1>2</item_1>"


def test_what_stands_inside_is_indented_by_its_level():
    assert text_of({"a": {"b": {"c": 1, "d": 2}}, "e": 3}) == (
        "<a>\n"
        "  <b>\n"
        "    <c>1</c>\n"
        "    <d>2</d>\n"
        "  </b>\n"
        "</a>\n"
        "<e>3</e>"
    )  # fmt: skip
    assert text_of({"a": [1]}, indent="\t") == "<a>\n\t<item_0>1</item_0>\n</a>"


def test_in_markdown_keys_are_bold_and_items_have_a_dash():
    assert text_of(PERSON, tag_format="markdown") == (
        "**name**: Ada\n"
        "**tags**:\n"
        "  - a\n"
        "  - b\n"
        "**born**:\n"
        "  **year**: 1815\n"
        "  **city**: London"
    )  # fmt: skip


def test_in_markdown_the_first_line_of_an_item_stands_behind_its_dash():
    assert text_of([PERSON, [1, [2]], []], tag_format="markdown") == (
        "- **name**: Ada\n"
        "  **tags**:\n"
        "    - a\n"
        "    - b\n"
        "  **born**:\n"
        "    **year**: 1815\n"
        "    **city**: London\n"
        "- - 1\n"
        "  - - 2\n"
        "- "
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [("a<b", "a<b"), (5, "5"), (1.5, "1.5"), (True, "True"), ("", ""), (float("nan"), "nan")]
)
def test_other_values_are_written_by_str(value, text):
    assert text_of(value) == text
    assert text_of({"k": value}) == f"<k>{text}</k>"


def test_empty_containers_have_no_lines():
    assert text_of({}) == text_of([]) == ""
    assert text_of({"a": {}, "b": []}) == "<a></a>\n<b></b>"
    assert text_of({"a": {}, "b": []}, tag_format="markdown") == "**a**: \n**b**: "


def test_none_is_a_value_and_nothing_at_all_is_an_empty_dict():
    assert answer(renderer(), data=None) == {"rendered_text": "None", "original_type": "NoneType"}
    assert answer(renderer()) == {"rendered_text": "", "original_type": "dict"}


def test_the_name_of_the_type_goes_with_it():
    kinds = {"dict": {"a": 1}, "list": [1], "tuple": (1,), "str": "a", "int": 1, "bool": True, "bytes": b""}
    for name, value in kinds.items():
        assert answer(renderer(), data=value)["original_type"] == name


def test_several_keys_are_rendered_together():
    assert answer(renderer(), a=1, b=2)["rendered_text"] == "<a>1</a>\n<b>2</b>"
    assert answer(renderer(), self=1, b=2)["rendered_text"] == "<self>1</self>\n<b>2</b>"


def test_a_container_that_holds_itself_is_named_as_that():
    assert text_of(circular()) == "<a>\n  <item_0>1</item_0>\n  <item_1>[Circular Reference]</item_1>\n</a>"


def test_a_container_that_stands_in_two_places_is_rendered_in_both():
    shared = [1]
    assert text_of([shared, shared], tag_format="markdown") == "- - 1\n- - 1"


@pytest.mark.parametrize("tag_format", [None, "html", 5, ["markdown"]])
def test_an_unknown_format_counts_as_xml(tag_format):
    assert text_of({"a": 1}, tag_format=tag_format) == "<a>1</a>"


def test_an_indent_that_is_no_text_counts_as_two_spaces():
    assert text_of({"a": [1]}, indent=4) == "<a>\n  <item_0>1</item_0>\n</a>"


@pytest.mark.parametrize("tag_format", ["xml", "markdown"])
@pytest.mark.parametrize("name", ODD_VALUES)
def test_every_value_gives_text(name, tag_format):
    for delivery in ({"data": ODD_VALUES[name]}, {"a": ODD_VALUES[name], "b": [ODD_VALUES[name]]}):
        assert isinstance(answer(renderer(tag_format=tag_format), **delivery)["rendered_text"], str)


def test_a_value_that_cannot_be_written_is_its_type():
    assert text_of([Mute(), 10**5000]) == "<item_0><Mute></item_0>\n<item_1><int></item_1>"


def test_what_is_nested_too_deeply_is_named_as_that():
    text = text_of(deep())
    assert text.count("[Too Deep]") == 1
    assert text.count("<item_0>") == 100


def test_containers_that_share_their_parts_do_not_take_all_memory(monkeypatch):
    monkeypatch.setattr("routilux.builtin_routines.text_processing.text_renderer._VALUES_MAX", 10_000)
    assert "[Too Large]" in text_of(shared_without_end(), indent="")


def test_it_is_saved_and_restored_and_renders_again():
    routine = renderer(tag_format="markdown", indent="--")
    ((_, got),) = run_restored(routine, {"a": [1], "b": 2})
    assert got == {"rendered_text": "**a**:\n--- 1\n**b**: 2", "original_type": "dict"}
    assert got == answer(routine, a=[1], b=2)


def test_two_runs_at_once_do_not_see_each_other():
    gate, shared = Gate(), {"deep": 1}
    held = {"data": [HeldText("held", gate), shared]}
    one, other = two_runs_at_once(renderer(indent=""), held, {"data": [[shared]]}, gate)
    assert one["rendered_text"] == "<item_0>held</item_0>\n<item_1>\n<deep>1</deep>\n</item_1>"
    assert other["rendered_text"] == "<item_0>\n<item_0>\n<deep>1</deep>\n</item_0>\n</item_0>"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=3), inside, max_size=4),
    max_leaves=15,
)


def model(value, is_markdown, level):
    """By recursion, and from the outside in: the text of a value where it stands, behind a tag."""
    if not isinstance(value, dict | list):
        return str(value)
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    text = ""
    for key, item in pairs:
        inside = model(item, is_markdown, level + 1)
        has_lines = isinstance(item, dict | list) and len(item) > 0
        start = "\n" + "  " * level
        if is_markdown and isinstance(value, list):
            text += f"{start}- " + (inside.lstrip() if has_lines else inside)
        elif is_markdown:
            text += f"{start}**{key}**:{inside}" if has_lines else f"{start}**{key}**: {inside}"
        else:
            tag = key if isinstance(value, dict) else f"item_{key}"
            text += f"{start}<{tag}>{inside}{start if has_lines else ''}</{tag}>"
    return text


@given(VALUES, st.booleans())
def test_random_values_are_rendered_as_by_the_model(value, is_markdown):
    expected = model([value], is_markdown, 0).removeprefix("\n")
    assert text_of([value], tag_format="markdown" if is_markdown else "xml") == expected
