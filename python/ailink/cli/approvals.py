"""`ailink approvals`: what waits for people, and a word about it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.keys import AdminKey, Url
from ailink.cli.source import ConfigOption, JsonOption

_Id = Annotated[str, typer.Argument(help="The id of an approval.")]
_Comment = Annotated[str | None, typer.Option("--comment", "-m", help="What the requester is told.")]


def build() -> typer.Typer:
    """The `approvals` command group."""
    app = typer.Typer(help="Requests that wait for people.", no_args_is_help=True)
    app.command("list")(list_approvals)
    app.command("show")(show)
    app.command("approve")(approve)
    app.command("reject")(reject)
    app.command("edit")(edit)
    return app


def list_approvals(
    status: Annotated[str | None, typer.Option(help="pending, approved, executed, …; default: all.")] = None,
    policy: Annotated[str | None, typer.Option(help="Of this policy.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List approvals, newest first."""
    query = {"limit": str(limit)} | ({"status": status} if status else {})
    query |= {"policy": policy} if policy else {}
    found = _call(url, key, config, "GET", "", query=query)
    if as_json:
        _print(found)
        return
    columns = ("id", "status", "policy", "phase", "model", "key", "quorum", "message")
    names = ("id", "status", "policy", "phase", "model", "key_id", "quorum", "message")
    rows = [tuple(str(row[name] or "") for name in names) for row in found["approvals"]]
    lazy.render.table(columns, rows)


def show(approval: _Id, url: Url = None, key: AdminKey = None, config: ConfigOption = None) -> None:
    """Show one with what is asked, what edits changed, and who said what."""
    _print(_call(url, key, config, "GET", f"/{approval}"))


def approve(
    approval: _Id,
    comment: _Comment = None,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a request."""
    _say(_call(url, key, config, "POST", f"/{approval}/decision", body=_body("approve", comment)), as_json)


def reject(
    approval: _Id,
    comment: _Comment = None,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject a request."""
    _say(_call(url, key, config, "POST", f"/{approval}/decision", body=_body("reject", comment)), as_json)


def edit(
    approval: _Id,
    patch: Annotated[str, typer.Option("--patch", "-p", help="A JSON patch (RFC 6902), or @FILE.")],
    comment: _Comment = None,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what is asked, and approve what it is then."""
    body = _body("edit", comment) | {"patch": _patch(patch)}
    _say(_call(url, key, config, "POST", f"/{approval}/decision", body=body), as_json)


def _patch(text: str) -> Any:
    try:
        found = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        patch = json.loads(found)
    except OSError as error:
        raise source.fail(f"cannot read {text[1:]}: {error.strerror}") from None
    except ValueError as error:
        raise source.fail(f"the patch is not valid JSON: {error}") from None
    return patch if isinstance(patch, list) else [patch]


def _body(decision: str, comment: str | None) -> dict[str, Any]:
    return {"decision": decision} | ({} if comment is None else {"comment": comment})


def _say(found: Any, as_json: bool) -> None:
    if as_json:
        _print(found)
        return
    waits = f" ({found['approvals']} of {found['quorum']})" if found["status"] == "pending" else ""
    typer.echo(f"{found['id']}: {found['status']}{waits}")


def _call(url: str | None, key: str | None, config: Path | None, method: str, path: str, **more: Any) -> Any:
    try:
        return lazy.client.call(lazy.client.target(url, key, config), method, f"/v1/approvals{path}", **more)
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None


def _print(found: Any) -> None:
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
