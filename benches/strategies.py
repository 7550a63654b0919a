"""What routing costs: CPU time of the gateway per request with 100 deployments under every strategy, with
breakers and limits on, beside a model of one deployment.

`python -m benches.strategies [--seconds 3] [--rounds 3]`. The bar is 2 µs more than one deployment.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any, get_args

from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model
from tests.promises.generator import generator

from ailink.config.routing import Strategy

DEPLOYMENTS = 100
ONE = "one"
ADAPTIVE = "shuffle-adaptive"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def config(provider: MockProvider) -> dict[str, Any]:
    """One model per strategy over 100 deployments, and one of a single deployment."""
    price = {"input_per_million": 1, "output_per_million": 2}

    def group(name: str, routing: dict[str, Any]) -> dict[str, Any]:
        many = [
            make_deployment(provider, model=f"{name}-{n}", weight=n % 5 + 1, price=price, tpm=10_000_000 + n)
            for n in range(DEPLOYMENTS)
        ]
        return make_model(name, *many, routing=routing, retries=2)

    return make_config(
        make_model(ONE, make_deployment(provider, model=ONE, price=price)),
        *(group(strategy, {"strategy": strategy}) for strategy in get_args(Strategy)),
        group(ADAPTIVE, {"overload": {"adaptive": True, "initial": 1000}}),
        server={"threads": 1},
    )


def measure(gateway: Gateway, key: Key, model: str, seconds: int) -> float:
    """µs of CPU per request."""
    before = cpu_seconds(gateway.child.pid)
    run = generator(
        gateway, key, f"strategy-{model}", "--connections", "32", "--duration", f"{seconds}s",
        "--model", model,
    ).start()  # fmt: skip
    report = run.report(seconds + 60)
    spent: float = cpu_seconds(gateway.child.pid) - before
    return spent / int(report["sent"]) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = [ONE, *get_args(Strategy), ADAPTIVE]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            MockProvider(directory / "provider") as provider,
            Gateway(directory / "gateway", config(provider)) as gateway,
        ):
            key = gateway.mint(rpm_limit=1_000_000_000, tpm_limit=1_000_000_000_000)
            found: dict[str, list[float]] = {model: [] for model in names}
            for model in names:
                measure(gateway, key, model, 1)
            # In turns, so that what else the machine does meets all alike.
            for _ in range(options.rounds):
                for model in names:
                    found[model].append(measure(gateway, key, model, options.seconds))
    one = statistics.median(found[ONE])
    for model in names:
        us = statistics.median(found[model])
        print(f"{model:18} {us:6.1f} µs  {us - one:+5.1f}")


if __name__ == "__main__":
    main()
