"""The command line, put together: one file per command, each light until it runs."""

import sys
from typing import Final

import typer

from ailink.cli import (
    approvals,
    cache,
    check,
    doctor,
    explain,
    guardrails,
    imports,
    init,
    keys,
    migrate,
    mock,
    models,
    policies,
    providers,
    reconcile,
    rekey,
    router,
    serve,
    stages,
    version,
)
from ailink.cli.gateway import asking

EXIT_INTERRUPTED: Final = 130
EXTENSION: Final = "ailink._core"


def build() -> typer.Typer:
    """The `ailink` command with all its commands."""
    app = typer.Typer(
        name="ailink",
        help="AILink, an AI gateway: one door to any model.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command()(serve.serve)
    app.command()(init.init)
    app.command()(check.check)
    app.add_typer(keys.build(), name="keys")
    app.add_typer(models.build(), name="models")
    app.add_typer(providers.build(), name="providers")
    app.add_typer(router.build(), name="router")
    app.command()(asking(explain.explain))
    app.add_typer(guardrails.build(), name="guardrails")
    app.add_typer(policies.build(), name="policies")
    app.add_typer(approvals.build(), name="approvals")
    app.add_typer(cache.build(), name="cache")
    app.command()(stages.stages)
    app.command(context_settings=mock.FORWARDED)(mock.mock)
    app.command(context_settings=mock.FORWARDED)(mock.bench)
    app.command()(migrate.migrate)
    app.command()(rekey.rekey)
    app.add_typer(imports.build(), name="import")
    app.command()(asking(reconcile.reconcile))
    app.command()(doctor.doctor)
    app.command()(version.version)
    return app


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
    try:
        build()()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name != EXTENSION:
            raise
        sys.exit(f"ailink: the extension {EXTENSION} is not built; run `make setup`, or install a wheel")
