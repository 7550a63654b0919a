"""`ailink guardrails`: what a running gateway looks for, what it found, and a place to try it."""

import json
from typing import Annotated

import typer

from ailink.cli import lazy, source
from ailink.cli.keys import AdminKey, Url
from ailink.cli.source import ConfigOption, JsonOption


def build() -> typer.Typer:
    """The `guardrails` command group."""
    app = typer.Typer(help="Guardrails of a running gateway.", no_args_is_help=True)
    app.command("list")(list_guardrails)
    app.command("report")(report)
    app.command("test")(try_text)
    return app


def list_guardrails(
    url: Url = None, key: AdminKey = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List guardrails and the models they hold for."""
    try:
        found = lazy.client.call(lazy.client.target(url, key, config), "GET", "/guardrails")
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [
        (row["name"], ", ".join(row["scan"]), row["action"], row["mode"], row["stream"], str(row["patterns"]),
         ", ".join(row["models"]))
        for row in found["guardrails"]
    ]  # fmt: skip
    lazy.render.table(("name", "scans", "action", "mode", "streams", "patterns", "models"), rows)


def report(
    url: Url = None, key: AdminKey = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """What each guardrail found since the gateway started; shadow: what it would have acted on."""
    try:
        found = lazy.client.call(lazy.client.target(url, key, config), "GET", "/guardrails/report")
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    columns = ("name", "input", "output", "shadow input", "shadow output")
    names = ("input", "output", "shadow_input", "shadow_output")
    lazy.render.table(columns, [(row["name"], *(str(row[name]) for name in names)) for row in found["rules"]])


def try_text(
    text: Annotated[str, typer.Argument(help="The text to try.")],
    guardrail: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    output: Annotated[bool, typer.Option("--output", help="As an answer, not as a request.")] = False,
    url: Url = None,
    key: AdminKey = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try guardrails on a text. Exit code 1 when it would be blocked."""
    body = {"text": text, "guardrails": guardrail or None, "side": "output" if output else "input"}
    try:
        found = lazy.client.call(lazy.client.target(url, key, config), "POST", "/guardrails/test", body=body)
    except lazy.client.ClientError as error:
        raise source.fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        rows = [
            (row["rule"], row["label"], row["action"] + (" (shadow)" if row["shadow"] else ""),
             f"{row['start']}-{row['end']}")
            for row in found["matches"]
        ]  # fmt: skip
        lazy.render.table(("rule", "found", "action", "bytes"), rows)
        typer.echo("blocked" if found["text"] is None else found["text"])
    if found["text"] is None:
        raise typer.Exit(1)
