"""`ailink guardrails`: what a running gateway looks for, what it found, and a place to try it."""

from typing import Annotated

import typer

from ailink.cli import lazy
from ailink.cli.gateway import Gateway, asking


def build() -> typer.Typer:
    """The `guardrails` command group."""
    app = typer.Typer(help="Guardrails of a running gateway.", no_args_is_help=True)
    app.command("list")(asking(list_guardrails))
    app.command("report")(asking(report))
    app.command("test")(asking(try_text))
    return app


def list_guardrails(gateway: Gateway) -> None:
    """List guardrails and the models they hold for."""
    found = gateway.call("GET", "/guardrails")
    if gateway.printed(found):
        return
    rows = [
        (row["name"], ", ".join(row["scan"]), row["action"], row["mode"], row["stream"], str(row["patterns"]),
         ", ".join(row["models"]))
        for row in found["guardrails"]
    ]  # fmt: skip
    lazy.render.table(("name", "scans", "action", "mode", "streams", "patterns", "models"), rows)


def report(gateway: Gateway) -> None:
    """What each guardrail found since the gateway started; shadow: what it would have acted on."""
    found = gateway.call("GET", "/guardrails/report")
    if gateway.printed(found):
        return
    columns = ("name", "input", "output", "shadow input", "shadow output")
    names = ("input", "output", "shadow_input", "shadow_output")
    lazy.render.table(columns, [(row["name"], *(str(row[name]) for name in names)) for row in found["rules"]])


def try_text(
    gateway: Gateway,
    text: Annotated[str, typer.Argument(help="The text to try.")],
    guardrail: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    output: Annotated[bool, typer.Option("--output", help="As an answer, not as a request.")] = False,
) -> None:
    """Try guardrails on a text. Exit code 1 when it would be blocked."""
    body = {"text": text, "guardrails": guardrail or None, "side": "output" if output else "input"}
    found = gateway.call("POST", "/guardrails/test", body=body)
    if not gateway.printed(found):
        rows = [
            (row["rule"], row["label"], row["action"] + (" (shadow)" if row["shadow"] else ""),
             f"{row['start']}-{row['end']}")
            for row in found["matches"]
        ]  # fmt: skip
        lazy.render.table(("rule", "found", "action", "bytes"), rows)
        typer.echo("blocked" if found["text"] is None else found["text"])
    if found["text"] is None:
        raise typer.Exit(1)
