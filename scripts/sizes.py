#!/usr/bin/env python3
"""Fail where a file or a Python function has outgrown a reader, or bears a name that says nothing.

Usage: python3 scripts/sizes.py      (part of `make lint`)

Limits: 400 lines a file (Rust: up to its unit tests), 60 lines a Python function. Rust functions and all
parameter counts are judged by clippy and ruff. What must be larger stands in pyproject.toml under
`[tool.ailink.sizes]` as `"path" = "reason"` or `"path:function" = "reason"`; an exception that nothing needs
any more fails too.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 400
FUNCTION_LINES = 60
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "legacy", "stuff"}
SUFFIXES = {".py", ".pyi", ".rs", ".ts", ".tsx"}


def sources() -> Iterator[Path]:
    """Every source file that git knows or would add, tests left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in sorted(set(names)):
        path = ROOT / name
        if path.suffix in SUFFIXES and path.is_file() and "tests" not in (*Path(name).parts, path.stem):
            yield path


def long_functions(text: str) -> Iterator[tuple[str, int]]:
    """The name and length of each Python function above the limit."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield node.name, lines


def findings() -> Iterator[tuple[str, str]]:
    """What breaks a limit: the key an exception would have, and the complaint."""
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text()
        lines = text.partition("#[cfg(test)]")[0].count("\n") if path.suffix == ".rs" else text.count("\n")
        if lines > FILE_LINES:
            yield name, f"{lines} lines, the limit is {FILE_LINES}"
        if path.stem in EMPTY_NAMES or path.stem.endswith("_v2"):
            yield name, f"the name {path.stem!r} says nothing"
        if path.suffix == ".py":
            for function, length in long_functions(text):
                yield f"{name}:{function}", f"{length} lines, the limit is {FUNCTION_LINES}"


def main() -> int:
    """Print what breaks a limit without an exception; 1 if there is any."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    allowed: dict[str, str] = project["tool"].get("ailink", {}).get("sizes", {})
    found = dict(findings())
    failures = [f"{key}: {complaint}" for key, complaint in found.items() if key not in allowed]
    failures += [
        f"{key}: its exception in pyproject.toml is not needed" for key in allowed if key not in found
    ]
    print("\n".join(failures) or "sizes: all within limits", file=sys.stderr if failures else sys.stdout)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
