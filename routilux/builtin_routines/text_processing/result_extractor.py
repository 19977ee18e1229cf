"""ResultExtractor: finds the result in what a language model or an interpreter has answered."""

import logging
from typing import Any

from routilux.builtin_routines.any_value import text_of_value, value_received
from routilux.builtin_routines.named_functions import NamedFunctions
from routilux.builtin_routines.plain_functions import answer_of
from routilux.builtin_routines.text_processing.extractors import EXTRACTORS, Extraction, Extractor, names_in
from routilux.builtin_routines.text_processing.yaml_blocks import require_yaml
from routilux.errors import InvalidTypeError, InvalidValueError
from routilux.plain import shortened
from routilux.registration import registered

__all__ = ["ResultExtractor"]

logger = logging.getLogger(__name__)


@registered
class ResultExtractor(NamedFunctions):
    """Tries extractors in order and emits what they find.

    Slot `input`: any value: `data`, else the only value, else all that came as a dict.

    Event `output`: `extracted_result`, `format`, `metadata`, `confidence` (0 to 1), `extraction_path` (the names of
    the extractors that found it).

    The extractors, in order:

    - interpreter_output: a list with dicts that have `format` and `content`. The contents of format "output", and
      texts that stand beside them, joined by newlines.
    - json_code_block, yaml_code_block, xml_code_block: the last block of that language in a text that can be parsed.
    - json_string, yaml_string: a whole text. JSON has to begin with a brace or a bracket, YAML to be a dict or a list.
    - code_block: the last block of the first language in `code_block_languages` that the text has; never JSON.
    - dict_extractor, list_extractor: a dict or a list as it is.
    - those of `register_extractor`, in the order in which they were registered.

    The first that finds something decides. With the strategy "all" every one is asked; `extracted_result` is then the
    list of what they found, `format` is "multi", and `metadata` has `extractions` (a dict for each: extractor, format,
    metadata, confidence), `count` and `errors` (texts).

    `metadata` is what the extractor tells, among it `extraction_method`, with two keys more: `extractor` (its name;
    None where it is not one) and `strategy`.

    When nothing is found, the data are emitted as they came, with their type's lower-case name as `format`, confidence
    0.0, the extraction method "none" and an empty path.

    Config:
        strategy: "all", or "auto", "priority" and "first_match", which are the same; so is anything else. "auto".
        extractor_priority: Names of extractors to try first; unknown ones are passed over. [].
        extract_json_blocks, extract_code_blocks: True.
        extract_yaml_blocks, extract_xml_blocks: False. YAML needs the extra `yaml`; XML with a DOCTYPE is not parsed.
        code_block_languages: ["json", "python", "output", "yaml", "xml"].
        format_interpreter_output: Whether interpreter_output is tried; True.
        parse_json_strings: True.
        parse_yaml_strings: False.
        detect_nested_structures: Whether dict_extractor and list_extractor are tried; True.
        continue_on_error: Whether an extractor that raises is passed over; else the error is the routine's. True.
        return_original_on_failure: False makes it a ValueError when nothing is found. True.
        log_errors: Whether errors that are passed over are logged; True.

    What `register_extractor` was given is saved if it is a function at module level, a lambda that uses nothing but its
    parameters, or a method of the routine itself. Register any other again on a restored routine.
    """

    def __init__(self) -> None:
        super().__init__("extractor", EXTRACTORS, (), ("extractor_priority",))
        self.input_slot = self.define_slot("input", handler=self.extract)
        self.output_event = self.define_event(
            "output", ["extracted_result", "format", "metadata", "confidence", "extraction_path"]
        )
        self.set_config(
            strategy="auto",
            extractor_priority=[],
            extract_json_blocks=True,
            extract_code_blocks=True,
            extract_yaml_blocks=False,
            extract_xml_blocks=False,
            code_block_languages=["json", "python", "output", "yaml", "xml"],
            format_interpreter_output=True,
            parse_json_strings=True,
            parse_yaml_strings=False,
            detect_nested_structures=True,
            continue_on_error=True,
            return_original_on_failure=True,
            log_errors=True,
        )

    def register_extractor(self, name: str, extractor: Extractor) -> None:
        """Add an extractor, or put another one in the place of one that has this name.

        Args:
            name: For `extractor_priority`, and in what is emitted.
            extractor: `(data, config) -> (result, format, metadata)`, or None when it finds nothing. The config is a
                copy. Several threads may call it at once.

        Raises:
            ValueError: The name is not text, or empty.
            TypeError: The extractor cannot be called, or is `async def`.
        """
        self._register(name, extractor)

    def extract(self, /, **received: Any) -> None:
        """The handler of `input`.

        Raises:
            ValueError: Nothing was found, and `return_original_on_failure` is False.
            ImportError: The config asks for YAML, and PyYAML is not installed.
            Exception: What an extractor raises, when `continue_on_error` is False.
        """
        data = value_received(self, received)
        config = self.config()
        if config.get("extract_yaml_blocks", False) or config.get("parse_yaml_strings", False):
            require_yaml()  # a wrong installation is no error to be passed over, whatever is found first
        strategy = config.get("strategy", "auto")
        asks_all = isinstance(strategy, str) and strategy == "all"
        found: list[tuple[str, Extraction]] = []
        errors: list[str] = []
        for name, extractor in self._in_order(config).items():
            extraction = self._ask(name, extractor, data, config, errors)
            if extraction is not None:
                found.append((name, extraction))
                if not asks_all:
                    break
        if not found:
            self._emit_original(data, config, strategy)
        elif asks_all:
            self._emit_all(found, errors, strategy)
        else:
            name, (result, kind, metadata) = found[0]
            self._emit_result(result, kind, {**metadata, "extractor": name, "strategy": strategy}, [name])

    def _in_order(self, config: dict[str, Any]) -> dict[str, Extractor]:
        extractors = self._by_name()
        first = [name for name in names_in(config.get("extractor_priority")) if name in extractors]
        return {name: extractors[name] for name in dict.fromkeys([*first, *extractors])}

    def _ask(
        self, name: str, extractor: Extractor, data: Any, config: dict[str, Any], errors: list[str]
    ) -> Extraction | None:
        try:
            extraction = answer_of(extractor, data, dict(config))
            return None if extraction is None else _checked(extraction)
        except Exception as error:
            if not config.get("continue_on_error", True):
                raise
            errors.append(f"Error in {name}: {text_of_value(error)[:500]}")
            if config.get("log_errors", True):
                logger.warning("The extractor %r of %r raised", name, self, exc_info=True)
            return None

    def _emit_original(self, data: Any, config: dict[str, Any], strategy: Any) -> None:
        kind = type(data).__name__.lower()
        if not config.get("return_original_on_failure", True):
            raise InvalidValueError(
                f"No extractor of {self!r} finds a result in {shortened(data)}. Register one that does, or set "
                "return_original_on_failure=True."
            )
        metadata = {"extraction_method": "none", "extractor": None, "strategy": strategy}
        self.emit("output", extracted_result=data, format=kind, metadata=metadata, confidence=0.0, extraction_path=[])

    def _emit_all(self, found: list[tuple[str, Extraction]], errors: list[str], strategy: Any) -> None:
        extractions = [
            {"extractor": name, "format": kind, "metadata": metadata, "confidence": _confidence(result, kind, metadata)}
            for name, (result, kind, metadata) in found
        ]
        names = [name for name, _ in found]
        metadata = {
            "extractions": extractions, "count": len(found), "errors": errors, "extractor": None, "strategy": strategy,
        }  # fmt: skip
        self._emit_result([result for _, (result, _, _) in found], "multi", metadata, names)

    def _emit_result(self, result: Any, kind: str, metadata: dict[str, Any], path: list[str]) -> None:
        self.emit(
            "output",
            extracted_result=result,
            format=kind,
            metadata=metadata,
            confidence=_confidence(result, kind, metadata),
            extraction_path=path,
        )


def _checked(extraction: Any) -> Extraction:
    is_triple = isinstance(extraction, tuple | list) and len(extraction) == 3
    if not is_triple or not isinstance(extraction[1], str) or not isinstance(extraction[2], dict):
        raise InvalidTypeError(
            f"An extractor returns (result, format, metadata) with a text and a dict, or None, not "
            f"{shortened(extraction)}."
        )
    return extraction[0], extraction[1], extraction[2]


def _confidence(result: Any, kind: str, metadata: dict[str, Any]) -> float:
    method = metadata.get("extraction_method")
    tenths = 5
    if isinstance(result, dict | list):
        tenths += 2
    if isinstance(method, str) and "code_block" in method:
        tenths += 1
    if kind in ("json", "yaml"):
        tenths += 1
    if result is None or (isinstance(result, str | bytes | dict | list | tuple | set | frozenset) and not result):
        tenths -= 3
    return max(0, min(10, tenths)) / 10
