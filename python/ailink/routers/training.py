"""Training, and the file that comes of it. scikit-learn (`pip install ailink[ml]`) is needed here and nowhere
else; what was trained is plain numbers that the data plane runs.
"""

import hashlib
import importlib
from collections.abc import Callable
from struct import pack
from typing import Any, Final, Literal

import msgspec

from ailink import _core
from ailink.routers.data import Row, mean_cost, models_of, split
from ailink.routers.evaluation import Result, evaluate, judge

Kind = Literal["knn", "svm", "linucb", "thompson"]
FEATURES: Final = 1
FORMAT: Final = 1
BUCKETS: Final = 8
UNKNOWN: Final = 255
MARGINS: Final = 100
"""How many margins are tried, even parts of what estimates differ by on the validation rows."""
MOST_VECTORS: Final = 50_000
_FEW: Final = ("linucb", "thompson")
Progress = Callable[[float], None]


class TrainingError(Exception):
    """What is missing for a training."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`target`: part of the best model's quality that must be reached, at the lowest cost."""

    name: str
    version: str
    kind: Kind
    k: int = 16
    alpha: float = 0.3
    target: float = 0.955
    enough: float = 0.75
    """From this quality on an answer is good enough: what the hyperplanes of `svm` part."""


def train(rows: list[Row], options: Options, progress: Progress = lambda part: None) -> tuple[bytes, Result]:
    """(the file, how it does on a validation part of `rows`). Raises TrainingError."""
    models = models_of(rows)
    if len(models) < 2:
        raise TrainingError("the rows know one model; there is nothing to choose")
    if len(rows) < 50:
        raise TrainingError(f"{len(rows)} rows are too few; 50 are the least")
    learn, check = split(rows, 0.25, seed=11)
    numbers, extra = _FIT[options.kind](learn, models, options, progress)
    router = _core.Router(_file(models, rows, options, 0.0, numbers, extra))
    # The bandits have too few numbers to know their rows by heart: more rows make for a surer margin.
    tune = rows if options.kind in _FEW else check
    estimates = [router.choose(row.dense, row.vector, seed)[1] for seed, row in enumerate(tune)]
    best: tuple[float, Result] | None = None
    # The margin of the lowest cost that reaches the target; without one, none.
    for margin in _margins(estimates):
        chosen = [_within(names, margin, models) for names in estimates]
        result = judge(tune, chosen)
        if best is None or (result.quality >= options.target and result.cost < best[1].cost):
            best = (margin, result)
    margin = 0.0 if best is None else best[0]
    file = _file(models, rows, options, margin, numbers, extra)
    return file, evaluate(file, check)


def _margins(estimates: list[list[float]]) -> list[float]:
    """None, and those at which a part of the rows begins to go to a cheaper model: routers differ in how
    far apart their estimates are.
    """
    gaps = sorted(min(max(row) - value, 1.0) for row in estimates for value in row)
    return sorted({0.0, *(gaps[(len(gaps) - 1) * step // MARGINS] for step in range(MARGINS + 1))})


def _within(estimates: list[float], margin: float, models: list[str]) -> str:
    """The cheapest model within `margin` of the best estimate, as in the data plane. `models` by cost."""
    least = max(estimates) - margin
    return next(name for name, value in zip(models, estimates, strict=True) if value >= least)


def _file(
    models: list[str], rows: list[Row], options: Options, margin: float, numbers: bytes, extra: dict[str, Any]
) -> bytes:
    header = msgspec.json.encode(
        {
            "name": options.name,
            "version": options.version,
            "kind": options.kind,
            "features": FEATURES,
            "models": models,
            "costs": [mean_cost(rows, model) for model in models],
            "margin": margin,
            "rows": len(rows),
            **extra,
        }
    )
    body = b"AILROUTE" + pack("<II", FORMAT, len(header)) + header + numbers
    file = body + hashlib.sha256(body).digest()
    _core.Router(file)
    return file


def _fit_knn(
    rows: list[Row], models: list[str], options: Options, progress: Progress
) -> tuple[bytes, dict[str, Any]]:
    kept = rows[:MOST_VECTORS]
    vectors = b"".join(pack(f"{len(row.vector)}b", *row.vector) for row in kept)
    qualities = bytes(
        UNKNOWN if (value := row.quality.get(model)) is None else round(value * 254)
        for row in kept
        for model in models
    )
    progress(1.0)
    return vectors + qualities, {"k": options.k, "vectors": len(kept)}


def _fit_svm(
    rows: list[Row], models: list[str], options: Options, progress: Progress
) -> tuple[bytes, dict[str, Any]]:
    svm = _sklearn("sklearn.svm")
    out = []
    for at, model in enumerate(models):
        known = [row for row in rows if model in row.quality]
        x = [[value / 127 for value in row.vector] for row in known]
        y = [row.quality[model] >= options.enough for row in known]
        if len(set(y)) < 2:
            # Always or never good enough: no hyperplane, only on which side everything is.
            weights = [0.0] * len(rows[0].vector) + [4.0 if y and y[0] else -4.0]
        else:
            fitted = svm.LinearSVC(C=0.5, class_weight="balanced", random_state=0, max_iter=20_000).fit(x, y)
            weights = [float(value) for value in fitted.coef_[0]] + [float(fitted.intercept_[0])]
        out.append(pack(f"<{len(weights)}f", *weights))
        progress((at + 1) / len(models))
    return b"".join(out), {}


def _fit_linucb(
    rows: list[Row], models: list[str], options: Options, progress: Progress
) -> tuple[bytes, dict[str, Any]]:
    numpy = _sklearn("numpy")
    size = len(rows[0].dense) + 1
    thetas, inverses = [], []
    for at, model in enumerate(models):
        known = [row for row in rows if model in row.quality]
        x = numpy.array([[*row.dense, 1.0] for row in known]).reshape(-1, size)
        y = numpy.array([row.quality[model] for row in known])
        inverse = numpy.linalg.inv(numpy.eye(size) + x.T @ x)
        thetas.append(pack(f"<{size}f", *(inverse @ x.T @ y)))
        inverses.append(pack(f"<{size * size}f", *inverse.ravel()))
        progress((at + 1) / len(models))
    return b"".join(thetas + inverses), {"alpha": options.alpha}


def _fit_thompson(
    rows: list[Row], models: list[str], options: Options, progress: Progress
) -> tuple[bytes, dict[str, Any]]:
    beliefs = {(bucket, model): [1.0, 1.0] for bucket in range(BUCKETS) for model in models}
    for row in rows:
        bucket = min(int(row.complexity * BUCKETS), BUCKETS - 1)
        for model, value in row.quality.items():
            belief = beliefs[bucket, model]
            belief[0] += value
            belief[1] += 1 - value
    progress(1.0)
    flat = [value for bucket in range(BUCKETS) for model in models for value in beliefs[bucket, model]]
    return pack(f"<{len(flat)}f", *flat), {}


_FIT: Final[dict[Kind, Callable[[list[Row], list[str], Options, Progress], tuple[bytes, dict[str, Any]]]]] = {
    "knn": _fit_knn,
    "svm": _fit_svm,
    "linucb": _fit_linucb,
    "thompson": _fit_thompson,
}


def _sklearn(module: str) -> Any:
    """A module of the extra `ml`. Raises TrainingError."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise TrainingError(f"{error.name} is not installed: pip install 'ailink[ml]'") from error
