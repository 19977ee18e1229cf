"""WorkflowD2Formatter: a flow drawn in D2."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from routilux.analysis.d2_text import Block, Keys, quoted, quoted_markdown
from routilux.analysis.formatting import BaseFormatter
from routilux.errors import InvalidValueError, UnknownNameError

__all__ = ["WorkflowD2Formatter"]

# "standard" is what `WorkflowAnalyzer.to_d2_format` calls the default.
STYLES = ("default", "standard", "ultimate")

# Of a routine's config, how much of a value is shown.
_VALUE_LENGTH_MAX = 60

_CLASSES = """\
classes: {
  routine: {style: {fill: "#f6f8fa"; stroke: "#57606a"; border-radius: 8}}
  entry: {style: {stroke: "#1a7f37"; stroke-width: 4; bold: true}}
  slot: {style: {fill: "#ddf4ff"; stroke: "#0969da"; border-radius: 4}}
  event: {style: {fill: "#fff8c5"; stroke: "#9a6700"; border-radius: 20}}
  about: {shape: text; style: {italic: true}}
  config: {shape: page; style: {fill: "#ffffff"; stroke: "#8c959f"}}
  line: {style: {stroke: "#57606a"}}
  cycle: {style: {stroke: "#cf222e"; stroke-dash: 4}}
}"""

Described = dict[str, Any]


class WorkflowD2Formatter(BaseFormatter):
    """Draws what `WorkflowAnalyzer.analyze_flow` returned, in D2 (d2lang.com).

    The names of the flow may be any text.

    Args:
        style: "default", also called "standard": routines, and between them lines with the names of event and slot.
            "ultimate": each routine as a container of its slots and events, with its config and docstring; entry points
            have a thick border, and the lines of a cycle are dashed.

    Raises:
        ValueError: An unknown style.
    """

    def __init__(self, style: str = "default") -> None:
        if style not in STYLES:
            raise UnknownNameError("style", style, STYLES, "WorkflowD2Formatter")
        self.style = style

    def format(self, data: dict[str, Any]) -> str:
        """The drawing as D2 text.

        Raises:
            ValueError: Data that `analyze_flow` has not made.
        """
        made_of = "a drawing is made of what WorkflowAnalyzer.analyze_flow returns"
        try:
            missing = [key for key in ("routines", "connections") if key not in data]
            if missing:
                raise InvalidValueError(f"The data have no {missing[0]!r}: {made_of}.")
            return _Detailed(data).text() if self.style == "ultimate" else _plain(data)
        except KeyError as error:
            raise InvalidValueError(f"A part of the data has no {error.args[0]!r}: {made_of}.") from error
        except (AttributeError, TypeError) as error:  # a text, say, where a dict should be
            raise InvalidValueError(f"The data are not what they should be ({error}): {made_of}.") from error


def _plain(data: Described) -> str:
    block = Block()
    block.add("direction: right")
    block.gap()
    keys = Keys("routine")
    for routine in data["routines"]:
        block.add(f"{keys.of(routine['routine_id'])}: {quoted(_heading(routine))}")
    block.gap()
    for line in data["connections"]:
        ends = f"{keys.of(line['source_routine_id'])} -> {keys.of(line['target_routine_id'])}"
        label = "\n".join([f"{line['source_event']} → {line['target_slot']}", *_renamed(line)])
        block.add(f"{ends}: {quoted(label)}")
    return block.text()


def _heading(routine: Described) -> str:
    return f"{routine['routine_id']}\n{routine['class_name']}"


def _renamed(line: Described) -> Iterator[str]:
    """The names that change on the way."""
    for source, target in (line.get("param_mapping") or {}).items():
        yield f"{source} = {target}"


class _Detailed:
    """The drawing that shows everything."""

    def __init__(self, data: Described) -> None:
        self._data = data
        self._block = Block()
        self._keys = Keys("routine")
        self._ports: dict[str, Keys] = {}
        self._entries = frozenset(data.get("entry_points") or ())
        self._cycle_of = {each: index for index, cycle in enumerate(data.get("cycles") or ()) for each in cycle}

    def text(self) -> str:
        block = self._block
        block.add("direction: right")
        for row in _CLASSES.splitlines():
            block.add(row)
        for routine in self._data["routines"]:
            block.gap()
            self._routine(routine)
        block.gap()
        for line in self._data["connections"]:
            self._line(line)
        block.gap()
        self._title()
        return block.text()

    def _title(self) -> None:
        # Its key is chosen last: the routines are called by their ids, if one of them is "flow" too.
        settings = [str(self._data[key]) for key in ("execution_strategy",) if self._data.get(key)]
        if self._data.get("max_workers"):
            settings.append(f"max_workers {self._data['max_workers']}")
        if "execution_timeout" in self._data:
            seconds = self._data["execution_timeout"]
            settings.append("no timeout" if seconds is None else f"timeout {seconds:g} s")
        label = f"{self._data.get('flow_id', '')}\n{', '.join(settings)}"
        self._block.add(f"{self._keys.another('flow')}: {quoted(label)} {{shape: text; near: top-center}}")

    def _routine(self, routine: Described) -> None:
        block, routine_id = self._block, routine["routine_id"]
        source = routine.get("source_analysis") or {}
        block.open(f"{self._keys.of(routine_id)}: {quoted(_heading(routine))}")
        block.add("class: [routine; entry]" if routine_id in self._entries else "class: routine")
        docstring = routine.get("docstring") or source.get("docstring") or ""
        # Without its folders: the drawing is the same on every machine.
        place = f"{Path(source['file_path']).name}:{source['line_number']}" if source.get("file_path") else ""
        self._tooltip([docstring, place])
        ports = self._ports.setdefault(routine_id, Keys("port"))
        if docstring.strip():
            summary = docstring.strip().split("\n\n")[0]
            block.add(f"{ports.of('about')}: {quoted(summary)} {{class: about}}")
        # What is shown on a port's tooltip is told by the handler's own docstring.
        told = {method["name"]: method.get("docstring") for method in source.get("methods", ())}
        for slot in routine.get("slots", ()):
            block.open(f"{ports.of(_slot_name(slot['name']))}: {quoted(_slot_label(slot))}")
            block.add("class: slot")
            self._tooltip([told.get(slot.get("handler")) or "", *_wanted(slot)])
            block.close()
        for event in routine.get("events", ()):
            label = "\n".join([event["name"], *event.get("params", ())])
            block.add(f"{ports.of(_event_name(event['name']))}: {quoted(label)} {{class: event}}")
        config = routine.get("config") or source.get("config")
        if config:
            rows = "\n".join(f"{key}: {_short(value)}" for key, value in config.items())
            block.add(f"{ports.of('config')}: {quoted(rows)} {{class: config}}")
        block.close()

    def _tooltip(self, parts: list[str]) -> None:
        text = "\n\n".join(part for part in parts if part.strip())
        if text:
            self._block.add(f"tooltip: {quoted_markdown(text)}")

    def _line(self, line: Described) -> None:
        source, target = line["source_routine_id"], line["target_routine_id"]
        is_cyclic = source in self._cycle_of and self._cycle_of[source] == self._cycle_of.get(target)
        head = self._port(source, _event_name(line["source_event"]))
        tail = self._port(target, _slot_name(line["target_slot"]))
        renamed = "\n".join(_renamed(line))
        label = f": {quoted(renamed)}" if renamed else ":"
        self._block.add(f"{head} -> {tail}{label} {{class: {'[line; cycle]' if is_cyclic else 'line'}}}")

    def _port(self, routine_id: str, name: str) -> str:
        return f"{self._keys.of(routine_id)}.{self._ports.setdefault(routine_id, Keys('port')).of(name)}"


def _slot_name(name: str) -> str:
    # A slot and an event of one routine may have the same name.
    return f"slot {name}"


def _event_name(name: str) -> str:
    return f"event {name}"


def _slot_label(slot: Described) -> str:
    rows = [slot["name"]]
    if slot.get("handler"):
        rows.append(f"{slot['handler']}()")
    if slot.get("merge_strategy", "override") != "override":
        rows.append(f"merge: {slot['merge_strategy']}")
    return "\n".join(rows)


def _wanted(slot: Described) -> Iterator[str]:
    if slot.get("required"):
        yield f"needs {', '.join(slot['required'])}"
    if slot.get("optional"):
        yield f"may be given {', '.join(slot['optional'])}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_LENGTH_MAX else f"{text[:_VALUE_LENGTH_MAX]}…"
