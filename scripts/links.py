#!/usr/bin/env python3
"""Fail on a link in a Markdown file, or a path named in code type, that leads to no file of the tree.

Usage: python3 scripts/links.py      (part of `make lint` and `make docs`)
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
# A path worth checking names one of our folders and ends in a file of a kind we keep.
NAMED = re.compile(
    r"`((?:rust|python|benches|tests|docs|scripts)/[\w./-]+\.(?:rs|py|pyi|md|toml|sh|json|lua))`"
)
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def pages() -> Iterator[Path]:
    """Every Markdown file that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    yield from (ROOT / name for name in sorted(set(names)) if (ROOT / name).is_file())


def dead(page: Path) -> Iterator[str]:
    """The targets on a page that do not exist."""
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
            yield target
    for target in NAMED.findall(text):
        if not (ROOT / target).exists():
            yield target


def main() -> int:
    """Print the dead links; 1 if there is any."""
    failures = [f"{page.relative_to(ROOT)}: {target}" for page in pages() for target in dead(page)]
    print("\n".join(failures) or "links: all lead somewhere", file=sys.stderr if failures else sys.stdout)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
