"""`ailink stages`: the pipeline a request runs along, with the source file of each stage."""

import json

import typer

from ailink.cli import lazy
from ailink.cli.source import JsonOption


def stages(as_json: JsonOption = False) -> None:
    """Show the stages of a request, in order, with their source files."""
    rows = lazy.core.stages()
    if as_json:
        typer.echo(json.dumps([{"stage": name, "source": file} for name, file in rows], indent=2))
        return
    lazy.render.table(
        ("", "stage", "source"), [(str(n), name, file) for n, (name, file) in enumerate(rows, 1)]
    )
