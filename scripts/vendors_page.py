"""Renders the table of services in `docs/guardrails.md` from their rows. `--check` only compares."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/guardrails.md"
ROWS = ROOT / "python/ailink/guard/vendors"
MARKS = "<!-- vendors -->\n", "<!-- /vendors -->"


def table() -> str:
    """A line for each service."""
    lines = ["| check | also | looks at | parameters (needed ones first) |", "|---|---|---|---|"]
    for file in sorted(ROWS.glob("*.toml")):
        row = tomllib.loads(file.read_text())
        given = sorted(row["parameters"].items(), key=lambda item: not item[1].get("required"))
        names = ", ".join(f"`{name}`" + ("*" if told.get("required") else "") for name, told in given)
        also = ", ".join(f"`{alias}`" for alias in row.get("aliases", ()))
        sides = ", ".join(side for side in ("input", "output") if side in row)
        lines.append(f"| `{file.stem}`: [{row['title']}]({row['docs']}) | {also} | {sides} | {names} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the page; with `--check` says whether it would change."""
    page = PAGE.read_text()
    new = re.sub(f"{MARKS[0]}.*?{MARKS[1]}", lambda _: MARKS[0] + table() + MARKS[1], page, flags=re.DOTALL)
    if "--check" in sys.argv:
        return int(new != page)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
