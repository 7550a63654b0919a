"""`ailink policies`: what holds, what would hold, and the way from shadow to force and back."""

import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway, asking, show_answer
from ailink.cli.source import ConfigOption

if TYPE_CHECKING:
    from ailink.config.policy_files import PolicyText
    from ailink.config.schema import Config

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_Name = Annotated[str, typer.Argument(help="The name of a policy.")]
_File = Annotated[str, typer.Argument(help="A file, or - for standard input.")]
_Draft = Annotated[
    str | None,
    typer.Option("--draft", "-d", help="A file with a policy that is tried in place of the one of its name."),
]
_Only = Annotated[list[str] | None, typer.Option("--policy", "-p", help="Only this one; may be repeated.")]


def build() -> typer.Typer:
    """The `policies` command group."""
    app = typer.Typer(help="Policies of a running gateway.", no_args_is_help=True)
    app.command("list")(asking(list_policies))
    app.command("show")(asking(show))
    app.command("check")(check)
    app.command("put")(asking(put))
    app.command("simulate")(asking(simulate))
    app.command("replay")(asking(replay))
    app.command("report")(asking(report))
    app.command("promote")(asking(promote))
    app.command("rollback")(asking(rollback))
    app.command("delete")(asking(delete))
    return app


def list_policies(gateway: Gateway) -> None:
    """List policies and what they are attached to."""
    found = _call(gateway, "GET", "")
    if gateway.printed(found):
        return
    names = ("name", "source", "version", "phase", "mode", "priority", "actions", "attached")
    rows = [
        tuple(", ".join(row[name]) if isinstance(row[name], list) else str(row[name]) for name in names)
        for row in found["policies"]
    ]
    lazy.render.table(names, rows)


def show(
    gateway: Gateway,
    name: _Name,
    versions: Annotated[bool, typer.Option("--versions", help="All versions, newest first.")] = False,
) -> None:
    """Show a policy that was made through the API, or all its versions."""
    if not versions:
        show_answer(_call(gateway, "GET", f"/{name}"))
        return
    found = _call(gateway, "GET", f"/{name}/versions")
    if gateway.printed(found):
        return
    rows = [
        (str(row["version"]), _clock(row["at_us"]), row["by"], _mode(row["policy"]))
        for row in found["versions"]
    ]
    lazy.render.table(("version", "at", "by", "mode"), rows)


def check(file: _File, config: ConfigOption = None) -> None:
    """Check a file of policies against a configuration; no gateway is asked. Exit code 1 if it is wrong."""
    found = _policies(file, source.load_or_exit(config).config)
    for one in found:
        mode = " (shadow)" if one.rule.mode == "shadow" else ""
        typer.echo(f"{one.rule.name}: can be used in the phase {one.rule.phase}{mode}")


def put(
    gateway: Gateway,
    file: _File,
    shadow: Annotated[bool, typer.Option("--shadow", help="Without effect at first.")] = False,
) -> None:
    """Make the policies of a file, or their next versions."""
    for one in _policies(file, None):
        body = {name: value for name, value in one.body.items() if name != "name"}
        body |= {"mode": "shadow"} if shadow else {}
        _changed(gateway, _call(gateway, "PUT", f"/{one.rule.name}", body={"policy": body}))


def simulate(
    gateway: Gateway,
    file: Annotated[str, typer.Argument(help="A file with a request, or - for standard input.")] = "-",
    policy: _Only = None,
    draft: _Draft = None,
    path: Annotated[str, typer.Option(help="Where it is sent.")] = "/v1/chat/completions",
    key_id: Annotated[str | None, typer.Option(help="Of which key it is.")] = None,
    team: Annotated[str | None, typer.Option(help="Of which team it is.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    at: Annotated[str | None, typer.Option(help="When: 2026-12-25T10:00+01:00; default: now.")] = None,
) -> None:
    """What would become of a request; nobody is called. Exit code 1 when it would be refused.

    The file has the body of a request, or {"body": …, "headers": …, "response": …} and whatever else
    POST /policies/simulate takes under `request`.
    """
    request = _request(file)
    request = request if "body" in request else {"body": request}
    given = {"path": path, "key_id": key_id, "team": team, "tags": tag, "time_us": _moment(at)}
    request = {name: value for name, value in given.items() if value is not None} | request
    body = {"request": request, "policies": policy, "draft": _draft(draft)}
    found = _call(gateway, "POST", "/simulate", body=body)
    if not gateway.printed(found):
        _told([found])
        if found["body"] is not None:
            typer.echo(f"sent as: {found['body']}")
    if found["outcome"] == "deny":
        raise typer.Exit(1)


def replay(
    gateway: Gateway,
    since: Annotated[str, typer.Option(help="From when on: 90m, 24h, 7d, or a moment.")] = "24h",
    until: Annotated[str | None, typer.Option(help="Till when: the same; default: now.")] = None,
    policy: _Only = None,
    draft: _Draft = None,
) -> None:
    """What policies would have done with the requests that `recording.keep` kept."""
    body: dict[str, Any] = {"since": _since(since), "policies": policy, "draft": _draft(draft)}
    body |= {"until": _since(until)} if until else {}
    found = _call(gateway, "POST", "/replay", body=body)
    if gateway.printed(found):
        return
    _told(found["requests"])
    typer.echo(f"{found['replayed']} replayed, {found['matched']} matched, {found['denied']} refused")


def report(
    gateway: Gateway,
    policy: Annotated[str | None, typer.Option("--policy", "-p", help="Only this one.")] = None,
) -> None:
    """What policies did since the gateway started, and would have done in shadow, by key."""
    query = {"limit": "20"} | ({"policy": policy} if policy else {})
    found = _call(gateway, "GET", "/report", query=query)
    if gateway.printed(found):
        return
    rows: list[tuple[str, ...]] = []
    for row in found["policies"]:
        rows.append((row["name"], "", str(row["enforced"]), str(row["shadow"])))
        keys = sorted(row["shadow_by_key"].items(), key=lambda pair: -pair[1])
        rows += [("", name or "(none)", "", str(count)) for name, count in keys]
    lazy.render.table(("policy", "key", "acted", "would have"), rows)


def promote(gateway: Gateway, name: _Name) -> None:
    """From shadow to force, as the next version."""
    _changed(gateway, _call(gateway, "POST", f"/{name}/promote"))


def rollback(
    gateway: Gateway,
    name: _Name,
    version: Annotated[int, typer.Argument(help="The version that is to be the newest again.")],
) -> None:
    """Make a former version the newest."""
    _changed(gateway, _call(gateway, "POST", f"/{name}/rollback", body={"version": version}))


def delete(gateway: Gateway, name: _Name) -> None:
    """Delete a policy; its versions stay, and `rollback` brings one back."""
    _changed(gateway, _call(gateway, "DELETE", f"/{name}"))


def _changed(gateway: Gateway, found: Any) -> None:
    if gateway.printed(found):
        return
    typer.echo(f"{found['name']}: version {found['version']}, {_mode(found['policy'])}")


def _mode(policy: dict[str, Any] | None) -> str:
    return "deleted" if policy is None else str(policy.get("mode", "enforce"))


def _clock(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).astimezone().isoformat(" ", "seconds")


def _told(outcomes: list[dict[str, Any]]) -> None:
    rows = [
        (row["request_id"], row["model"], row["key"] or "", row["outcome"], str(row["status"] or ""),
         row["by"] or "", ", ".join(_held(held) for held in row["matched"]))
        for row in outcomes
    ]  # fmt: skip
    lazy.render.table(("request", "model", "key", "outcome", "status", "by", "matched"), rows)


def _held(held: dict[str, Any]) -> str:
    return f"{held['policy']}: {'+'.join(held['actions'])}{' (shadow)' if held['shadow'] else ''}"


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise source.fail(f"cannot read {file}: {error.strerror}") from None


def _policies(file: str, config: "Config | None") -> "list[PolicyText]":
    try:
        return lazy.policy_files.read_policies(Path(file), _read(file), config)
    except lazy.problems.ConfigError as error:
        for problem in error.problems:
            typer.echo(source.line(problem), err=True)
        raise typer.Exit(1) from None


def _draft(file: str | None) -> dict[str, Any] | None:
    if file is None:
        return None
    found = _policies(file, None)
    if len(found) != 1:
        raise source.fail(f"{file} has {len(found)} policies; a draft is one")
    return found[0].body


def _request(file: str) -> dict[str, Any]:
    try:
        found = json.loads(_read(file))
    except ValueError as error:
        raise source.fail(f"{file} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise source.fail(f"{file}: expected a JSON object")
    return found


def _moment(text: str | None) -> int | None:
    """Microseconds since 1970."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        raise source.fail(f"`{text}` is no moment such as 2026-12-25T10:00+01:00") from None


def _since(text: str) -> float:
    """Seconds since 1970 of so long ago, or of a moment."""
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago:
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    return (_moment(text) or 0) / 1_000_000


def _call(gateway: Gateway, method: str, path: str, **more: Any) -> Any:
    return gateway.call(method, f"/policies{path}", **more)
