"""Reads the fenced blocks of Markdown pages, and finds those that would escape being run."""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT_MARKER = "<!-- output -->"

FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})\s*(?P<info>[^`]*?)\s*$")
DIRECTIVE = re.compile(r"^\{(?P<name>[^}]+)\}\s*(?P<argument>.*)$")
CODE_DIRECTIVES = {"code", "code-block", "code-cell", "sourcecode"}
PYTHON_NAMES = re.compile(r"^(python\d*|py\d*|pycon|ipython\d*)\b", re.IGNORECASE)
QUOTED_FENCE = re.compile(r"(`{3,}|~{3,})\s*\{?(python|py)", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: The info string behind the opening fence.
        line: The number of the first line of the text, from 1.
        text: The lines between the fences, each with its newline.
        above: The lines that are not empty between the previous fence and this one.
    """

    language: str
    line: int
    text: str
    above: tuple[str, ...]

    @property
    def marker(self) -> str:
        """The HTML comment that stands directly above the block, or ""."""
        last = self.above[-1] if self.above else ""
        return last if last.startswith("<!--") else ""


@dataclass
class Page:
    """The blocks of one page in order, and its faults as sentences with their line."""

    name: str
    path: Path
    blocks: list[Block] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def has_python(self) -> bool:
        return any(block.language == "python" for block in self.blocks)

    def examples(self) -> list[tuple[Block, str | None]]:
        """Each python block with the text that it must print, None where the page says nothing."""
        following = [*self.blocks[1:], None]
        return [
            (block, after.text if after and is_output(after) else None)
            for block, after in zip(self.blocks, following, strict=True)
            if block.language == "python"
        ]

    def python_source(self) -> str:
        """The python blocks alone, each line under the number that it has on the page."""
        lines: list[str] = []
        for block in self.blocks:
            if block.language == "python":
                lines += ["\n"] * (block.line - 1 - len(lines))
                lines += block.text.splitlines(keepends=True)
        return "".join(lines)


def project_pages() -> list[Page]:
    """The README and every page below docs, the README first."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [read_page(path, path.relative_to(ROOT).as_posix()) for path in paths]


def read_page(path: Path, name: str) -> Page:
    """Reads one page; what is wrong with it stands in its `faults`."""
    page = Page(name, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    # The fences of the MyST directives that are open here: the blocks inside them count.
    directives: list[str] = []
    above: list[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        fence = FENCE.match(line)
        if fence is None:
            if QUOTED_FENCE.search(line):
                page.faults.append(f"line {number}: a python block does not begin its own line")
            if line.strip():
                above.append(line.strip())
        elif directives and not fence["info"] and closes(line, directives[-1]):
            directives.pop()
            above = []
        elif is_container(fence["info"]):
            directives.append(fence["ticks"])
            above = []
        else:
            end = closing_line(lines, number, fence["ticks"])
            text = "".join(dedent(row, fence["indent"]) + "\n" for row in lines[number:end])
            page.blocks.append(Block(fence["info"], number + 1, text, tuple(above)))
            if end == len(lines):
                page.faults.append(f"line {number}: the block has no end")
            number = end + 1
            above = []
    page.faults += [fault for block in page.blocks if (fault := escape(block))]
    page.faults += misplaced_outputs(page, lines)
    return page


def closes(line: str, ticks: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(ticks) and set(bare) == {ticks[0]}


def closing_line(lines: list[str], start: int, ticks: str) -> int:
    return next((n for n in range(start, len(lines)) if closes(lines[n], ticks)), len(lines))


def dedent(line: str, indent: str) -> str:
    return line.removeprefix(indent) if line.strip() else ""


def is_container(info: str) -> bool:
    directive = DIRECTIVE.match(info)
    if directive is None:
        return False
    return directive["name"] not in CODE_DIRECTIVES and not is_python(directive["name"])


def is_python(name: str) -> bool:
    return bool(PYTHON_NAMES.match(name)) and ":" not in name


def escape(block: Block) -> str | None:
    """How the block would be shown as Python and not be run, or None."""
    directive = DIRECTIVE.match(block.language)
    shown_as = (directive["argument"], directive["name"]) if directive else (block.language,)
    if block.language != "python" and any(is_python(name) for name in shown_as):
        return f'line {block.line - 1}: "{block.language}" is not run; write "python"'
    if block.language == "python" and re.search(r"__name__\s*==", block.text):
        return f"line {block.line}: what stands below a __name__ test is not run"
    return None


def is_output(block: Block) -> bool:
    return block.language == "text" and block.above == (OUTPUT_MARKER,)


def misplaced_outputs(page: Page, lines: list[str]) -> list[str]:
    """Each output marker that does not stand between a python block and a text block."""
    marked = [n for n, line in enumerate(lines, 1) if line.strip() == OUTPUT_MARKER]
    pairs = zip(page.blocks, page.blocks[1:], strict=False)
    served = [after for before, after in pairs if before.language == "python" and is_output(after)]
    good = {max(n for n in marked if n < block.line) for block in served}
    return [
        f"line {n}: an output stands directly between a python block and a text block" for n in marked if n not in good
    ]
