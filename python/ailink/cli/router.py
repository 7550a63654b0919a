"""`ailink router`: train a router, see how it does, put it in force for a part of the callers or for all."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ailink.cli import lazy, source
from ailink.cli.gateway import Gateway, asking
from ailink.cli.source import ConfigOption

if TYPE_CHECKING:
    from ailink.routers.data import Row
    from ailink.routers.evaluation import Result
    from ailink.routers.shelf import Shelf

Name = Annotated[str, typer.Argument(help="The router's name, as `auto.router` of a model says it.")]
Version = Annotated[str | None, typer.Argument(help="Version; without it the newest.")]
Data = Annotated[
    Path | None,
    typer.Option(help="JSONL: a line per prompt with `prompt`, `quality` and `cost` by model.", exists=True),
]
Samples = Annotated[
    str | None,
    typer.Option(
        "--from-gateway", help="Take what a running gateway noted for this model and got feedback on."
    ),
]


def build() -> typer.Typer:
    """The `router` command group."""
    app = typer.Typer(help="Learned routing: train, evaluate, promote, roll back.", no_args_is_help=True)
    for command in (train, evaluate, promote):
        app.command()(asking(command))
    app.command()(rollback)
    app.command("list")(list_versions)
    return app


def train(
    gateway: Gateway,
    name: Name,
    kind: Annotated[
        Literal["knn", "svm", "linucb", "thompson"], typer.Option(help="What is trained.")
    ] = "knn",
    data: Data = None,
    samples: Samples = None,
    hold_out: Annotated[
        float, typer.Option(min=0.05, max=0.5, help="Part that is kept for the evaluation.")
    ] = 0.25,
    target: Annotated[
        float,
        typer.Option(min=0.5, max=1.0, help="Part of the best model's quality to reach at the lowest cost."),
    ] = 0.955,
    plot: Annotated[Path | None, typer.Option(help="Draw cost against quality (needs matplotlib).")] = None,
) -> None:
    """Train a new version and evaluate it on rows it has not seen. Nothing is put in force."""
    shelf = _shelf(name, gateway.config)
    rows = _rows(data, samples, gateway)
    learn, check = lazy.router_data.split(rows, hold_out)
    options = lazy.router_training.Options(name=name, version=shelf.next_version(), kind=kind, target=target)
    bar = typer.progressbar(length=100, label=f"training {kind} on {len(learn)} rows")
    try:
        with bar:
            done = 0

            def progress(part: float) -> None:
                nonlocal done
                bar.update(int(part * 100) - done)
                done = int(part * 100)

            file, _ = lazy.router_training.train(learn, options, progress)
        path = shelf.write(options.version, file)
    except (lazy.router_training.TrainingError, lazy.router_shelf.ShelfError, ValueError) as error:
        raise source.fail(str(error)) from None
    result = lazy.router_evaluation.evaluate(file, check)
    if plot is not None:
        _draw(plot, rows=check, results={f"{name} {options.version}": result})
    _tell(gateway, result, {"name": name, "version": options.version, "kind": kind, "file": str(path)})


def evaluate(
    gateway: Gateway,
    name: Name,
    version: Version = None,
    data: Data = None,
    samples: Samples = None,
) -> None:
    """Say how a version does on rows: quality and cost in parts of the best model's."""
    shelf = _shelf(name, gateway.config)
    rows = _rows(data, samples, gateway)
    version = version or _newest(shelf)
    _tell(gateway, _evaluate(shelf, version, rows), {"name": name, "version": version})


def promote(
    gateway: Gateway,
    name: Name,
    version: Version = None,
    data: Data = None,
    samples: Samples = None,
    percent: Annotated[
        int, typer.Option(min=1, max=100, help="Of the callers; 100 makes it the incumbent.")
    ] = 100,
    least: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Part of the best model's quality it must reach.")
    ] = 0.95,
) -> None:
    """Put a version in force, if it passes: good enough on the rows, and no worse than the incumbent."""
    shelf = _shelf(name, gateway.config)
    rows = _rows(data, samples, gateway)
    version = version or _newest(shelf)
    state = _state(shelf)
    result = _evaluate(shelf, version, rows)
    incumbent = _evaluate(shelf, state.incumbent, rows) if state.incumbent not in (None, version) else None
    why = lazy.router_evaluation.refusal(result, incumbent, least)
    if why is not None:
        raise source.fail(f"{name} {version} {why}")
    now = time.time_ns() // 1_000
    made = lazy.router_shelf.State
    if percent == 100:
        previous = state.incumbent if state.incumbent != version else state.previous
        new = made(incumbent=version, previous=previous, since_us=now, note="promoted")
    else:
        new = made(
            incumbent=state.incumbent, previous=state.previous, candidate=version, percent=percent,
            since_us=now, note=f"tried on {percent} %",
        )  # fmt: skip
    _put(shelf, new)
    if not gateway.printed({"name": name, "version": version, "percent": percent}):
        typer.echo(f"{name} {version} is in force for {percent} % of the callers.")


def rollback(name: Name, config: ConfigOption = None) -> None:
    """Take back what was put in force last: a candidate, or the incumbent for the one before it."""
    shelf = _shelf(name, config)
    state = _state(shelf)
    made = lazy.router_shelf.State
    if state.candidate is not None:
        new = made(
            incumbent=state.incumbent, previous=state.previous, note=f"{state.candidate} was taken back"
        )
    elif state.incumbent is not None:
        new = made(incumbent=state.previous, note=f"{state.incumbent} was taken back")
    else:
        raise source.fail(f"of router `{name}` nothing is in force")
    _put(shelf, new)
    typer.echo(f"{new.note}; in force: {new.incumbent or 'the rules'}.")


def list_versions(name: Name, config: ConfigOption = None) -> None:
    """List the versions of a router and what is in force."""
    shelf = _shelf(name, config)
    state = _state(shelf)
    marks = {state.previous: "previous", state.incumbent: "in force", state.candidate: f"{state.percent} %"}
    rows = [(version, marks.get(version, "")) for version in shelf.versions()]
    lazy.render.table(("version", "state"), rows)


def _shelf(name: str, config: Path | None) -> "Shelf":
    directory = Path(source.load_or_exit(config).config.data_dir)
    try:
        return lazy.router_shelf.Shelf(directory, name)
    except lazy.router_shelf.ShelfError as error:
        raise source.fail(str(error)) from None


def _state(shelf: "Shelf") -> "lazy.router_shelf.State":
    try:
        return shelf.state()
    except lazy.router_shelf.ShelfError as error:
        raise source.fail(str(error)) from None


def _put(shelf: "Shelf", state: "lazy.router_shelf.State") -> None:
    try:
        shelf.put(state)
    except lazy.router_shelf.ShelfError as error:
        raise source.fail(str(error)) from None


def _newest(shelf: "Shelf") -> str:
    versions = shelf.versions()
    if not versions:
        raise source.fail(f"router `{shelf.name}` has no version; train one first")
    return versions[-1]


def _rows(data: Path | None, samples: str | None, gateway: Gateway) -> "list[Row]":
    if (data is None) == (samples is None):
        raise source.fail("say where the rows are from: `--data FILE` or `--from-gateway MODEL`")
    try:
        if data is not None:
            return lazy.router_data.from_file(data)
        found = gateway.ask("GET", "/routing/samples", query={"model": samples or ""})
        rows = list(lazy.router_data.from_samples(found["data"]))
    except (lazy.router_data.DataError, lazy.client.ClientError) as error:
        raise source.fail(str(error)) from None
    if not rows:
        raise source.fail(f"there is no feedback on requests to `{samples}` yet")
    return rows


def _evaluate(shelf: "Shelf", version: str, rows: "list[Row]") -> "Result":
    try:
        return lazy.router_evaluation.evaluate(shelf.read(version), rows)
    except (lazy.router_shelf.ShelfError, ValueError) as error:
        raise source.fail(str(error)) from None


def _tell(gateway: Gateway, result: "Result", more: dict[str, str]) -> None:
    plain = {**more, "rows": result.rows, "best": result.best, "quality": result.quality, "cost": result.cost,
             "shares": result.shares}  # fmt: skip
    if gateway.printed(plain):
        return
    shares = ", ".join(f"{name} {part:.0%}" for name, part in result.shares.items())
    typer.echo(
        f"{more['name']} {more['version']} on {result.rows} rows: {result.quality:.1%} of the quality of "
        f"{result.best} at {result.cost:.1%} of its cost ({shares})"
    )


def _draw(file: Path, rows: "list[Row]", results: "dict[str, Result]") -> None:
    try:
        lazy.router_plot.draw(file, rows, results)
    except ModuleNotFoundError as error:
        raise source.fail(f"{error.name} is not installed: pip install matplotlib") from None
