"""The choice of a model that stands for others: by rules at most 50 µs for a prompt of 1 KiB, by the nearest
among 10,000 prompts of 256 numbers at most 150 µs. Both with the crossing that the data plane does not pay.
"""

import hashlib
import json
import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ailink import _core

SLACK = 2.5
MICROSECOND = 1e-6
PROMPTS, NUMBERS = 10_000, 256
TEXT = "Explain how a queue with priorities differs from one without, and prove it. " * 13
BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": TEXT}]}).encode()


@pytest.fixture(autouse=True)
def release_build() -> None:
    """A debug build is not worth a figure."""
    if _core.build_profile() != "release":
        pytest.skip(f"benches judge the release build, this is {_core.build_profile()!r}: make bench")


def within(seconds: float, bar: float) -> None:
    """Assert a time against its bar with the slack of a shared machine."""
    assert seconds <= bar * SLACK, (
        f"{seconds / MICROSECOND:.1f} µs, the bar is {bar / MICROSECOND:.0f} µs (× {SLACK})"
    )


def neighbours() -> bytes:
    """A trained router as `ailink router train --kind knn` writes it: vectors and three qualities each."""
    header = json.dumps(
        {"name": "b", "version": "1", "kind": "knn", "features": 1, "models": ["a", "b", "c"],
         "costs": [1, 2, 3], "margin": 0.1, "k": 16, "vectors": PROMPTS}
    ).encode()  # fmt: skip
    body = random.Random(1).randbytes(PROMPTS * (NUMBERS + 3)).replace(b"\xff", b"\xfa")
    file = b"AILROUTE" + (1).to_bytes(4, "little") + len(header).to_bytes(4, "little") + header + body
    return file + hashlib.sha256(file).digest()


def test_rules(benchmark: BenchmarkFixture) -> None:
    """Reading a prompt of 1 KiB, its features and its complexity."""
    benchmark.pedantic(_core.router_features, args=(BODY,), rounds=50, iterations=200, warmup_rounds=3)
    within(float(benchmark.stats.stats.min), 50 * MICROSECOND)


def test_nearest_prompts(benchmark: BenchmarkFixture) -> None:
    """What 10,000 prompts say about one, exactly."""
    router = _core.Router(neighbours())
    dense, vector, _ = _core.router_features(BODY)
    benchmark.pedantic(router.choose, args=(dense, vector, 1), rounds=50, iterations=20, warmup_rounds=3)
    within(float(benchmark.stats.stats.min), 150 * MICROSECOND)
