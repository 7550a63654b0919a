"""`ailink models mirrors`: how mirrors do beside the models whose requests they get."""

import json
from typing import Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.keys import AdminKey, Url
from ailink.cli.source import ConfigOption, JsonOption

Model = Annotated[str | None, typer.Argument(help="Only of this model.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Of the latest requests so many.")]


def mirrors(
    model: Model = None,
    limit: Limit = 1_000,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare models with their mirrors: failures, latency, cost, length, agreement."""
    query = {"limit": str(limit)} | ({"model": model} if model else {})
    try:
        target = lazy.client.target(url, key, config)
        found = lazy.client.call(target, "GET", "/routing/mirrors", query=query)
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    columns = (
        "model",
        "requests",
        "failed",
        "ms",
        "p95 ms",
        "first byte ms",
        "$/1000",
        "tokens",
        "agreement",
    )
    lazy.render.table(columns, [row for pair in found["data"] for row in _rows(pair)])


def _rows(pair: dict[str, Any]) -> list[tuple[str, ...]]:
    agreement = pair["agreement"]
    said = "" if agreement is None else f"{agreement:.2f} ({pair['equal']} of {pair['compared']} equal)"
    return [_row(pair["own"], str(pair["pairs"]), ""), _row(pair["mirror"], "", said)]


def _row(side: dict[str, Any], pairs: str, agreement: str) -> tuple[str, ...]:
    def number(name: str, scale: float = 1.0, form: str = ".1f") -> str:
        return "" if side[name] is None else format(side[name] * scale, form)

    return (
        side["model"],
        pairs,
        str(side["failed"]),
        number("latency_ms"),
        number("latency_p95_ms"),
        number("first_byte_ms"),
        number("cost", 1_000, ".4f"),
        number("output_tokens"),
        agreement,
    )
