"""`ailink mock` and `ailink bench`: the mock provider and the load generator, which are Rust and part of the
extension. Their arguments are their own; `--help` after the command shows them."""

import signal
from typing import Annotated, Any, Final

import typer

from ailink.cli import lazy

FORWARDED: Final[dict[str, Any]] = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
}
_TOOLS: Final = frozenset({"provider", "load", "proxy", "static"})

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[ARGS]...", help="Passed on as they are.")]


def mock(arguments: Arguments = None) -> None:
    """Run the mock provider (or its tools: proxy, static)."""
    _run(arguments or [], "provider")


def bench(arguments: Arguments = None) -> None:
    """Run the open-loop load generator."""
    _run(arguments or [], "load")


def _run(arguments: list[str], tool: str) -> None:
    named = arguments if arguments and arguments[0] in _TOOLS else [tool, *arguments]
    # Python's own handler would only note Ctrl-C and wait for Rust to return.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise typer.Exit(lazy.core.mock_main(named))
