"""Which configuration a command is about: `--config`, `AILINK_CONFIG`, `./ailink.yaml`, or the default."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ailink.cli import lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ailink.config.loader import Loaded, Overrides
    from ailink.config.problems import Problem

DEFAULT_FILE: Final = "ailink.yaml"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="AILINK_CONFIG",
        help=f"Configuration file; without it ./{DEFAULT_FILE}, or a built-in default with a mock model.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def chosen(config: Path | None) -> Path | None:
    """The file a command is about; None for the built-in default."""
    if config is not None:
        return config
    default = Path(DEFAULT_FILE)
    return default if default.exists() else None


def load(config: Path | None, overrides: "Overrides | None" = None) -> "Loaded":
    """The configuration. Raises ConfigError and CatalogError."""
    registry = lazy.registry.Registry.builtin()
    overrides = overrides or lazy.loader.NO_OVERRIDES
    file = chosen(config)
    if file is None:
        return lazy.loader.embedded(Path.cwd(), registry, dict(os.environ), overrides)
    return lazy.loader.load(file, registry, dict(os.environ), overrides)


def load_or_exit(config: Path | None) -> "Loaded":
    """The configuration, or its problems on standard error and exit code 1."""
    try:
        return load(config)
    except lazy.problems.ConfigError as error:
        report(error.problems)
    except lazy.registry.CatalogError as error:
        fail(str(error))
    raise typer.Exit(1)


def line(problem: "Problem") -> str:
    """A problem as a line for people."""
    error = problem.severity == "error"
    mark = typer.style("error" if error else "note ", fg="red" if error else "yellow", bold=True)
    return f"{mark} {problem}"


def report(problems: "Sequence[Problem]") -> None:
    """Problems on standard error, one per line, and how many there are."""
    for problem in problems:
        typer.echo(line(problem), err=True)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        typer.echo(f"{errors} problem{'s' if errors > 1 else ''}; nothing was started.", err=True)


def fail(message: str) -> typer.Exit:
    """Says what went wrong; raise what it returns."""
    typer.echo(f"{typer.style('error', fg='red', bold=True)} {message}", err=True)
    return typer.Exit(1)
