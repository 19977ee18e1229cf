"""The extractors that ResultExtractor begins with: functions of (data, config), which change nothing."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from routilux.builtin_routines.any_value import text_of_value
from routilux.builtin_routines.text_processing.fenced_blocks import blocks_in
from routilux.builtin_routines.text_processing.xml_blocks import parsed_xml
from routilux.builtin_routines.text_processing.yaml_blocks import parsed_yaml

__all__ = ["EXTRACTORS", "Extraction", "Extractor", "names_in"]

# What was found: the result, its format, and metadata about it.
Extraction = tuple[Any, str, dict[str, Any]]
Extractor = Callable[[Any, dict[str, Any]], Extraction | None]

_LANGUAGES = ("json", "python", "output", "yaml", "xml")


def names_in(value: Any) -> list[str]:
    """The names in a config value; one that is neither text nor a list of texts has none."""
    if isinstance(value, str):
        return [value]
    return [name for name in value if isinstance(name, str)] if isinstance(value, list | tuple) else []


def _interpreter_output(data: Any, config: dict[str, Any]) -> Extraction | None:
    if not config.get("format_interpreter_output", True) or not isinstance(data, list):
        return None
    if not any(isinstance(entry, dict) and "format" in entry and "content" in entry for entry in data):
        return None
    outputs = [output for entry in data if (output := _output(entry)) is not None]
    if not outputs:
        return None
    text = "\n".join(outputs)
    metadata = {
        "extraction_method": "interpreter_output",
        "output_count": len(outputs),
        "line_count": len(text.splitlines()),
    }
    return text, "interpreter_output", metadata


def _output(entry: Any) -> str | None:
    if isinstance(entry, str):
        return entry
    # Asked as a dict, whatever its class makes of that.
    kind = dict.get(entry, "format") if isinstance(entry, dict) else None
    is_output = isinstance(kind, str) and kind == "output" and dict.__contains__(entry, "content")
    return text_of_value(dict.get(entry, "content")) if is_output else None


def _json_code_block(data: Any, config: dict[str, Any]) -> Extraction | None:
    return _last_parsed(data, ("json",), _parsed_json) if config.get("extract_json_blocks", True) else None


def _json_string(data: Any, config: dict[str, Any]) -> Extraction | None:
    if not config.get("parse_json_strings", True) or not isinstance(data, str):
        return None
    text = data.strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        return _parsed_json(text), "json", {"extraction_method": "json_string"}
    except ValueError:
        return None


def _yaml_code_block(data: Any, config: dict[str, Any]) -> Extraction | None:
    return _last_parsed(data, ("yaml", "yml"), parsed_yaml) if config.get("extract_yaml_blocks", False) else None


def _yaml_string(data: Any, config: dict[str, Any]) -> Extraction | None:
    if not config.get("parse_yaml_strings", False) or not isinstance(data, str):
        return None
    try:
        parsed = parsed_yaml(data)
    except ValueError:
        return None
    # Every sentence is a YAML text; only what has a structure was meant to be one.
    return (parsed, "yaml", {"extraction_method": "yaml_string"}) if isinstance(parsed, dict | list) else None


def _xml_code_block(data: Any, config: dict[str, Any]) -> Extraction | None:
    return _last_parsed(data, ("xml",), parsed_xml) if config.get("extract_xml_blocks", False) else None


def _code_block(data: Any, config: dict[str, Any]) -> Extraction | None:
    if not config.get("extract_code_blocks", True) or not isinstance(data, str):
        return None
    blocks = blocks_in(data)
    for language in names_in(config.get("code_block_languages", _LANGUAGES)):
        found = [block.text for block in blocks if block.language == language.lower()]
        if found and language.lower() != "json":
            metadata = {"extraction_method": f"{language}_code_block", "block_count": len(found)}
            return found[-1], language, metadata
    return None


def _dict(data: Any, config: dict[str, Any]) -> Extraction | None:
    if not config.get("detect_nested_structures", True) or not isinstance(data, dict):
        return None
    return data, "dict", {"extraction_method": "direct", "key_count": len(data)}


def _list(data: Any, config: dict[str, Any]) -> Extraction | None:
    if not config.get("detect_nested_structures", True) or not isinstance(data, list):
        return None
    return data, "list", {"extraction_method": "direct", "item_count": len(data)}


def _parsed_json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _last_parsed(data: Any, languages: tuple[str, ...], parse: Callable[[str], Any]) -> Extraction | None:
    if not isinstance(data, str):
        return None
    texts = [block.text for block in blocks_in(data) if block.language in languages]
    for index in range(len(texts) - 1, -1, -1):
        try:
            parsed = parse(texts[index])
        except ValueError:
            continue
        method = f"{languages[0]}_code_block"
        return parsed, languages[0], {"extraction_method": method, "block_count": len(texts), "block_index": index}
    return None


EXTRACTORS: Mapping[str, Extractor] = {
    "interpreter_output": _interpreter_output,
    "json_code_block": _json_code_block,
    "json_string": _json_string,
    "yaml_code_block": _yaml_code_block,
    "yaml_string": _yaml_string,
    "xml_code_block": _xml_code_block,
    "code_block": _code_block,
    "dict_extractor": _dict,
    "list_extractor": _list,
}
