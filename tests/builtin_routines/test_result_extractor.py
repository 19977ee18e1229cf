"""ResultExtractor finds the result in an answer: the first extractor that finds one decides, or all are asked."""

import functools
import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.builtin_routines import ResultExtractor
from routilux.builtin_routines.text_processing import yaml_blocks
from routilux.errors import MissingExtraError
from routilux.job_state import register_serializable
from tests.deliveries import (
    ODD_VALUES,
    HeldText,
    Mute,
    answer,
    deliver,
    register_two_at_once,
    restored,
    run_restored,
    shared_without_end,
    two_runs_at_once,
)
from tests.drawings import Gate

BOOM = ValueError("boom")

# Every extractor is tried, and none may raise.
EVERYTHING = {
    "extract_xml_blocks": True,
    "extract_yaml_blocks": True,
    "parse_yaml_strings": True,
    "continue_on_error": False,
}


def extractor(**config):
    routine = ResultExtractor()
    routine.set_config(**config)
    return routine


def extracted(data, **config):
    return answer(extractor(**config), data=data)


def result(data, **config):
    found = extracted(data, **config)
    return found["extracted_result"], found["format"], found["extraction_path"]


def raising(data, config):
    raise BOOM


def shout(data, config):
    return (data.upper(), "shouted", {"loud": True}) if isinstance(data, str) else None


def test_the_defaults_stand_in_the_config():
    assert ResultExtractor().config() == {
        "strategy": "auto",
        "extractor_priority": [],
        "extract_json_blocks": True,
        "extract_code_blocks": True,
        "extract_yaml_blocks": False,
        "extract_xml_blocks": False,
        "code_block_languages": ["json", "python", "output", "yaml", "xml"],
        "format_interpreter_output": True,
        "parse_json_strings": True,
        "parse_yaml_strings": False,
        "detect_nested_structures": True,
        "continue_on_error": True,
        "return_original_on_failure": True,
        "log_errors": True,
    }


@pytest.mark.parametrize("data", ["[1]", "```json\n1\n```", "```output\n1\n```", "```yaml\n1\n```", "a: 1", [1], {}, 5])
def test_an_empty_config_means_the_defaults(data):
    routine = ResultExtractor()
    routine._config.clear()
    assert answer(routine, data=data) == answer(ResultExtractor(), data=data)


def test_the_slot_and_the_event_are_attributes():
    routine = ResultExtractor()
    assert routine.input_slot is routine.get_slot("input")
    assert routine.output_event is routine.get_event("output")


# -- what each extractor finds


def test_the_last_json_block_that_can_be_parsed_is_the_result():
    text = '```json\n{"a": 1}\n```\n```{json}\n{"b": 2}\n```\n```json\n{broken\n```'
    assert extracted(text) == {
        "extracted_result": {"b": 2},
        "format": "json",
        "metadata": {
            "extraction_method": "json_code_block",
            "block_count": 3,
            "block_index": 1,
            "extractor": "json_code_block",
            "strategy": "auto",
        },
        "confidence": 0.9,
        "extraction_path": ["json_code_block"],
    }


@pytest.mark.parametrize("text", ['{"a": 1}', ' \n{"a": 1}\n'])
def test_a_text_that_is_json_is_the_result(text):
    found = extracted(text)
    assert (found["extracted_result"], found["format"], found["confidence"]) == ({"a": 1}, "json", 0.8)
    assert found["metadata"] == {"extraction_method": "json_string", "extractor": "json_string", "strategy": "auto"}


@pytest.mark.parametrize("text", ["3", '"text"', "null", "{broken", "[1,"])
def test_a_text_that_begins_otherwise_or_is_broken_is_no_json(text):
    assert result(text) == (text, "str", [])


def test_the_last_block_of_the_first_language_that_is_there_is_the_result():
    text = "```output\n1\n```\n```python\na\n```\n```python\nb\n```"
    found = extracted(text)
    assert (found["extracted_result"], found["format"], found["confidence"]) == ("b", "python", 0.6)
    assert found["metadata"] == {
        "extraction_method": "python_code_block",
        "block_count": 2,
        "extractor": "code_block",
        "strategy": "auto",
    }
    assert result(text, code_block_languages=["output", "python"]) == ("1", "output", ["code_block"])
    assert result(text, code_block_languages=["ruby"]) == (text, "str", [])


def test_json_that_cannot_be_parsed_is_no_code_block():
    text = "```json\n{broken\n```"
    assert result(text) == (text, "str", [])


def test_the_outputs_of_an_interpreter_are_joined():
    data = [
        {"format": "output", "content": "one\ntwo"},
        {"format": "error", "content": "no"},
        "three",
        {"content": "no"},
        {"format": "output", "content": 4},
        5,
    ]
    assert extracted(data) == {
        "extracted_result": "one\ntwo\nthree\n4",
        "format": "interpreter_output",
        "metadata": {
            "extraction_method": "interpreter_output",
            "output_count": 3,
            "line_count": 4,
            "extractor": "interpreter_output",
            "strategy": "auto",
        },
        "confidence": 0.5,
        "extraction_path": ["interpreter_output"],
    }


def test_an_interpreter_without_output_leaves_its_list():
    data = [{"format": "error", "content": "no"}]
    assert result(data) == (data, "list", ["list_extractor"])


@pytest.mark.parametrize(
    ("data", "count", "confidence"),
    [({"a": 1}, {"key_count": 1}, 0.7), ({}, {"key_count": 0}, 0.4), ([1, 2], {"item_count": 2}, 0.7)],
)
def test_a_dict_or_a_list_is_its_own_result(data, count, confidence):
    kind = type(data).__name__
    assert extracted(data) == {
        "extracted_result": data,
        "format": kind,
        "metadata": {"extraction_method": "direct", **count, "extractor": f"{kind}_extractor", "strategy": "auto"},
        "confidence": confidence,
        "extraction_path": [f"{kind}_extractor"],
    }


def test_the_last_yaml_block_that_can_be_parsed_is_the_result_where_it_is_asked_for():
    text = "```yaml\na: 1\n```\n```yml\nb: [2]\n```\n```yaml\n{broken\n```"
    found = extracted(text, extract_yaml_blocks=True)
    assert (found["extracted_result"], found["format"], found["confidence"]) == ({"b": [2]}, "yaml", 0.9)
    assert found["metadata"]["extraction_method"] == "yaml_code_block"
    assert (found["metadata"]["block_count"], found["metadata"]["block_index"]) == (3, 1)
    assert result(text)[1:] == ("yaml", ["code_block"])


def test_a_text_that_is_yaml_with_a_structure_is_the_result_where_it_is_asked_for():
    assert result("a: 1\nb: x", parse_yaml_strings=True) == ({"a": 1, "b": "x"}, "yaml", ["yaml_string"])
    assert result("a sentence", parse_yaml_strings=True) == ("a sentence", "str", [])
    assert result("a: 1") == ("a: 1", "str", [])


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "&x [*x]",
        "a: 1\n---\nb: 2",
        "a: !!python/object/apply:os.system [ls]",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: 2024-99-99",
        "[" * 5000,
        "a: \ud800",
        "? [a]\n: 1",
        "a:\0",
    ],
)
def test_yaml_that_is_broken_or_could_grow_without_end_is_not_parsed(text):
    assert result(text, parse_yaml_strings=True, parse_json_strings=False, continue_on_error=False) == (text, "str", [])


@pytest.mark.parametrize("config", [{"extract_yaml_blocks": True}, {"parse_yaml_strings": True}])
@pytest.mark.parametrize("data", ["a: 1", '{"a": 1}', {"a": 1}])
def test_asking_for_yaml_without_pyyaml_says_what_to_install(monkeypatch, config, data):
    monkeypatch.setattr(yaml_blocks, "yaml", None)
    with pytest.raises(MissingExtraError, match="pip install pyyaml"):
        deliver(extractor(**config), data=data)


def test_it_is_imported_where_there_is_no_pyyaml():
    program = """
import sys
sys.modules["yaml"] = None  # as if it were not installed
from routilux.builtin_routines import ResultExtractor
from routilux.testing import activate
routine = ResultExtractor()
print(activate(routine, "input", text="[1]").emitted()[0][1]["extracted_result"])
routine.set_config(parse_yaml_strings=True)
print(activate(routine, "input", text="[1]").job_state.errors[0].data["error_type"])
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=50)
    assert done.stdout.split() == ["[1]", "MissingExtraError"]


def test_without_pyyaml_everything_else_works(monkeypatch):
    monkeypatch.setattr(yaml_blocks, "yaml", None)
    assert result("```yaml\na: 1\n```") == ("a: 1", "yaml", ["code_block"])


def test_the_last_xml_block_that_can_be_parsed_is_the_result_where_it_is_asked_for():
    text = '```xml\n<a/>\n```\n```xml\n<a x="1"><b>1</b><b>2</b> t <c y="2">z</c></a>\n```\n```xml\n<a>\n```'
    found = extracted(text, extract_xml_blocks=True)
    assert found["extracted_result"] == {
        "a": {"@x": "1", "b": ["1", "2"], "c": {"@y": "2", "#text": "z"}, "#text": "t"}
    }
    assert (found["format"], found["confidence"]) == ("xml", 0.8)
    assert found["metadata"]["extraction_method"] == "xml_code_block"
    assert (found["metadata"]["block_count"], found["metadata"]["block_index"]) == (3, 1)
    assert result(text)[1:] == ("xml", ["code_block"])


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 20))


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l19;</a>',
        '<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        "<a>&unknown;</a>",
        "<a>" * 101 + "</a>" * 101,
        "<a>" * 100_000 + "</a>" * 100_000,
        "<a>\ud800</a>",
        "<a>\0</a>",
        "<a/><b/>",
        "text",
        "",
    ],
)
def test_xml_that_is_broken_or_declares_anything_is_not_parsed(text):
    found = result(f"```xml\n{text}\n```", extract_xml_blocks=True, continue_on_error=False)
    assert found == (text, "xml", ["code_block"])


def test_xml_of_100_levels_is_parsed():
    assert result("```xml\n" + "<a>" * 100 + "</a>" * 100 + "\n```", extract_xml_blocks=True)[2] == ["xml_code_block"]


@pytest.mark.parametrize(
    ("option", "data"),
    [
        ("extract_json_blocks", "```json\n1\n```"),
        ("parse_json_strings", "[1]"),
        ("extract_code_blocks", "```python\n1\n```"),
        ("format_interpreter_output", [{"format": "output", "content": "a"}]),
        ("detect_nested_structures", {"a": 1}),
        ("detect_nested_structures", [1]),
    ],
)
def test_each_way_can_be_switched_off(option, data):
    assert result(data)[2] != []
    assert result(data)[2] != result(data, **{option: False})[2]


# -- nothing found


@pytest.mark.parametrize(
    ("data", "kind"),
    [("text", "str"), (5, "int"), (None, "nonetype"), (b"x", "bytes"), ((1,), "tuple"), (Mute(), "mute")],
)
def test_where_nothing_is_found_the_data_come_back(data, kind):
    assert answer(extractor(), any_name=data) == {
        "extracted_result": data,
        "format": kind,
        "metadata": {"extraction_method": "none", "extractor": None, "strategy": "auto"},
        "confidence": 0.0,
        "extraction_path": [],
    }


@pytest.mark.parametrize("strategy", ["auto", "all"])
def test_where_nothing_is_found_it_may_be_an_error(strategy, caplog):
    routine = extractor(return_original_on_failure=False, strategy=strategy)
    with pytest.raises(ValueError, match="'nothing here'"):
        deliver(routine, data="nothing here")
    routine.input_slot.receive({"data": "nothing here"})
    assert "nothing here" in caplog.text


# -- strategies and order


@pytest.mark.parametrize("strategy", ["auto", "priority", "first_match", "unknown", None])
def test_the_first_that_finds_something_decides(strategy):
    found = extracted('```python\na\n```\n```json\n{"a": 1}\n```', strategy=strategy)
    assert found["extraction_path"] == ["json_code_block"]
    assert found["metadata"]["strategy"] == strategy


def test_those_with_priority_come_first_and_the_rest_in_their_order():
    text = '```python\na\n```\n```json\n{"a": 1}\n```'
    assert result(text, extractor_priority=["unknown", "code_block"])[2] == ["code_block"]
    assert result(text, extractor_priority=["list_extractor"])[2] == ["json_code_block"]


@pytest.mark.parametrize("priority", [None, 5, "code_block", [5, None, ["x"]], {"code_block": 1}, float("nan")])
def test_a_priority_that_is_no_list_of_names_has_those_that_it_has(priority):
    text = '```python\na\n```\n```json\n{"a": 1}\n```'
    expected = "code_block" if priority == "code_block" else "json_code_block"
    assert result(text, extractor_priority=priority)[2] == [expected]
    assert result("```python\na\n```", code_block_languages=priority)[2] == []


def test_with_all_every_extractor_is_asked():
    routine = extractor(strategy="all", log_errors=False)
    routine.register_extractor("shout", shout)
    routine.register_extractor("raising", raising)
    found = answer(routine, data='```python\na\n```\n```json\n{"a": 1}\n```')
    assert found["extracted_result"][:2] == [{"a": 1}, "a"]
    assert found["format"] == "multi"
    assert found["extraction_path"] == ["json_code_block", "code_block", "shout"]
    assert found["confidence"] == 0.7
    metadata = found["metadata"]
    assert (metadata["count"], metadata["errors"]) == (3, ["Error in raising: boom"])
    assert (metadata["strategy"], metadata["extractor"]) == ("all", None)
    assert [each["format"] for each in metadata["extractions"]] == ["json", "python", "shouted"]
    assert [each["extractor"] for each in metadata["extractions"]] == found["extraction_path"]
    assert [each["confidence"] for each in metadata["extractions"]] == [0.9, 0.6, 0.5]
    assert metadata["extractions"][2]["metadata"] == {"loud": True}


# -- extractors of the application


def test_an_extractor_of_the_application_is_asked_last_and_its_metadata_stay():
    routine = extractor()
    routine.register_extractor("shout", shout)
    assert answer(routine, data="[1]")["extraction_path"] == ["json_string"]
    assert answer(routine, data="hello") == {
        "extracted_result": "HELLO",
        "format": "shouted",
        "metadata": {"loud": True, "extractor": "shout", "strategy": "auto"},
        "confidence": 0.5,
        "extraction_path": ["shout"],
    }


def test_an_extractor_that_is_registered_again_replaces_the_one_before():
    routine = extractor()
    routine.register_extractor("list_extractor", lambda data, config: (len(data), "count", {}))
    assert answer(routine, data=[1, 2])["extracted_result"] == 2


def test_an_extractor_gets_a_copy_of_the_config():
    routine = extractor(mine=5)

    def look(data, config):
        config["strategy"] = "changed"
        return config["mine"], "seen", {}

    routine.register_extractor("look", look)
    assert answer(routine, data="x")["metadata"]["strategy"] == "auto"
    assert routine.get_config("strategy") == "auto"


@pytest.mark.parametrize("name", ["", None, 5])
def test_an_extractor_needs_a_name(name):
    with pytest.raises(ValueError, match="name"):
        ResultExtractor().register_extractor(name, shout)


async def later(data, config):
    return data, "late", {}


@pytest.mark.parametrize("bad", [5, None, later, functools.partial(later, 1)], ids=repr)
def test_an_extractor_has_to_be_a_plain_function(bad):
    routine = ResultExtractor()
    with pytest.raises(TypeError, match="extractor 'bad'"):
        routine.register_extractor("bad", bad)
    assert result("x")[2] == []


def test_what_would_have_to_be_awaited_is_no_result():
    routine = extractor(continue_on_error=False)
    routine.register_extractor("late", lambda data, config: later(data, dict(config)))
    with pytest.raises(TypeError, match="to await"):
        deliver(routine, data="x")


def test_of_two_extractors_that_are_registered_at_once_none_is_lost():
    routine = extractor(strategy="all")
    register_two_at_once(routine.register_extractor, shout)
    assert answer(routine, data="x")["extraction_path"] == ["first", "second"]


def test_an_error_of_an_extractor_is_logged_and_passed_over(caplog):
    routine = extractor(extractor_priority=["raising"])
    routine.register_extractor("raising", raising)
    with caplog.at_level(logging.WARNING, "routilux"):
        assert answer(routine, data=[1])["extraction_path"] == ["list_extractor"]
    assert "'raising'" in caplog.text
    caplog.clear()
    routine.set_config(log_errors=False)
    assert answer(routine, data=[1])["extraction_path"] == ["list_extractor"]
    assert caplog.text == ""


def test_an_error_of_an_extractor_may_be_the_routines():
    routine = extractor(continue_on_error=False)
    routine.register_extractor("raising", raising)
    assert answer(routine, data=[1])["extraction_path"] == ["list_extractor"]
    with pytest.raises(ValueError, match="boom"):
        deliver(routine, data="x")


@pytest.mark.parametrize("returned", [5, (1, 2), (1, 2, 3), (1, "a", None), "abc", (1, "a", {}, 4), Mute()])
def test_an_extractor_that_returns_something_else_has_failed(returned):
    routine = extractor(continue_on_error=False)
    routine.register_extractor("odd", lambda data, config: returned)
    with pytest.raises(TypeError, match="returns"):
        deliver(routine, data="x")
    routine.set_config(continue_on_error=True, log_errors=False)
    assert answer(routine, data="x")["extraction_path"] == []


@pytest.mark.parametrize(
    ("returned", "confidence"),
    [
        (("x", "text", {}), 0.5),
        (("", "text", {}), 0.2),
        ((None, "text", {}), 0.2),
        ((0, "text", {}), 0.5),
        (([], "json", {}), 0.5),
        (({"a": 1}, "yaml", {"extraction_method": "my_code_block"}), 0.9),
        (("", "x", {"extraction_method": ["code_block"]}), 0.2),
    ],
)
def test_confidence_follows_from_the_result_its_format_and_method(returned, confidence):
    routine = extractor()
    routine.register_extractor("mine", lambda data, config: returned)
    assert answer(routine, data="x")["confidence"] == confidence


# -- odd data, saving, runs


@pytest.mark.parametrize("strategy", ["auto", "all"])
@pytest.mark.parametrize("name", ODD_VALUES)
def test_every_value_has_a_result(name, strategy):
    value = ODD_VALUES[name]
    deliveries = (
        {"data": value},
        {"a": value, "self": 1},
        {"data": [value, {"format": value, "content": value}, {"format": "output", "content": value}]},
    )
    for delivery in deliveries:
        routine = extractor(strategy=strategy, **EVERYTHING)
        assert 0 <= answer(routine, **delivery)["confidence"] <= 1


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" + "1" * 5000 + "]", '["\ud800"', "```json\n[" * 9]
)
def test_no_text_is_an_error(text):
    assert result(text, continue_on_error=False)[1] == "str"
    assert result(f"```json\n{text}\n```", continue_on_error=False)[0] is not None


def test_it_is_saved_and_restored_and_extracts_again():
    routine, text = (
        extractor(code_block_languages=["ruby"], strategy="first_match"),
        "```python\n1\n```\n```ruby\n2\n```",
    )
    ((_, got),) = run_restored(routine, {"text": text})
    assert (got["extracted_result"], got["metadata"]["strategy"]) == ("2", "first_match")
    assert got == answer(routine, text=text)


def test_extractors_are_saved_in_their_order_where_they_can_be():
    local = object()
    routine = extractor(strategy="all")
    routine.register_extractor("shout", shout)
    routine.register_extractor("local", lambda data, config: (local, "local", {}))
    routine.register_extractor("length", lambda data, config: (len(data), "count", {}))
    routine.register_extractor("code_block", lambda data, config: (data, "block", {}))
    copy = restored(routine)
    assert answer(routine, data="[1]")["extraction_path"] == ["json_string", "code_block", "shout", "local", "length"]
    assert answer(copy, data="[1]")["extraction_path"] == ["json_string", "code_block", "shout", "length"]
    assert [data["extracted_result"] for _, data in run_restored(copy, {"text": "[1]"})] == [[[1], "[1]", "[1]", 3]]


@register_serializable
class OwnExtractor(ResultExtractor):
    """An extractor whose constructor registers a function that saved data cannot hold."""

    def __init__(self):
        super().__init__()
        mark = object()
        self.register_extractor("own", lambda data, config: ("own" if mark else "", "own", {}))


def test_what_a_constructor_registers_is_there_again():
    assert run_restored(OwnExtractor(), {"text": "x"})[0][1]["extraction_path"] == ["own"]


def test_none_is_a_value_and_nothing_at_all_is_an_empty_dict():
    assert (answer(extractor(), data=None)["extracted_result"], answer(extractor())["extracted_result"]) == (None, {})


def test_two_runs_at_once_do_not_see_each_other():
    gate = Gate()
    held = {"data": [{"format": "output", "content": HeldText("held", gate)}]}
    one, other = two_runs_at_once(extractor(), held, {"data": {"a": 1}}, gate)
    assert (one["extracted_result"], one["extraction_path"]) == ("held", ["interpreter_output"])
    assert (other["extracted_result"], other["extraction_path"]) == ({"a": 1}, ["dict_extractor"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('ab`\n"{['), max_size=6),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text("ab`", max_size=3), inside, max_size=3),
    max_leaves=8,
)
PIECES = st.lists(
    st.tuples(st.just("json"), JSON.map(json.dumps))
    | st.tuples(st.just("json"), st.just("{broken"))
    | st.tuples(st.sampled_from(["python", "output", "ruby"]), st.sampled_from(["a = 1", "b", "{}"])),
    max_size=5,
)


def model(pieces):
    """The result and its format, from the pieces rather than from the text."""
    parsable = [text for language, text in pieces if language == "json" and text != "{broken"]
    if parsable:
        return json.loads(parsable[-1]), "json"
    for wanted in ("python", "output"):
        found = [text for language, text in pieces if language == wanted]
        if found:
            return found[-1], wanted
    return None, "str"


def test_contents_that_share_their_parts_do_not_take_all_memory():
    assert result([{"format": "output", "content": shared_without_end()}])[0] == "<list>"


@given(PIECES)
def test_random_texts_give_what_the_model_finds(pieces):
    text = "Here it is.\n" + "".join(f"```{language}\n{content}\n```\nand\n" for language, content in pieces)
    value, kind = model(pieces)
    assert result(text)[:2] == ((text if kind == "str" else value), kind)
