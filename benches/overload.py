"""Goodput and latency of a deployment under a load that grows past what it bears, with and without a limit.

`python -m benches.overload [--short] [--seconds 8] [--out docs/overload.svg]`, on a machine that does nothing
else, starts a provider that works at 20 requests at a time (200 ms each: 100 a second), the gateway in front
of it, and offers half to four times that: three minutes, and each point is told as it comes. The numbers are
kept in `benches/results/overload.json`; `--draw` draws the picture from them again without measuring.
`--short` measures three loads with the limit alone, in half a minute, and keeps and draws nothing.

The exit code is 1 when three times the load leaves less than 0.9 of goodput with the limit, or a p99 of more
than twice the time of one request.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model
from tests.promises.generator import generator

SLOTS, SERVICE_MS = 20, 200
KNEE = SLOTS * 1000 // SERVICE_MS
LOADS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0)
SHORT = (0.5, 1.0, 3.0)
JUDGED, LEAST_GOODPUT, MOST_MS = 3.0, 0.9, 2 * SERVICE_MS
WARM = 4
LABELS = {"adaptive": "overload: {adaptive: true}", "unlimited": "without a limit"}
KEPT = Path(__file__).parent / "results" / "overload.json"


class Point(NamedTuple):
    """One run: offered load and goodput in parts of the knee, p99 of what was answered in ms."""

    offered: float
    goodput: float
    p99_ms: float


def measure(gateway: Gateway, key: Key, model: str, load: float, seconds: int, log: Path) -> Point:
    """Offers `load` times the knee; the first seconds do not count. Slower than 2 s is no good answer."""
    run = generator(
        gateway, key, f"overload-{model}-{load}", "--rate", str(int(KNEE * load)), "--duration",
        f"{seconds + WARM}s", "--model", model, "--timeout", "10s", "--log", str(log),
    ).start()  # fmt: skip
    run.report(seconds + WARM + 60)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    begun = min(row["due_ns"] for row in rows)
    kept = [row for row in rows if row["due_ns"] - begun >= WARM * 1e9]
    took = sorted((row["end_ns"] - row["due_ns"]) / 1e6 for row in kept if row["status"] == 200)
    good = sum(ms <= 2_000 for ms in took)
    return Point(load, good / seconds / KNEE, took[int(len(took) * 0.99)] if took else float("nan"))


def draw(found: dict[str, list[Point]], out: Path) -> None:
    """Two pictures side by side. Needs matplotlib, which only this and the router's plot do."""
    import matplotlib  # noqa: PLC0415 - not a dependency of the product

    matplotlib.use("agg" if out.suffix == ".png" else "svg")
    from matplotlib import pyplot  # noqa: PLC0415

    matplotlib.rcParams["svg.hashsalt"] = "overload"
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, points in found.items():
        at = [p.offered for p in points]
        left.plot(at, [p.goodput for p in points], marker="o", label=LABELS[name])
        right.plot(at, [p.p99_ms for p in points], marker="o", label=LABELS[name])
    for axes in (left, right):
        axes.axvline(1, color="0.8", zorder=0)
        axes.grid(axis="y", color="0.92", zorder=0)
        axes.set(xlabel="offered load, in parts of what the provider bears", xlim=(0, max(LOADS) + 0.2))
    left.set(title="goodput", ylabel="answers within 2 s / capacity", ylim=(0, 1.1))
    right.set(title="latency of answers", ylabel="99th percentile, ms", yscale="log", ylim=(100, 20_000))
    right.axhline(2 * SERVICE_MS, color="0.8", linestyle=":", zorder=0)
    left.legend(loc="lower left")
    figure.savefig(out, metadata=None if out.suffix == ".png" else {"Date": None})
    pyplot.close(figure)


def run(seconds: int, kinds: list[str], loads: tuple[float, ...]) -> dict[str, list[Point]]:
    """All loads, with the limit and without, each at a deployment of its own."""
    found: dict[str, list[Point]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with MockProvider(directory / "provider") as provider:
            script = f"slots={SLOTS};latency={SERVICE_MS}"
            models = [
                make_model(
                    f"{kind}-{at}",
                    make_deployment(provider, f"{script};id={kind}-{at}", model=f"{kind}-{at}"),
                    routing={"overload": {"adaptive": kind == "adaptive"}},
                )
                for kind in kinds
                for at in range(len(loads))
            ]
            with Gateway(directory / "gateway", make_config(*models)) as gateway:
                key = gateway.mint()
                for kind, points in found.items():
                    for at, load in enumerate(loads):
                        point = measure(gateway, key, f"{kind}-{at}", load, seconds, directory / "log")
                        points.append(point)
                        tell(kind, point)
    return found


def tell(kind: str, point: Point) -> None:
    """One point as a line, at once."""
    offered, goodput, p99 = point
    print(f"{kind:10} offered {offered:.1f} goodput {goodput:.2f} p99 {p99:.0f} ms", flush=True)


def held(found: dict[str, list[Point]]) -> bool:
    """Whether the limit keeps what is promised of it."""
    judged = next(point for point in found["adaptive"] if point.offered == JUDGED)
    good = judged.goodput >= LEAST_GOODPUT and judged.p99_ms <= MOST_MS
    print(
        f"{JUDGED:.0f} x: goodput {judged.goodput:.2f} (at least {LEAST_GOODPUT}), "
        f"p99 {judged.p99_ms:.0f} ms (at most {MOST_MS}): {'held' if good else 'missed'}"
    )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/overload.svg"))
    parser.add_argument("--draw", action="store_true", help="draw what was measured last")
    parser.add_argument("--short", action="store_true", help="three loads, the limit alone, no picture")
    options = parser.parse_args()
    if options.draw:
        kept = json.loads(KEPT.read_text())
        found = {kind: [Point(*point) for point in points] for kind, points in kept.items()}
        for kind, points in found.items():
            for point in points:
                tell(kind, point)
    elif options.short:
        found = run(4, ["adaptive"], SHORT)
    else:
        found = run(options.seconds, list(LABELS), LOADS)
        KEPT.write_text(json.dumps(found, indent=1) + "\n")
    if not options.short:
        draw(found, options.out)
    sys.exit(0 if held(found) else 1)


if __name__ == "__main__":
    main()
