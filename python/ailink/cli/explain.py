"""`ailink explain REQUEST_ID`: why a request went where it went."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ailink.cli import lazy, source
from ailink.cli.keys import AdminKey, Url
from ailink.cli.source import ConfigOption, JsonOption


def explain(
    request_id: Annotated[str, typer.Argument(help="What `x-ailink-request-id` said.")],
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell why a request went where it went, while its decision is kept."""
    try:
        target = lazy.client.target(url, key, config)
        found = lazy.client.call(target, "GET", f"/routing/explain/{quote(request_id, safe='')}")
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for choice in found["choices"]:
        typer.echo(f"model {choice['model']}, strategy {choice['strategy']}")
        columns = ("deployment", "provider", "weight", "score", "state", "left out for")
        lazy.render.table(columns, [_row(row) for row in (*choice["candidates"], *choice["dropped"])])
    typer.echo("attempts")
    rows = [
        (row["deployment"], row["result"], str(row.get("status", "")), f"{row['ms']} ms")
        for row in found["attempts"]
    ]
    lazy.render.table(("deployment", "result", "status", "time"), rows)
    if found["refused"]:
        typer.echo(found["refused"])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("deployment", "provider", "weight", "score", "state", "reason")
    return tuple(str(row.get(name, "")) for name in names)
