"""Learned routing on the set that ships with the tests: cost and quality of every kind of router on rows it
has not seen, and the picture of docs/routing.md.

`python -m benches.router [--rows 4000] [--out docs/router.svg]` tells of each kind as it comes whether it
reaches 95 % of the best model's quality at no more than half of its cost. The exit code is 1 when none does.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import get_args

from tests.harness import router_set

from ailink.routers import data, plot, training
from ailink.routers.evaluation import Result, evaluate

LEAST_QUALITY, MOST_COST = 0.95, 0.5


def results(rows: list[data.Row], held: list[data.Row]) -> dict[str, Result]:
    """Each kind, trained on `rows` and evaluated on `held`."""
    found = {}
    for kind in get_args(training.Kind):
        file, _ = training.train(rows, training.Options(name="set", version="v1", kind=kind))
        found[kind] = evaluate(file, held)
        tell(kind, found[kind])
    return found


def tell(kind: str, result: Result) -> None:
    """One kind of router as a line, at once."""
    shares = ", ".join(f"{name} {part:.0%}" for name, part in result.shares.items())
    verdict = "held" if holds(result) else "missed"
    print(f"{kind:9} quality {result.quality:.1%}  cost {result.cost:.1%}  {verdict}  ({shares})", flush=True)


def holds(result: Result) -> bool:
    """Whether it is as good as the best model, or nearly, and far cheaper."""
    return result.quality >= LEAST_QUALITY and result.cost <= MOST_COST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--out", type=Path, default=Path("docs/router.svg"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = data.from_file(router_set.write(Path(directory) / "set.jsonl", options.rows))
    learn, held = data.split(rows, 0.25)
    found = results(learn, held)
    plot.draw(options.out, held, found)
    sys.exit(0 if any(map(holds, found.values())) else 1)


if __name__ == "__main__":
    main()
