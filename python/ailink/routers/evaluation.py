"""How a router does on rows it has not seen, in the data plane's own arithmetic, and who may be promoted."""

import msgspec

from ailink import _core
from ailink.routers.data import Row, models_of


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`quality` and `cost` in parts of those of the best model alone."""

    rows: int
    quality: float
    cost: float
    best: str
    """The single model of the highest mean quality."""
    shares: dict[str, float]
    """Parts of the requests that go to each model."""


def evaluate(file: bytes, rows: list[Row]) -> Result:
    """Rows that do not know the chosen model's quality count only for `shares`. Raises ValueError."""
    router = _core.Router(file)
    names = router.models()
    chosen = [names[router.choose(row.dense, row.vector, seed)[0]] for seed, row in enumerate(rows)]
    return judge(rows, chosen)


def judge(rows: list[Row], chosen: list[str]) -> Result:
    """How it does to send each row to the model chosen for it."""
    best = _best(rows)
    pairs = [(row, name) for row, name in zip(rows, chosen, strict=True) if name in row.quality]
    own = [(row.quality[name], row.cost.get(name, 0.0)) for row, name in pairs]
    theirs = [(row.quality[best], row.cost.get(best, 0.0)) for row in rows if best in row.quality]
    shares = {name: chosen.count(name) / len(chosen) for name in models_of(rows)}
    return Result(
        rows=len(rows),
        quality=_part(_mean([q for q, _ in own]), _mean([q for q, _ in theirs])),
        cost=_part(_mean([c for _, c in own]), _mean([c for _, c in theirs])),
        best=best,
        shares=shares,
    )


def refusal(result: Result, incumbent: Result | None, least: float) -> str | None:
    """Why a router may not be promoted, or None. `least`: the part of the best quality it must reach."""
    if result.quality < least:
        return f"reaches {result.quality:.1%} of the best model's quality; {least:.0%} are asked for"
    if incumbent is None:
        return None
    # A little less quality may be what a tenth less cost is for; `least` bounds it.
    if result.quality < incumbent.quality - 0.01 and result.cost > incumbent.cost * 0.9:
        return f"is worse than the incumbent: {result.quality:.1%} of the best, not {incumbent.quality:.1%}"
    if result.quality <= incumbent.quality + 0.001 and result.cost > incumbent.cost * 1.02:
        return f"is as good as the incumbent and dearer: {result.cost:.1%} instead of {incumbent.cost:.1%}"
    return None


def _best(rows: list[Row]) -> str:
    def mean(name: str) -> float:
        return _mean([row.quality[name] for row in rows if name in row.quality])

    return max(models_of(rows), key=mean)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _part(value: float, whole: float) -> float:
    return value / whole if whole else 0.0
