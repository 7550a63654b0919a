"""`ailink audit`: whether the audit log is as it was written."""

import typer

from ailink.cli.gateway import Gateway, asking


def build() -> typer.Typer:
    """The `audit` command group."""
    app = typer.Typer(help="The log of what was changed.", no_args_is_help=True)
    # Of one command typer would make the group itself.
    app.callback()(_group)
    app.command("verify")(asking(verify))
    return app


def _group() -> None:
    pass


def verify(gateway: Gateway) -> None:
    """Walk the whole log; exit code 1 at the first entry that does not follow from the one before it."""
    found = gateway.call("GET", "/audit/verify")
    if not gateway.printed(found):
        if found["unbroken"]:
            typer.echo(f"{found['entries']} entries, unbroken; the last has the hash {found['hash']}")
        else:
            at, reason = found["broken_at"], found["reason"]
            typer.echo(f"broken: entry {at} {reason}; {found['entries']} before it are whole")
    if not found["unbroken"]:
        raise typer.Exit(1)
