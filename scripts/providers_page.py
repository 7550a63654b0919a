#!/usr/bin/env python3
"""Render the table of providers in `docs/providers.md` from the catalogue.

Usage: .venv/bin/python scripts/providers_page.py [--check]
"""

import argparse
import sys
from pathlib import Path

from ailink.providers import ProviderRow, Registry

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/providers.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def rendered(page: str, registry: Registry) -> str:
    """The page with its table written anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    lines = [f"{len(registry)} providers.", "", "| provider | id | also named | key from | operations |"]
    lines += ["|---|---|---|---|---|", *(_line(row) for row in registry)]
    return head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail


def _line(row: ProviderRow) -> str:
    def code(names: tuple[str, ...]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    cells = (row.title, f"`{row.id}`", code(row.aliases), code(row.env), ", ".join(row.operations))
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 if the page is old")
    options = parser.parse_args()
    page = PAGE.read_text()
    new = rendered(page, Registry.builtin())
    if options.check:
        sys.exit(
            0 if new == page else f"{PAGE.relative_to(ROOT)} is not up to date: run scripts/providers_page.py"
        )
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
