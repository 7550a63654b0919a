"""Cost against quality: single models, and routers among them."""

import importlib
from pathlib import Path

from ailink.routers.data import Row, mean_cost, models_of
from ailink.routers.evaluation import Result


def draw(file: Path, rows: list[Row], results: dict[str, Result]) -> None:
    """Writes a picture; the suffix says of which kind. Raises ModuleNotFoundError without matplotlib."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("agg" if file.suffix == ".png" else "svg")
    # The same picture is the same file.
    matplotlib.rcParams["svg.hashsalt"] = "router"
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(6.4, 4), layout="constrained")
    models = models_of(rows)
    quality = {
        name: sum(row.quality[name] for row in rows if name in row.quality)
        / sum(name in row.quality for row in rows)
        for name in models
    }
    best = max(models, key=lambda name: quality[name])
    cost = mean_cost(rows, best) or 1.0
    points = {name: (mean_cost(rows, name) / cost, quality[name] / quality[best]) for name in models}
    axes.plot(*zip(*sorted(points.values()), strict=True), color="0.7", zorder=1)
    for name, (x, y) in points.items():
        axes.scatter(x, y, color="0.4", zorder=2)
        axes.annotate(name, (x, y), textcoords="offset points", xytext=(6, -12), color="0.3")
    for name, result in results.items():
        axes.scatter(result.cost, result.quality, marker="D", zorder=3, label=name)
    axes.axhline(0.95, color="0.85", zorder=0)
    axes.axvline(0.5, color="0.85", zorder=0)
    # Names stand below and right of their points.
    axes.margins(0.12)
    axes.set(xlabel="cost / cost of the best model", ylabel="quality / quality of the best model")
    axes.legend(loc="lower right")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
