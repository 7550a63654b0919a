"""The command line, put together: one file per command, loaded only when it is the one that runs."""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Final

import typer

EXIT_INTERRUPTED: Final = 130
EXTENSION: Final = "ailink._core"


def _command(app: typer.Typer, module: ModuleType, name: str) -> None:
    app.command()(getattr(module, name))


def _asking(app: typer.Typer, module: ModuleType, name: str) -> None:
    """One that asks a running gateway."""
    app.command()(import_module("ailink.cli.gateway").asking(getattr(module, name)))


def _forwarded(app: typer.Typer, module: ModuleType, name: str) -> None:
    """One whose arguments another program reads."""
    app.command(context_settings=module.FORWARDED)(getattr(module, name))


def _group(app: typer.Typer, module: ModuleType, name: str) -> None:
    app.add_typer(module.build(), name=name)


COMMANDS: Final[dict[str, tuple[str, Callable[[typer.Typer, ModuleType, str], None]]]] = {
    "serve": ("serve", _command),
    "init": ("init", _command),
    "check": ("check", _command),
    "keys": ("keys", _group),
    "models": ("models", _group),
    "providers": ("providers", _group),
    "router": ("router", _group),
    "explain": ("explain", _asking),
    "guardrails": ("guardrails", _group),
    "policies": ("policies", _group),
    "approvals": ("approvals", _group),
    "audit": ("audit", _group),
    "cache": ("cache", _group),
    "stages": ("stages", _command),
    "mock": ("mock", _forwarded),
    "bench": ("mock", _forwarded),
    "migrate": ("migrate", _command),
    "rekey": ("rekey", _command),
    "import": ("imports", _group),
    "reconcile": ("reconcile", _asking),
    "doctor": ("doctor", _command),
    "version": ("version", _command),
}
"""Where each command lives, and how it becomes one."""


def build(only: str | None = None) -> typer.Typer:
    """The `ailink` command with all its commands, or just one: a server does not carry the others along."""
    app = typer.Typer(
        name="ailink",
        help="AILink, an AI gateway: one door to any model.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    if only is not None:
        # With a single command, typer would leave out its name.
        app.callback()(_nothing)
    for name, (module, add) in COMMANDS.items():
        if only in {None, name}:
            add(app, import_module(f"ailink.cli.{module}"), name)
    return app


def _nothing() -> None:
    pass


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in {"--version", "-V"}:
        first = sys.argv[1] = "version"
    try:
        build(first if first in COMMANDS else None)()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name != EXTENSION:
            raise
        sys.exit(f"ailink: the extension {EXTENSION} is not built; run `make setup`, or install a wheel")
