"""`ailink models switch`: from one group of a model's deployments to another, and back."""

from typing import Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway

Model = Annotated[
    str | None, typer.Argument(help="The model; without it all are listed.", show_default=False)
]
Group = Annotated[str | None, typer.Argument(help="The group that is to serve.", show_default=False)]
Back = Annotated[bool, typer.Option("--back", help="To the group that served before.")]


def switch(
    gateway: Gateway,
    model: Model = None,
    group: Group = None,
    back: Back = False,
) -> None:
    """Let another group of a model's deployments serve, for all requests from now on."""
    if model is not None and (group is None) != back:
        raise source.fail("name the group that is to serve, or give --back")
    if model is None:
        found = gateway.call("GET", "/routing/groups")["data"]
    else:
        body = {"model": model, "group": group, "back": back}
        found = [gateway.call("POST", "/routing/switch", body=body)]
    if gateway.printed(found):
        return
    lazy.render.table(("model", "serves", "before", "groups"), [_row(entry) for entry in found])


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    counts = ", ".join(f"{name or 'always'} ({count})" for name, count in entry["groups"].items())
    return (entry["model"], entry["active"], entry["previous"] or "", counts)
