"""`ailink explain REQUEST_ID`: why a request went where it went."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from ailink.cli import lazy
from ailink.cli.gateway import Gateway

SPEND = (
    "attempt",
    "kind",
    "deployment",
    "chosen",
    "outcome",
    "status",
    "time",
    "tokens in",
    "out",
    "USD",
    "figures",
)


def explain(
    gateway: Gateway, request_id: Annotated[str, typer.Argument(help="What `x-ailink-request-id` said.")]
) -> None:
    """Tell why a request went where it went, what guardrails and policies said of it, and what it cost."""
    found = gateway.call("GET", f"/routing/explain/{quote(request_id, safe='')}")
    if gateway.printed(found):
        return
    for choice in found["choices"]:
        typer.echo(f"model {choice['model']}, strategy {choice['strategy']}")
        columns = ("deployment", "provider", "weight", "score", "state", "left out for")
        lazy.render.table(columns, [_row(row) for row in (*choice["candidates"], *choice["dropped"])])
    if found["verdicts"]:
        typer.echo("guardrails and policies")
        shown = [
            (row["kind"], row["name"], row["label"], row["action"], row["side"], "shadow" * row["shadow"])
            for row in found["verdicts"]
        ]
        lazy.render.table(("kind", "name", "found", "action", "side", ""), shown)
    if found["attempts"]:
        typer.echo("attempts")
        rows = [
            (row["deployment"], row["result"], str(row.get("status", "")), f"{row['ms']} ms")
            for row in found["attempts"]
        ]
        lazy.render.table(("deployment", "result", "status", "time"), rows)
    if found["spend"]:
        typer.echo("ledger")
        lazy.render.table(SPEND, [_paid(row) for row in found["spend"]])
    if found["refused"]:
        typer.echo(found["refused"])
    if not found["kept"]:
        typer.echo(
            "More of why it went there is not kept; `routing: {explain: {keep: 1000}}` keeps the latest."
        )


def _paid(row: dict[str, Any]) -> tuple[str, ...]:
    named = [row[part] for part in ("custom_llm_provider", "model") if row[part]]
    place = "/".join(named) or row["model_id"] or ""
    tokens = (str(row["prompt_tokens"]), str(row["completion_tokens"]))
    figures = (f"{row['spend']:.9f}", row["source"])
    took = (str(row["status_code"]), f"{row['request_duration_ms']} ms")
    return (
        str(row["attempt_no"]),
        row["kind"],
        place,
        _chosen(row),
        row["outcome"],
        *took,
        *tokens,
        *figures,
    )


def _chosen(row: dict[str, Any]) -> str:
    """By what, and of how many."""
    if row["routing_strategy"] is None:
        return "the only one" if row["routing_candidates"] == 1 else ""
    return f"{row['routing_strategy']} of {row['routing_candidates']}"


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("deployment", "provider", "weight", "score", "state", "reason")
    return tuple(str(row.get(name, "")) for name in names)
