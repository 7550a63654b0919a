"""`ailink check`: says whether a configuration would be taken, and if not why."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ailink.cli import lazy, source
from ailink.cli.source import JsonOption

File = Annotated[
    Path | None,
    typer.Argument(
        envvar="AILINK_CONFIG", help=f"File to check; ./{source.DEFAULT_FILE} without it.", show_default=False
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Fail on notes too, such as keys that have no effect.")
]


def check(file: File = None, strict: Strict = False, as_json: JsonOption = False) -> None:
    """Check a configuration file. Exit code 1 if it would be refused."""
    chosen = source.chosen(file)
    if chosen is None:
        raise source.fail(
            f"there is no ./{source.DEFAULT_FILE}: name a file, or write one with `ailink init`"
        )
    kind, summary = "unknown", ""
    try:
        loaded = source.load(chosen)
        problems, kind = loaded.notes, loaded.source
        models = loaded.config.models
        deployments = sum(len(model.deployments) for model in models)
        summary = f"{len(models)} models, {deployments} deployments, {len(loaded.files)} files"
        refused = strict and bool(problems)
    except lazy.problems.ConfigError as error:
        problems, refused = error.problems, True
    except lazy.registry.CatalogError as error:
        raise source.fail(str(error)) from None
    if as_json:
        shown = [
            {
                "file": problem.place.file,
                "line": problem.place.line,
                "column": problem.place.column,
                "path": problem.path,
                "message": problem.message,
                "severity": problem.severity,
            }
            for problem in problems
        ]
        typer.echo(
            json.dumps({"ok": not refused, "format": kind, "problems": shown}, indent=2, ensure_ascii=False)
        )
    else:
        for problem in problems:
            typer.echo(source.line(problem))
        if not refused:
            typer.echo(f"{typer.style('ok', fg='green', bold=True)} {chosen}: {summary} ({kind} format)")
    raise typer.Exit(1 if refused else 0)
