"""TextClipper clips long text to whole lines and says how many it dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.builtin_routines import TextClipper
from tests.deliveries import (
    ODD_VALUES,
    HeldText,
    Mute,
    answer,
    deep,
    run_restored,
    shared_without_end,
    two_runs_at_once,
)
from tests.drawings import Gate

TEN_LINES = "\n".join("line" for _ in range(10))  # 49 characters


def clipper(**config):
    routine = TextClipper()
    routine.set_config(**config)
    return routine


def clipped(text, **config):
    return answer(clipper(**config), text=text)


def test_the_defaults_stand_in_the_config():
    assert TextClipper().config() == {
        "max_length": 1000,
        "preserve_tracebacks": True,
        "truncation_message": "...(省略了{remaining}行)",
    }


def test_an_empty_config_means_the_defaults():
    routine = TextClipper()
    routine._config.clear()
    assert answer(routine, text="a\n" * 600)["clipped_text"] == "a\n" * 499 + "...(省略了102行)"
    assert answer(routine, text="Traceback" * 600)["was_clipped"] is False


def test_the_slot_and_the_event_are_attributes():
    routine = TextClipper()
    assert routine.input_slot is routine.get_slot("input")
    assert routine.output_event is routine.get_event("output")


@pytest.mark.parametrize("text", ["", "short", "x" * 1000])
def test_text_of_at_most_the_length_is_left_as_it_is(text):
    assert clipped(text) == {"clipped_text": text, "was_clipped": False, "original_length": len(text)}


def test_longer_text_keeps_whole_lines_and_says_how_many_are_missing():
    assert clipped(TEN_LINES, max_length=16) == {
        "clipped_text": "line\nline\nline\n...(省略了7行)",
        "was_clipped": True,
        "original_length": 49,
    }


def test_lines_stay_while_they_have_fewer_characters_than_the_length_each_with_its_newline():
    assert clipped(TEN_LINES, max_length=15)["clipped_text"].count("line") == 2
    assert clipped(TEN_LINES, max_length=16)["clipped_text"].count("line") == 3


def test_a_first_line_that_is_too_long_is_dropped_as_well():
    assert clipped("x" * 2000)["clipped_text"] == "\n...(省略了1行)"


def test_text_with_a_traceback_is_left_as_it_is():
    text = "Traceback (most recent call last):\n" * 100
    assert clipped(text) == {"clipped_text": text, "was_clipped": False, "original_length": len(text)}
    assert clipped(text, preserve_tracebacks=False)["was_clipped"] is True


def test_a_delivery_may_bring_a_length_of_its_own():
    routine = clipper()
    assert answer(routine, text=TEN_LINES, max_length=16)["was_clipped"] is True
    assert answer(routine, text=TEN_LINES)["was_clipped"] is False
    assert answer(routine, data=TEN_LINES, max_length=16)["was_clipped"] is True


@pytest.mark.parametrize("length", [None, "5", True, 5.0, float("nan"), [], {}])
def test_a_length_that_is_no_whole_number_counts_as_not_given(length):
    assert answer(clipper(max_length=length), text=TEN_LINES, max_length=length)["was_clipped"] is False


def test_a_negative_length_counts_as_zero():
    assert clipped("", max_length=-5) == {"clipped_text": "", "was_clipped": False, "original_length": 0}
    assert clipped("a\nb", max_length=-5)["clipped_text"] == "\n...(省略了2行)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"data": "d", "message": "m", "content": "c", "text": "t"}, "t"),
        ({"data": "d", "message": "m", "content": "c"}, "c"),
        ({"data": "d", "message": "m", "text": 5}, "m"),
        ({"other": 1, "data": "d"}, "d"),
        ({"other": 1, "first": "f", "second": "s"}, "f"),
        ({"other": 1}, "{'other': 1}"),
        ({}, "{}"),
        (5, "5"),
        ([1, "a"], "[1, 'a']"),
        (None, "None"),
        (b"a", "b'a'"),
    ],
)
def test_any_value_has_a_text(value, text):
    assert clipped(value)["clipped_text"] == text


def test_the_text_may_come_under_any_name():
    assert answer(clipper(), anything="a")["clipped_text"] == "a"
    assert answer(clipper(), one=1, content="a")["clipped_text"] == "a"
    assert answer(clipper(), self="a")["clipped_text"] == "a"


def test_none_is_a_value_and_nothing_at_all_is_an_empty_dict():
    assert answer(clipper(), data=None)["clipped_text"] == "None"
    assert answer(clipper())["clipped_text"] == "{}"


def test_a_dict_whose_text_is_empty_has_an_empty_text():
    for value in ({"text": ""}, {"content": "", "text": 5}, {"other": ""}):
        assert clipped(value) == {"clipped_text": "", "was_clipped": False, "original_length": 0}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{remaining} more", "10 more"),
        ("{remaining:>5,}", "   10"),
        ("{{{remaining}}}", "{10}"),
        ("no number", "no number"),
        ("", ""),
        ("{other}", "{other}"),
        ("{}", "{}"),
        ("{", "{"),
        ("{remaining.__class__}", "{remaining.__class__}"),
        ("{remaining!r}", "{remaining!r}"),
        ("{remaining:9999999999}", "{remaining:9999999999}"),
        ("{remaining:{remaining}}", "{remaining:{remaining}}"),
        ("{remaining:s}", "{remaining:s}"),
        ("\ud800", "\ud800"),
        (None, "...(省略了10行)"),
        (5, "...(省略了10行)"),
    ],
)
def test_a_message_tells_the_number_and_nothing_else(message, said):
    assert clipped(TEN_LINES, max_length=0, truncation_message=message)["clipped_text"] == "\n" + said


@pytest.mark.parametrize("name", ODD_VALUES)
def test_every_value_gives_text(name):
    for delivery in ({"text": ODD_VALUES[name]}, {"data": ODD_VALUES[name]}, {"a": ODD_VALUES[name], "b": 1}):
        assert isinstance(answer(clipper(), **delivery)["clipped_text"], str)


def test_a_value_that_cannot_be_written_is_its_type():
    assert clipped(Mute())["clipped_text"] == "<Mute>"
    assert clipped({"a": Mute()})["clipped_text"] == "<dict>"
    assert clipped(deep())["clipped_text"] == "<list>"
    assert clipped(shared_without_end())["clipped_text"] == "<list>"


def test_data_that_are_large_by_themselves_have_a_text():
    rows = [{"a": {"b": index}} for index in range(100_000)]
    assert clipped(rows, max_length=10**9)["clipped_text"] == str(rows)
    shared = {"a": 1}
    assert clipped([shared] * 500_000, max_length=10**9)["original_length"] == 5_000_000
    assert clipped(10**5000)["clipped_text"] == "<int>"


def test_it_is_saved_and_restored_and_clips_again():
    routine = clipper(max_length=16, truncation_message="{remaining} more")
    ((_, got),) = run_restored(routine, {"text": TEN_LINES})
    assert got == {"clipped_text": "line\nline\nline\n7 more", "was_clipped": True, "original_length": 49}
    assert got == answer(routine, text=TEN_LINES)


def test_two_runs_at_once_do_not_see_each_other():
    gate = Gate()
    held = {"text": HeldText("a\nb\nc", gate), "max_length": 3}
    one, other = two_runs_at_once(clipper(), held, {"text": "x"}, gate)
    assert (one["clipped_text"], one["original_length"]) == ("a\n...(省略了2行)", 5)
    assert (other["clipped_text"], other["original_length"]) == ("x", 1)


def model(text: str, length: int) -> tuple[str, bool]:
    if len(text) <= length or "Traceback" in text:
        return text, False
    lines = text.split("\n")
    kept = max(count for count in range(len(lines)) if count == 0 or sum(len(x) + 1 for x in lines[:count]) < length)
    return "\n".join([*lines[:kept]]) + f"\n...(省略了{len(lines) - kept}行)", True


@given(st.text(st.sampled_from("ab\n\ud800\r"), max_size=60) | st.just("Traceback\n" * 9), st.integers(0, 70))
def test_random_text_is_clipped_as_by_the_model(text, length):
    expected, was_clipped = model(text, length)
    assert clipped(text, max_length=length) == {
        "clipped_text": expected,
        "was_clipped": was_clipped,
        "original_length": len(text),
    }
