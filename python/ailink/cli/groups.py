"""`ailink models switch`: from one group of a model's deployments to another, and back."""

import json
from typing import Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.keys import AdminKey, Url
from ailink.cli.source import ConfigOption, JsonOption

Model = Annotated[
    str | None, typer.Argument(help="The model; without it all are listed.", show_default=False)
]
Group = Annotated[str | None, typer.Argument(help="The group that is to serve.", show_default=False)]
Back = Annotated[bool, typer.Option("--back", help="To the group that served before.")]


def switch(
    model: Model = None,
    group: Group = None,
    back: Back = False,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let another group of a model's deployments serve, for all requests from now on."""
    if model is not None and (group is None) != back:
        raise source.fail("name the group that is to serve, or give --back")
    try:
        target = lazy.client.target(url, key, config)
        if model is None:
            found = lazy.client.call(target, "GET", "/routing/groups")["data"]
        else:
            body = {"model": model, "group": group, "back": back}
            found = [lazy.client.call(target, "POST", "/routing/switch", body=body)]
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    lazy.render.table(("model", "serves", "before", "groups"), [_row(entry) for entry in found])


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    counts = ", ".join(f"{name or 'always'} ({count})" for name, count in entry["groups"].items())
    return (entry["model"], entry["active"], entry["previous"] or "", counts)
