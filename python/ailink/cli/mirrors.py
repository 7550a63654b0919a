"""`ailink models mirrors`: how mirrors do beside the models whose requests they get."""

from typing import Annotated, Any

import typer

from ailink.cli import lazy
from ailink.cli.gateway import Gateway

Model = Annotated[str | None, typer.Argument(help="Only of this model.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Of the latest requests so many.")]


def mirrors(
    gateway: Gateway,
    model: Model = None,
    limit: Limit = 1_000,
) -> None:
    """Compare models with their mirrors: failures, latency, cost, length, agreement."""
    query = {"limit": str(limit)} | ({"model": model} if model else {})
    found = gateway.call("GET", "/routing/mirrors", query=query)
    if gateway.printed(found):
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
