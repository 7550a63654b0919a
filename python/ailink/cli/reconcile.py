"""`ailink reconcile`: a provider's cost export against the ledger."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway

File = Annotated[
    Path, typer.Argument(help="The export: JSON of OpenAI or Anthropic, CSV of AWS, or date,model,cost.")
]
Provider = Annotated[str, typer.Option(help="Whose bill it is, by its name here.")]
Form = Annotated[
    Literal["openai", "anthropic", "aws", "csv"], typer.Option("--format", help="What the export is.")
]
Percent = Annotated[float, typer.Option(help="Difference that is allowed, of what was billed.")]


def reconcile(gateway: Gateway, file: File, provider: Provider, form: Form, percent: Percent = 1.0) -> None:
    """Compare what a provider charges with the ledger, by day and model; 1 when they differ."""
    try:
        # Reports of AWS have gigabytes: what is sent are sums per day and model.
        bill = lazy.bills.read(file.read_text(encoding="utf-8"), form)
        body = {
            "provider": provider,
            "format": "csv",
            "text": lazy.bills.summed(bill),
            "percent": percent,
        }
        found = gateway.ask("POST", "/v1/bills", body=body)
    except (OSError, UnicodeDecodeError, ValueError, lazy.client.ClientError) as error:
        raise source.fail(str(error)) from None
    if not gateway.printed(found):
        columns = ("day", "model", "billed", "recorded", "difference")
        rows = [[str(line[name]) for name in columns] for line in found["data"]]
        marked = [
            (*row, "yes" if line["agrees"] else "NO") for row, line in zip(rows, found["data"], strict=True)
        ]
        lazy.render.table((*columns, "agrees"), marked)
        typer.echo(
            f"{found['agreeing']} agree, {found['differing']} differ by {found['difference']} USD in all"
        )
    raise typer.Exit(1 if found["differing"] else 0)
