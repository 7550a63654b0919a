"""`ailink models`: what a running gateway serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway, asking
from ailink.cli.groups import switch
from ailink.cli.mirrors import mirrors
from ailink.cli.source import JsonOption

if TYPE_CHECKING:
    from ailink.providers.discovery import Found

Days = Annotated[int, typer.Option("--days", help="Within so many days from now.", min=0, max=3650)]
Server = Annotated[
    str,
    typer.Argument(help="Base URL, as http://localhost:11434/v1.", show_default=False, metavar="BASE_URL"),
]
Provider = Annotated[str, typer.Option("--provider", help="The provider's row: vllm, ollama, …")]
ServerKey = Annotated[str | None, typer.Option("--api-key", help="The server's own key.", show_default=False)]

HEALTH = ("model", "deployment", "provider", "state", "cause", "again in", "in flight", "failures", "check")


def build() -> typer.Typer:
    """The `models` command group; without a subcommand it lists."""
    app = typer.Typer(help="Models of a running gateway.", invoke_without_command=True)
    app.callback()(asking(models))
    app.command("list")(asking(list_models))
    app.command("status")(asking(status))
    app.command("ending")(asking(ending))
    app.command("mirrors")(asking(mirrors))
    app.command("switch")(asking(switch))
    app.command("discover")(discover)
    return app


def models(gateway: Gateway, context: typer.Context) -> None:
    """List the models and deployments a running gateway serves."""
    if context.invoked_subcommand is None:
        list_models(gateway)


def list_models(gateway: Gateway) -> None:
    """List the models and deployments a running gateway serves."""
    found = gateway.call("GET", "/model/info")
    if gateway.printed(found):
        return
    columns = ("model", "served by", "weight", "$/1M in", "$/1M out", "price from", "ends", "deployment")
    lazy.render.table(columns, [_row(entry) for entry in found["data"]])


def status(gateway: Gateway) -> None:
    """Tell how each deployment is doing."""
    found = gateway.call("GET", "/health/deployments")
    if gateway.printed(found):
        return
    lazy.render.table(HEALTH, [_health(row) for row in found["data"]])


def ending(gateway: Gateway, days: Days = 90) -> None:
    """List models whose provider ends them, and who still uses them."""
    found = gateway.call("GET", "/global/models/ending", query={"days": str(days)})
    if gateway.printed(found):
        return
    columns = ("model", "ends", "replaced by", "key", "team", "user", "requests in 30 days")
    lazy.render.table(columns, [line for entry in found["data"] for line in _ending(entry)])


def _ending(entry: dict[str, Any]) -> list[tuple[str, ...]]:
    head = (entry["model"], _end(entry["ends"]), ", ".join(entry["fallbacks"]))
    users = entry["used_by"] or [{"key_id": "nobody", "team_id": None, "user_id": None, "requests": 0}]
    names = ("key_id", "team_id", "user_id")
    return [(*head, *(user[name] or "" for name in names), str(user["requests"])) for user in users]


def discover(
    server: Server,
    provider: Provider = "openai_compatible",
    key: ServerKey = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a server what it serves; prints models for the configuration."""
    try:
        found = lazy.discovery.ask(server, {"Authorization": f"Bearer {key}"} if key else {})
    except lazy.discovery.DiscoveryError as error:
        raise source.fail(str(error)) from None
    row = lazy.registry.Registry.builtin().get(provider)
    if row is None:
        raise source.fail(f"there is no provider `{provider}` in the catalogue")
    base = None if server.rstrip("/") == row.base_url else server.rstrip("/")
    models = _section(row.id, base, found)
    # JSON is YAML: one line per model.
    typer.echo(
        json.dumps({"models": models}, indent=2, ensure_ascii=False)
        if as_json
        else "\n".join(["models:", *(f"  - {json.dumps(model, ensure_ascii=False)}" for model in models)])
    )


def _section(provider: str, base_url: str | None, models: Sequence[Found]) -> list[dict[str, Any]]:
    """The models as the configuration's `models:` has them."""
    return [
        {
            "name": model.name,
            **({"mode": "embedding"} if model.embeds else {}),
            "deployments": [
                {"provider": provider, **({"base_url": base_url} if base_url else {}), "model": model.name}
            ],
        }
        for model in models
    ]


def _health(row: dict[str, Any]) -> tuple[str, ...]:
    again = row["retry_in_ms"]
    return (
        row["model"],
        row["deployment"],
        row["provider"],
        row["state"],
        row["cause"] or _keys(row.get("keys", [])),
        "" if again is None else f"{again / 1000:.1f} s",
        str(row["in_flight"]),
        f"{row['failures']} of {row['requests']}",
        _check(row.get("check")),
    )


def _check(check: dict[str, Any] | None) -> str:
    if check is None or check["ago_ms"] is None:
        return ""
    told = f"{check['state']} {check['ago_ms'] / 1000:.0f} s ago"
    return told if check["fault"] is None else f"{told}: {check['fault']}"


def _keys(keys: list[dict[str, Any]]) -> str:
    resting = [str(key["key"]) for key in keys if key["state"] == "resting"]
    return f"keys at rest: {', '.join(resting)} of {len(keys)}" if resting else ""


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
