"""The census as one plain loop, which prints JSON: what the example has to agree with.

Nothing here comes from the example or from the library under test. Run as a process of its own, so
that it costs a test no time while the example works beside it.
"""

import ast
import json
import sys
import warnings
from collections import Counter
from pathlib import Path

SKIPPED = {"__pycache__", "site-packages", "dist-packages"}


def main() -> None:
    root = Path(sys.argv[1])
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else None
    warnings.simplefilter("ignore")
    counts, imported_by, functions, failed = Counter(), Counter(), [], []
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    names = [name for name in names if not SKIPPED & set(name.split("/")[:-1])][:limit]
    for name in names:
        source = (root / name).read_bytes()
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            failed.append(name)
            continue
        modules = set()
        counts["files"] += 1
        counts["lines"] += len(source.splitlines())
        for node in nodes:
            count_node(node, counts, modules)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                functions.append((node.end_lineno - node.lineno + 1, name, node.lineno))
        imported_by.update(modules)
    functions.sort(key=lambda function: (-function[0], *function[1:]))
    found = {"file_count": len(names), "counts": counts, "imported_by": imported_by}
    json.dump({**found, "longest": functions[:100], "failed": failed}, sys.stdout)


def count_node(node: ast.AST, counts: "Counter[str]", modules: set[str]) -> None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        counts["functions"] += 1
    elif isinstance(node, ast.ClassDef):
        counts["classes"] += 1
    elif isinstance(node, ast.Import):
        counts["imports"] += 1
        modules.update(alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        counts["imports"] += 1
        if node.level == 0:
            modules.add(node.module.split(".")[0])
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        counts["definitions"] += 1
        counts["docstrings"] += ast.get_docstring(node) is not None


if __name__ == "__main__":
    main()
