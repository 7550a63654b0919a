"""`ailink migrate`: brings the database to this version's schema."""

from typing import Annotated

import typer

from ailink.cli import lazy, source
from ailink.cli.source import ConfigOption

Check = Annotated[
    bool, typer.Option("--check", help="Change nothing; exit code 1 if something is to be done.")
]


def migrate(config: ConfigOption = None, check: Check = False) -> None:
    """Apply pending database migrations. `ailink serve` does so by itself."""
    loaded = source.load_or_exit(config)
    try:
        status = lazy.migration.run(loaded.config, check_only=check)
    except lazy.migration.MigrateError as error:
        raise source.fail(str(error)) from None
    if not status.pending:
        typer.echo(f"up to date: {len(status.applied)} migrations are applied")
        return
    names = ", ".join(f"{version:04d}" for version in status.pending)
    typer.echo(f"{'to be applied' if check else 'applied'}: {names}")
    raise typer.Exit(1 if check else 0)
