"""`ailink approvals`: what waits for people, and a word about it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway, asking, show_answer

_Id = Annotated[str, typer.Argument(help="The id of an approval.")]
_Comment = Annotated[str | None, typer.Option("--comment", "-m", help="What the requester is told.")]


def build() -> typer.Typer:
    """The `approvals` command group."""
    app = typer.Typer(help="Requests that wait for people.", no_args_is_help=True)
    app.command("list")(asking(list_approvals))
    app.command("show")(asking(show))
    app.command("approve")(asking(approve))
    app.command("reject")(asking(reject))
    app.command("edit")(asking(edit))
    return app


def list_approvals(
    gateway: Gateway,
    status: Annotated[str | None, typer.Option(help="pending, approved, executed, …; default: all.")] = None,
    policy: Annotated[str | None, typer.Option(help="Of this policy.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """List approvals, newest first."""
    query = {"limit": str(limit)} | ({"status": status} if status else {})
    query |= {"policy": policy} if policy else {}
    found = _call(gateway, "GET", "", query=query)
    if gateway.printed(found):
        return
    columns = ("id", "status", "policy", "phase", "model", "key", "quorum", "message")
    names = ("id", "status", "policy", "phase", "model", "key_id", "quorum", "message")
    rows = [tuple(str(row[name] or "") for name in names) for row in found["approvals"]]
    lazy.render.table(columns, rows)


def show(gateway: Gateway, approval: _Id) -> None:
    """Show one with what is asked, what edits changed, and who said what."""
    show_answer(_call(gateway, "GET", f"/{approval}"))


def approve(
    gateway: Gateway,
    approval: _Id,
    comment: _Comment = None,
) -> None:
    """Approve a request."""
    _say(gateway, _call(gateway, "POST", f"/{approval}/decision", body=_body("approve", comment)))


def reject(
    gateway: Gateway,
    approval: _Id,
    comment: _Comment = None,
) -> None:
    """Reject a request."""
    _say(gateway, _call(gateway, "POST", f"/{approval}/decision", body=_body("reject", comment)))


def edit(
    gateway: Gateway,
    approval: _Id,
    patch: Annotated[str, typer.Option("--patch", "-p", help="A JSON patch (RFC 6902), or @FILE.")],
    comment: _Comment = None,
) -> None:
    """Change what is asked, and approve what it is then."""
    body = _body("edit", comment) | {"patch": _patch(patch)}
    _say(gateway, _call(gateway, "POST", f"/{approval}/decision", body=body))


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


def _say(gateway: Gateway, found: Any) -> None:
    if gateway.printed(found):
        return
    waits = f" ({found['approvals']} of {found['quorum']})" if found["status"] == "pending" else ""
    typer.echo(f"{found['id']}: {found['status']}{waits}")


def _call(gateway: Gateway, method: str, path: str, **more: Any) -> Any:
    return gateway.call(method, f"/v1/approvals{path}", **more)
