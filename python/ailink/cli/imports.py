"""`ailink import`: what other gateways know: their price maps, and LiteLLM's database."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ailink.cli import lazy, source
from ailink.cli.source import ConfigOption, JsonOption

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
    app.command("litellm")(litellm_database)
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


def litellm_database(
    database: Annotated[
        str,
        typer.Option(
            envvar="LITELLM_DATABASE_URL", help="Address of LiteLLM's PostgreSQL.", show_default=False
        ),
    ],
    salt_key: Annotated[
        str | None,
        typer.Option(
            envvar="LITELLM_SALT_KEY",
            help="What its secrets are sealed with; its master key, if it had none.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(
            help="Write its models here, in LiteLLM's shape, with their secrets.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keys, teams, users, budgets and credentials of a LiteLLM proxy. Its keys go on working here.

    The gateway must not be running. May be repeated: what was changed here since stays.
    """
    loaded = source.load_or_exit(config)
    try:
        report = lazy.moving.run(loaded.config, database, salt_key, models=models, dry_run=dry_run)
    except lazy.moving.MoveError as error:
        raise source.fail(str(error)) from None
    except ModuleNotFoundError as error:
        raise source.fail(f"PostgreSQL needs {error.name}: pip install 'ailink[postgres]'") from None
    if as_json:
        shown = {"made": report.made, "updated": report.updated, "kept": report.kept}
        typer.echo(json.dumps({**shown, "warnings": report.warnings, "models": len(report.models)}))
        return
    for verb, counts in (("new", report.made), ("updated", report.updated)):
        for noun, count in sorted(counts.items()):
            typer.echo(f"{count:>7} {noun}s {verb}")
    for name in report.kept:
        typer.echo(f"kept as changed here: {name}")
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if report.models:
        where = f"written to {models}" if models and not dry_run else "not written: say --models FILE"
        typer.echo(f"{len(report.models):>7} models {where}")
    if dry_run:
        typer.echo("nothing was changed: this was a dry run")


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
