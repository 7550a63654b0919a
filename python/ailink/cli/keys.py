"""`ailink keys …`: virtual keys of a running gateway."""

import json
import re
from typing import Annotated, Any, Final

import typer

from ailink.cli import lazy, source
from ailink.cli.source import ConfigOption, JsonOption

_TOKEN: Final = re.compile(r"[0-9a-fA-F]{64}")

Url = Annotated[
    str | None,
    typer.Option(
        envvar="AILINK_URL",
        help="Address of the gateway; without it from the configuration.",
        show_default=False,
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="AILINK_KEY",
        help="Admin key; without it from the configuration or the data directory.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(help="The key, its token or its alias.", show_default=False)]
Names = Annotated[list[str], typer.Argument(help="Keys, tokens or aliases.", show_default=False)]


def build() -> typer.Typer:
    """The `keys` command group."""
    app = typer.Typer(help="Create, list and change virtual keys of a running gateway.", no_args_is_help=True)
    app.command()(create)
    app.command("list")(list_keys)
    app.command()(info)
    app.command()(explain)
    app.command()(delete)
    app.command()(block)
    app.command()(unblock)
    app.command()(regenerate)
    return app


def create(
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
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
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
    made = _call(url, key, config, "POST", "/key/generate", body=body)
    if as_json:
        _print(made)
        return
    typer.echo(made["key"])
    typer.echo("Keep it: it cannot be shown again.", err=True)


def list_keys(
    page: Annotated[int, typer.Option(min=1)] = 1,
    size: Annotated[int, typer.Option(min=1, max=100)] = 50,
    alias: Annotated[str | None, typer.Option(help="Part of the alias.")] = None,
    status: Annotated[str | None, typer.Option(help="active, blocked, expired or deleted.")] = None,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List virtual keys, newest first."""
    query = {"page": str(page), "size": str(size), "return_full_object": "true"}
    query |= {"search": alias} if alias else {}
    query |= {"status": status} if status else {}
    found = _call(url, key, config, "GET", "/key/list", query=query)
    if as_json:
        _print(found)
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


def info(
    name: Name,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a key's settings and spend."""
    found = _call(url, key, config, "GET", "/key/info", query={"key": _token(name, url, key, config)})
    if as_json:
        _print(found)
        return
    shown = {field: value for field, value in found["info"].items() if value not in (None, [], {})}
    lazy.render.table(("setting", "value"), [(field, _text(value)) for field, value in shown.items()])


def explain(
    name: Name,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what holds for a key, and which level above it says so."""
    found = _call(url, key, config, "GET", "/key/explain", query={"key": _token(name, url, key, config)})
    if as_json:
        _print(found)
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


def delete(names: Names, url: Url = None, key: AdminKey = None, config: ConfigOption = None) -> None:
    """Delete keys; all of them or, if one is not found, none."""
    tokens = [_token(name, url, key, config) for name in names]
    found = _call(url, key, config, "POST", "/key/delete", body={"keys": tokens})
    typer.echo(f"deleted: {len(found['deleted_keys'])}")


def block(name: Name, url: Url = None, key: AdminKey = None, config: ConfigOption = None) -> None:
    """Block a key: it is refused until it is unblocked."""
    _call(url, key, config, "POST", "/key/block", body={"key": _token(name, url, key, config)})
    typer.echo("blocked")


def unblock(name: Name, url: Url = None, key: AdminKey = None, config: ConfigOption = None) -> None:
    """Unblock a key."""
    _call(url, key, config, "POST", "/key/unblock", body={"key": _token(name, url, key, config)})
    typer.echo("unblocked")


def regenerate(
    name: Name,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a key a new secret; the former one is refused from then on."""
    made = _call(url, key, config, "POST", "/key/regenerate", body={"key": _token(name, url, key, config)})
    if as_json:
        _print(made)
        return
    typer.echo(made["key"])
    typer.echo("Keep it: it cannot be shown again.", err=True)


def _call(url: Url, key: AdminKey, config: ConfigOption, method: str, path: str, **request: Any) -> Any:
    try:
        return lazy.client.call(lazy.client.target(url, key, config), method, path, **request)
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None


def _token(name: str, url: Url, key: AdminKey, config: ConfigOption) -> str:
    """What the API takes: a key or token as it is, an alias looked up."""
    if name.startswith("sk-") or _TOKEN.fullmatch(name):
        return name
    found = _call(
        url, key, config, "GET", "/key/list", query={"key_alias": name, "return_full_object": "true"}
    )
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


def _print(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
