"""What all scripts that render a page have in common: write it, or with `--check` compare."""

import sys
from pathlib import Path


def publish(page: Path, text: str) -> None:
    """Writes the page; with `--check` ends with 1 if it would change."""
    if sys.argv[1:] == ["--check"]:
        sys.exit(
            0
            if page.exists() and page.read_text() == text
            else f"{page.name} is not up to date: run {sys.argv[0]}"
        )
    page.write_text(text)
