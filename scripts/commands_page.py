#!/usr/bin/env python3
"""Render `docs/reference/commands.md` from the command line itself.

Usage: .venv/bin/python -m scripts.commands_page [--check]
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from scripts.page import publish

from ailink.cli.app import build

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/commands.md"
SHARED: Final = ("url", "key", "config", "as_json")
HEAD: Final = """\
# Every command

Rendered from the commands by `scripts/commands_page.py`; do not edit. `ailink COMMAND --help` says the same.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.

Commands that ask a running gateway (marked *asks*) take `--url` (`AILINK_URL`), `--key` (`AILINK_KEY`, the
admin key), `--config`/`-c` (`AILINK_CONFIG`) and `--json`. Without `--url` and `--key` both are found by the
configuration: `./ailink.yaml`, its listener, and the generated key in its data directory.
"""


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands with the names they are called by."""
    if not isinstance(command, typer.core.TyperGroup):
        yield name, command
        return
    for part, inner in command.commands.items():
        yield from commands(inner, f"{name} {part}")


def section(name: str, command: Any) -> str:
    """One command: what it does, how it is called, its options."""
    asks = {"url", "key", "config"} <= {parameter.name for parameter in command.params}
    own = (
        [
            parameter
            for parameter in command.params
            if not parameter.hidden and parameter.name != "help" and not (asks and parameter.name in SHARED)
        ]
        if not isinstance(command, typer.core.TyperGroup)
        else []
    )
    arguments = [parameter for parameter in own if parameter.param_type_name == "argument"]
    usage = " ".join([name, *(_argument(parameter) for parameter in arguments)])
    lines = [f"## {name}", "", _text(command.help) + (" *Asks.*" if asks else ""), "", f"`{usage}`"]
    rows = [f"| {_names(parameter)} | {_default(parameter)} | {_text(parameter.help)} |" for parameter in own]
    if rows:
        lines += ["", "| | default | what |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper() + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    value = parameter.default
    return "" if value is None or value is False or callable(value) or value == [] else f"`{value}`"


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def rendered() -> str:
    """The whole page."""
    found = commands(typer.main.get_command(build()), "ailink")
    return "\n".join([HEAD, *(section(name, command) for name, command in found)])


if __name__ == "__main__":
    publish(PAGE, rendered())
