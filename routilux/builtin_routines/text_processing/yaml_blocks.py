"""YAML as data, where PyYAML is installed: the extra `yaml`."""

from typing import Any

from routilux.errors import MissingExtraError

try:
    import yaml
except ImportError:  # it is optional; `require_yaml` says so where it is asked for
    yaml = None  # type: ignore[assignment]  # it is a module otherwise

__all__ = ["parsed_yaml", "require_yaml"]


def require_yaml() -> None:
    """Make sure that there is a YAML parser.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    if yaml is None:
        raise MissingExtraError(
            "extract_yaml_blocks and parse_yaml_strings need PyYAML, which is not installed: "
            "pip install pyyaml, or switch both off."
        )


def parsed_yaml(text: str) -> Any:
    """The data that a text is in YAML, by PyYAML's rules for safe loading, but for aliases: those are refused.

    With aliases a few lines stand for billions of values, and a list may hold itself: neither could be saved.

    Raises:
        ValueError: It is no YAML, has several documents, or has aliases.
    """
    try:
        is_refused = _has_aliases(text)
        parsed = None if is_refused else yaml.safe_load(text)
    except Exception as error:
        # PyYAML lets through what its converters raise, KeyError, AttributeError and others, and RecursionError.
        raise ValueError(f"not YAML: {type(error).__name__}") from error
    if is_refused:
        raise ValueError("YAML with aliases is not read: they can hold more than memory does.")
    return parsed


def _has_aliases(text: str) -> bool:
    # Without a star there are none, and PyYAML is slow.
    return "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader))
