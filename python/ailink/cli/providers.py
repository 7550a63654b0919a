"""`ailink providers`: the catalogue that ships, row by row, and the check of a row of one's own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ailink.cli import lazy, source
from ailink.cli.source import JsonOption

if TYPE_CHECKING:
    from ailink.providers.registry import ProviderRow, Registry

Name = Annotated[str, typer.Argument(help="Id or alias, as in `ailink providers list`.", show_default=False)]
RowFile = Annotated[
    Path | None,
    typer.Option("--file", help="One TOML row; without it the whole catalogue.", show_default=False),
]


def build() -> typer.Typer:
    """The `providers` command group; without a subcommand it lists."""
    app = typer.Typer(help="The catalogue of providers.", invoke_without_command=True)
    app.callback()(providers)
    app.command("list")(list_providers)
    app.command("show")(show)
    app.command("check")(check)
    return app


def providers(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the providers of the catalogue."""
    if context.invoked_subcommand is None:
        list_providers(as_json)


def list_providers(as_json: JsonOption = False) -> None:
    """List the providers of the catalogue."""
    rows = list(_registry())
    if as_json:
        typer.echo(json.dumps([plain(row) for row in rows], indent=2, ensure_ascii=False))
        return
    columns = ("id", "title", "operations", "key from", "also named")
    cells = [
        (row.id, row.title, ", ".join(row.operations), ", ".join(row.env), ", ".join(row.aliases))
        for row in rows
    ]
    lazy.render.table(columns, cells)
    typer.echo(f"{len(rows)} providers")


def show(name: Name, as_json: JsonOption = False) -> None:
    """Show all that is known about one provider."""
    registry = _registry()
    row = registry.get(name)
    if row is None:
        hint = lazy.problems.did_you_mean(name, registry.names())
        raise source.fail(f"there is no provider `{name}` in the catalogue{hint}")
    if as_json:
        typer.echo(json.dumps(plain(row), indent=2, ensure_ascii=False))
        return
    lazy.render.table(("what", "is"), facts(row))


def check(file: RowFile = None, as_json: JsonOption = False) -> None:
    """Check the catalogue, or a row of your own. Exit code 1 if it would be refused."""
    fault = None
    checked = 0
    try:
        if file is None:
            checked = len(lazy.registry.Registry.builtin())
        else:
            row = lazy.registry.read_row(file.read_bytes(), file.name)
            checked = 1
            for name in (row.id, *row.aliases):
                taken = lazy.registry.Registry.builtin().get(name)
                if taken is not None and taken.id != row.id:
                    raise lazy.registry.CatalogError(file.name, "aliases", f"`{name}` is taken by {taken.id}")
    except lazy.registry.CatalogError as error:
        fault = error
    except OSError as error:
        raise source.fail(f"cannot read {file}: {error.strerror}") from None
    if as_json:
        told = None if fault is None else {"file": fault.file, "key": fault.key, "reason": fault.reason}
        typer.echo(json.dumps({"ok": fault is None, "rows": checked, "fault": told}, ensure_ascii=False))
        if fault is not None:
            raise typer.Exit(1)
    elif fault is not None:
        raise source.fail(str(fault))
    else:
        typer.echo(f"ok: {checked} {'row' if checked == 1 else 'rows'}")


def plain(row: "ProviderRow") -> dict[str, Any]:
    """A row as JSON has it, without what it does not say."""
    found: dict[str, Any] = lazy.registry.plain(row)
    return found


def facts(row: "ProviderRow") -> list[tuple[str, str]]:
    """A row as lines of a table."""
    plainly = row.auth.scheme in {"bearer", "token", "none"}
    auth = row.auth.scheme if plainly else f"{row.auth.scheme} {row.auth.name}"
    told = [
        ("id", row.id),
        ("title", row.title),
        ("also named", ", ".join(row.aliases)),
        ("base URL", row.base_url or "each deployment gives its own"),
        (
            "settings",
            ", ".join(_setting(row, name) for name in sorted(row.placeholders() - {"mock", "model"})),
        ),
        ("credential", f"{auth}, optional" if row.auth.optional else auth),
        ("key from", ", ".join(row.env)),
        ("prices", row.price_family or ("free" if row.free else "")),
        ("usage of streams", row.stream_usage),
        *((f"header {name}", value) for name, value in row.headers.items()),
        *((operation, path) for operation, path in row.operations.items()),
        *(
            (f"{operation}: {name}", ", ".join(f"{key} {value}" for key, value in rule.items()))
            for operation, table in plain(row).get("parameters", {}).items()
            for name, rule in table.items()
        ),
        *(
            (f"{operation}: {name}", ", ".join(f"{key} {_brief(value)}" for key, value in field.items()))
            for operation, asked in plain(row).get("requests", {}).items()
            for name, field in asked["fields"].items()
        ),
    ]
    return [(what, value) for what, value in told if value]


def _brief(value: object) -> object:
    """Names of words without what they stand for: JSON tells that."""
    return " ".join(value) if isinstance(value, dict) else value


def _setting(row: "ProviderRow", name: str) -> str:
    defaults = {str(key): value for key, value in row.settings.items()}
    return f"{name} (else {defaults[name]})" if name in defaults else name


def _registry() -> "Registry":
    try:
        return lazy.registry.Registry.builtin()
    except lazy.registry.CatalogError as error:
        raise source.fail(str(error)) from None
