"""Tables for people. Commands print JSON themselves where `--json` is given."""

import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

WHOLE: Final = frozenset({"token", "deployment"})
"""Columns whose cells are never broken into lines."""

UNBOUNDED: Final = 100_000


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; cells are plain text, never markup."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # What is to be copied must stay in one piece.
        made.add_column(column, overflow="fold", no_wrap=column in WHOLE)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    # A pipe has no width: nothing is folded for it.
    width = None if sys.stdout.isatty() else UNBOUNDED
    Console(highlight=False, soft_wrap=False, width=width).print(made)
