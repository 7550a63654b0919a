"""What routing costs: CPU time of the gateway per request with 100 deployments under every strategy, with
service tiers, breakers and limits on, beside a model of one deployment; and what the automatic choice of a
model costs for a prompt of 1 KiB, without a model that embeds.

`python -m benches.strategies [--short] [--seconds 3] [--rounds 5] [--only shuffle,auto]`, on a machine that
does nothing else; five minutes, or with `--short` one. What is measured is told as it comes. The bars are
2 µs more than one deployment, and 50 µs for the choice of a model. Rounds take turns and are compared with
the one deployment of the same round. The exit code is 1 when a bar is missed.

`engine_load` has engines that tell nothing, so that requests in flight count: the same look at every one.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, get_args

from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model
from tests.promises.generator import generator

from ailink.config.routing import Strategy

DEPLOYMENTS: Final = 100
BAR_US: Final = 2.0
AUTO_BAR_US: Final = 50.0
WARM_S: Final = 0.3
ONE: Final = "one"
AUTO: Final = "auto"
ADAPTIVE: Final = "shuffle-adaptive"
TIERS: Final = "service-tiers"
BOUND: Final = "boundaries"
NAMES: Final = (*get_args(Strategy), ADAPTIVE, TIERS, BOUND, AUTO)
PLUGIN: Final = """
from ailink.plugins import Strategy


class Even(Strategy):
    async def weights(self, model, places):
        return {place.id: 1.0 for place in places}
"""


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def config(provider: MockProvider) -> dict[str, Any]:
    """One model per strategy over 100 deployments, one of a single one, and one that stands for two."""
    price = {"input_per_million": 1, "output_per_million": 2}

    def group(name: str, routing: dict[str, Any], **settings: Any) -> dict[str, Any]:
        many = [
            make_deployment(
                provider, model=f"{name}-{n}", weight=n % 5 + 1, price=price, tpm=10_000_000 + n, **settings
            )
            for n in range(DEPLOYMENTS)
        ]
        return make_model(name, *many, routing=routing, retries=2)

    tiers = group(TIERS, {"service_tiers": [{"when": {"params.stream": True}, "tiers": ["flex"]},
                                            {"tiers": ["priority", "default", "flex"]}]})  # fmt: skip
    for n, deployment in enumerate(tiers["deployments"]):
        if n % 3:
            deployment["service_tier"] = ("flex", "priority")[n % 2]
    custom = {"plugin": "bench_strategy:Even", "every": "1s"}
    return make_config(
        make_model(ONE, make_deployment(provider, model=ONE, price=price)),
        make_model("other", make_deployment(provider, model="other", price=price)),
        {"name": AUTO, "auto": {"models": [ONE, "other"]}},
        *(
            group(strategy, {"strategy": strategy} | ({"custom": custom} if strategy == "custom" else {}))
            for strategy in get_args(Strategy)
        ),
        group(ADAPTIVE, {"overload": {"adaptive": True, "initial": 1000}}),
        tiers,
        group(BOUND, {}, region="eu-west-1"),
        routing={"boundaries": [{"when": {"key.alias": "nobody"}, "regions": ["eu-west-1"]}]},
        server={"threads": 1},
    )


def measure(gateway: Gateway, key: Key, model: str, seconds: float) -> float:
    """µs of CPU per request. A body of the generator's preset is 1 KiB."""
    before = cpu_seconds(gateway.child.pid)
    run = generator(
        gateway, key, f"strategy-{model}", "--connections", "32", "--duration",
        f"{seconds * 1000:.0f}ms", "--model", model,
    ).start()  # fmt: skip
    report = run.report(seconds + 60)
    spent: float = cpu_seconds(gateway.child.pid) - before
    return spent / int(report["sent"]) * 1e6


def rounds(gateway: Gateway, names: list[str], count: int, seconds: float) -> dict[str, list[float]]:
    """µs per request by model, round by round. What else the machine does meets all alike."""
    key = gateway.mint(rpm_limit=1_000_000_000, tpm_limit=1_000_000_000_000)
    for model in (ONE, *names):
        tell(f"warm  {model:18} {measure(gateway, key, model, WARM_S):6.1f} µs")
    found: dict[str, list[float]] = {model: [] for model in (ONE, *names)}
    for turn in range(count):
        for model, values in found.items():
            values.append(measure(gateway, key, model, seconds))
            tell(f"{turn + 1}/{count}   {model:18} {values[-1]:6.1f} µs  {values[-1] - found[ONE][-1]:+5.1f}")
    return found


def tell(line: str) -> None:
    """How far it has come."""
    print(line, file=sys.stderr, flush=True)


def report(found: dict[str, list[float]]) -> bool:
    """Prints each model beside the one deployment; whether all are within their bars."""
    print(f"{ONE:18} {statistics.median(found[ONE]):6.1f} µs")
    good = True
    for model, values in found.items():
        if model == ONE:
            continue
        more = sorted(value - one for value, one in zip(values, found[ONE], strict=True))
        median, bar = statistics.median(more), AUTO_BAR_US if model == AUTO else BAR_US
        good &= median <= bar
        spread = f"({more[0]:+.1f} to {more[-1]:+.1f})"
        verdict = "held" if median <= bar else "missed"
        print(
            f"{model:18} {statistics.median(values):6.1f} µs  {median:+5.1f} {spread}  +{bar:.0f}: {verdict}"
        )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="two rounds of a second")
    parser.add_argument("--only", default=",".join(NAMES), help=f"some of {', '.join(NAMES)}")
    options = parser.parse_args()
    names = options.only.split(",")
    count, seconds = (2, 1.0) if options.short else (options.rounds, options.seconds)
    if unknown := set(names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "gateway").mkdir()
        (directory / "gateway" / "bench_strategy.py").write_text(PLUGIN)
        with (
            MockProvider(directory / "provider") as provider,
            Gateway(directory / "gateway", config(provider)) as gateway,
        ):
            found = rounds(gateway, names, count, seconds)
    sys.exit(0 if report(found) else 1)


if __name__ == "__main__":
    main()
