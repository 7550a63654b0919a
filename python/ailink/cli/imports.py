"""`ailink import prices`: other gateways' price maps → a price file of ours."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ailink.cli import lazy, source

File = Annotated[Path, typer.Argument(help="The other gateway's file.", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the price file is written.")]
Provider = Annotated[
    str | None,
    typer.Option(
        "--provider", help="Whose prices they are; else the file's name says it.", show_default=False
    ),
]
PRICES = Path("prices.json")


def build() -> typer.Typer:
    """The `import` command group."""
    app = typer.Typer(help="Take over what another gateway knows.", no_args_is_help=True)
    prices = typer.Typer(help="Price maps; name the file written under `prices:`.", no_args_is_help=True)
    prices.command("litellm")(litellm)
    prices.command("portkey")(portkey)
    app.add_typer(prices, name="prices")
    return app


def litellm(file: File, output: Output = PRICES) -> None:
    """LiteLLM's model_prices_and_context_window.json."""
    _import(file, output, None)


def portkey(file: File, output: Output = PRICES, provider: Provider = None) -> None:
    """One of Portkey's pricing/<provider>.json."""
    row = lazy.registry.Registry.builtin().get(provider or file.stem)
    if row is None:
        raise source.fail(f"there is no provider `{provider or file.stem}` in the catalogue: say --provider")
    _import(file, output, row.price_family or row.id)


def _import(file: Path, output: Path, family: str | None) -> None:
    date = datetime.now(UTC).date().isoformat()
    try:
        text = file.read_bytes()
        if family is None:
            made = lazy.price_files.from_litellm(text, date)
        else:
            made = lazy.price_files.from_portkey(text, family, date)
        output.write_bytes(lazy.price_files.encoded(made))
    except OSError as error:
        raise source.fail(f"{error.filename}: {error.strerror}") from None
    except lazy.price_files.PriceFileError as error:
        raise source.fail(str(error)) from None
    count = sum(len(models) for models in made.by_provider.values())
    typer.echo(f"{count} models of {len(made.by_provider)} providers written to {output}")
    typer.echo(f"use them with `prices: [{output}]` in the configuration")
