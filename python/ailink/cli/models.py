"""`ailink models`: what a running gateway serves."""

import json
from datetime import UTC, date, datetime
from typing import Any

import typer

from ailink.cli import lazy, source
from ailink.cli.keys import AdminKey, Url
from ailink.cli.source import ConfigOption, JsonOption


def build() -> typer.Typer:
    """The `models` command group; without a subcommand it lists."""
    app = typer.Typer(help="Models of a running gateway.", invoke_without_command=True)
    app.callback()(models)
    app.command("list")(list_models)
    app.command("status")(status)
    return app


def models(
    context: typer.Context,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models and deployments a running gateway serves."""
    if context.invoked_subcommand is None:
        list_models(url, key, config, as_json)


def list_models(
    url: Url = None, key: AdminKey = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List the models and deployments a running gateway serves."""
    try:
        found = lazy.client.call(lazy.client.target(url, key, config), "GET", "/model/info")
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    columns = ("model", "served by", "weight", "$/1M in", "$/1M out", "price from", "ends", "deployment")
    lazy.render.table(columns, [_row(entry) for entry in found["data"]])


def status(
    url: Url = None, key: AdminKey = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Tell how each deployment is doing."""
    try:
        found = lazy.client.call(lazy.client.target(url, key, config), "GET", "/health/deployments")
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    columns = ("model", "deployment", "provider", "state", "cause", "again in", "in flight", "failures")
    lazy.render.table(columns, [_health(row) for row in found["data"]])


def _health(row: dict[str, Any]) -> tuple[str, ...]:
    again = row["retry_in_ms"]
    return (
        row["model"],
        row["deployment"],
        row["provider"],
        row["state"],
        row["cause"] or "",
        "" if again is None else f"{again / 1000:.1f} s",
        str(row["in_flight"]),
        f"{row['failures']} of {row['requests']}",
    )


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    info = entry["model_info"]
    return (
        entry["model_name"],
        entry["litellm_params"]["model"],
        str(info["weight"]),
        _per_million(info["input_cost_per_token"]),
        _per_million(info["output_cost_per_token"]),
        info["price_version"] or "",
        _end(info.get("deprecation_date")),
        info["id"],
    )


def _end(day: str | None) -> str:
    """The day a model ends, marked where it has passed or is near."""
    if day is None:
        return ""
    left = (date.fromisoformat(day) - datetime.now(UTC).date()).days
    return f"{day} (past)" if left < 0 else f"{day} (in {left} days)" if left <= 90 else day


def _per_million(per_token: float | None) -> str:
    return "" if per_token is None else f"{per_token * 1e6:.10g}"
