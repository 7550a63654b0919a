"""`ailink keys …`: virtual keys of a running gateway."""

import json
import re
from typing import Annotated, Any, Final

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway, asking

_TOKEN: Final = re.compile(r"[0-9a-fA-F]{64}")

Name = Annotated[str, typer.Argument(help="The key, its token or its alias.", show_default=False)]
Names = Annotated[list[str], typer.Argument(help="Keys, tokens or aliases.", show_default=False)]


def build() -> typer.Typer:
    """The `keys` command group."""
    app = typer.Typer(help="Create, list and change virtual keys of a running gateway.", no_args_is_help=True)
    app.command()(asking(create))
    app.command("list")(asking(list_keys))
    app.command()(asking(info))
    app.command()(asking(explain))
    app.command()(asking(delete))
    app.command()(asking(block))
    app.command()(asking(unblock))
    app.command()(asking(regenerate))
    return app


def create(
    gateway: Gateway,
    alias: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model it may use, `*` as wildcard; may repeat.")
    ] = None,
    duration: Annotated[str | None, typer.Option(help="Lifetime: 30s, 12h, 30d, 2w, 1mo.")] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests per minute.")] = None,
    max_parallel: Annotated[int | None, typer.Option(min=1, help="Requests at the same time.")] = None,
    ip: Annotated[
        list[str] | None, typer.Option(help="Address or network it may come from; may repeat.")
    ] = None,
    route: Annotated[list[str] | None, typer.Option(help="Path it may call; may repeat.")] = None,
    user: Annotated[str | None, typer.Option(help="User it belongs to.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object kept with the key.")] = None,
) -> None:
    """Make a virtual key. It is shown this once."""
    settings: dict[str, Any] = {
        "key_alias": alias,
        "models": model,
        "duration": duration,
        "rpm_limit": rpm,
        "max_parallel_requests": max_parallel,
        "allowed_ips": ip,
        "allowed_routes": route,
        "user_id": user,
        "metadata": _metadata(metadata),
    }
    body = {name: value for name, value in settings.items() if value not in (None, [])}
    made = gateway.call("POST", "/key/generate", body=body)
    if gateway.printed(made):
        return
    typer.echo(made["key"])
    typer.echo("Keep it: it cannot be shown again.", err=True)


def list_keys(
    gateway: Gateway,
    page: Annotated[int, typer.Option(min=1)] = 1,
    size: Annotated[int, typer.Option(min=1, max=100)] = 50,
    alias: Annotated[str | None, typer.Option(help="Part of the alias.")] = None,
    status: Annotated[str | None, typer.Option(help="active, blocked, expired or deleted.")] = None,
) -> None:
    """List virtual keys, newest first."""
    query = {"page": str(page), "size": str(size), "return_full_object": "true"}
    query |= {"search": alias} if alias else {}
    query |= {"status": status} if status else {}
    found = gateway.call("GET", "/key/list", query=query)
    if gateway.printed(found):
        return
    columns = ("name", "alias", "status", "models", "spend $", "expires", "token")
    rows = [
        (
            str(row["key_name"]),
            row.get("key_alias") or "",
            str(row["status"]),
            ", ".join(row.get("models") or ()) or "all",
            str(row["spend"]),
            str(row.get("expires") or "never"),
            str(row["token"]),
        )
        for row in found["keys"]
    ]
    lazy.render.table(columns, rows)
    if found["total_pages"] > 1:
        typer.echo(f"page {found['current_page']} of {found['total_pages']}, {found['total_count']} keys")


def info(gateway: Gateway, name: Name) -> None:
    """Show a key's settings and spend."""
    found = gateway.call("GET", "/key/info", query={"key": _token(gateway, name)})
    if gateway.printed(found):
        return
    shown = {field: value for field, value in found["info"].items() if value not in (None, [], {})}
    lazy.render.table(("setting", "value"), [(field, _text(value)) for field, value in shown.items()])


def explain(gateway: Gateway, name: Name) -> None:
    """Show what holds for a key, and which level above it says so."""
    found = gateway.call("GET", "/key/explain", query={"key": _token(gateway, name)})
    if gateway.printed(found):
        return
    levels = [f"{level['kind']} {level['alias'] or level['id']}" for level in found["levels"]]
    typer.echo(" → ".join(levels))
    rows = [
        (
            setting["name"],
            _text(setting["effective"]),
            setting["from_level"] or "",
            "; ".join(f"{said['level']}: {_text(said['value'])}" for said in setting["said"]),
        )
        for setting in found["settings"]
        if setting["said"]
    ]
    lazy.render.table(("setting", "holds", "decided by", "said by"), rows)


def delete(gateway: Gateway, names: Names) -> None:
    """Delete keys; all of them or, if one is not found, none."""
    tokens = [_token(gateway, name) for name in names]
    found = gateway.call("POST", "/key/delete", body={"keys": tokens})
    if not gateway.printed(found):
        typer.echo(f"deleted: {len(found['deleted_keys'])}")


def block(gateway: Gateway, name: Name) -> None:
    """Block a key: it is refused until it is unblocked."""
    found = gateway.call("POST", "/key/block", body={"key": _token(gateway, name)})
    if not gateway.printed(found):
        typer.echo("blocked")


def unblock(gateway: Gateway, name: Name) -> None:
    """Unblock a key."""
    found = gateway.call("POST", "/key/unblock", body={"key": _token(gateway, name)})
    if not gateway.printed(found):
        typer.echo("unblocked")


def regenerate(gateway: Gateway, name: Name) -> None:
    """Give a key a new secret; the former one is refused from then on."""
    made = gateway.call("POST", "/key/regenerate", body={"key": _token(gateway, name)})
    if gateway.printed(made):
        return
    typer.echo(made["key"])
    typer.echo("Keep it: it cannot be shown again.", err=True)


def _token(gateway: Gateway, name: str) -> str:
    """What the API takes: a key or token as it is, an alias looked up."""
    if name.startswith("sk-") or _TOKEN.fullmatch(name):
        return name
    found = gateway.call("GET", "/key/list", query={"key_alias": name, "return_full_object": "true"})
    if not found["keys"]:
        raise source.fail(f"no key has the alias `{name}`")
    return str(found["keys"][0]["token"])


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter("expected a JSON object", param_hint="--metadata")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
