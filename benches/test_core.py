"""Micro budgets of what Python calls in `ailink._core`, by pytest-benchmark.

Each bar is what design and docs promise on a quiet core; the assertion lets a shared machine be SLACK times
slower, and takes the minimum of many rounds, which neighbours disturb least.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ailink import _core
from benches.gateway import payload

SLACK = 2.5
NANOSECOND = 1e-9
CALLS = 1000
PEPPER = bytes(range(32))
KEY = "sk-0123456789abcdef0123456789abcdef0123456789abcdef"


def fastest(benchmark: BenchmarkFixture, call: Callable[..., Any], *arguments: object) -> float:
    """Seconds of one call, the best of many rounds."""
    benchmark.pedantic(call, args=arguments, rounds=50, iterations=CALLS, warmup_rounds=3)
    return float(benchmark.stats.stats.min)


def within(seconds: float, bar: float) -> None:
    """Assert a time against its bar with the slack of a shared machine."""
    assert seconds <= bar * SLACK, (
        f"{seconds / NANOSECOND:.0f} ns, the bar is {bar / NANOSECOND:.0f} ns (× {SLACK})"
    )


@pytest.fixture(autouse=True)
def release_build() -> None:
    """A debug build is not worth a figure."""
    if _core.build_profile() != "release":
        pytest.skip(f"benches judge the release build, this is {_core.build_profile()!r}: make bench")


def test_crossing(benchmark: BenchmarkFixture) -> None:
    """A call that does nothing: the price of the boundary."""
    within(fastest(benchmark, _core.noop), 100 * NANOSECOND)


def test_scan_small(benchmark: BenchmarkFixture) -> None:
    """The offset scan of a 1 KiB chat request."""
    within(fastest(benchmark, _core.scan_chat, payload.chat("gpt-4o-mini", payload.SMALL)), 600 * NANOSECOND)


def test_scan_large(benchmark: BenchmarkFixture) -> None:
    """The offset scan of a 16 KiB chat request with 11 messages."""
    within(fastest(benchmark, _core.scan_chat, payload.chat("gpt-4o-mini", payload.LARGE)), 6000 * NANOSECOND)


def test_key_digest(benchmark: BenchmarkFixture) -> None:
    """SHA-256 of the key, then the peppered HMAC: what identifying a caller costs beside the look-up."""
    within(fastest(benchmark, _core.key_digest, PEPPER, KEY), 700 * NANOSECOND)


def test_window(benchmark: BenchmarkFixture) -> None:
    """One check of a rate limit, with the crossing that the data plane itself does not pay."""
    window = _core.Window(1_000_000_000, 60_000_000_000)
    clock = iter(range(10**9, 10**18, 1000))
    within(fastest(benchmark, lambda: window.try_take(next(clock), 1)), (60 + 100 + 100) * NANOSECOND)


def test_events(benchmark: BenchmarkFixture) -> None:
    """Decoding server-sent events: 1 GB/s."""
    event = b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"a"}}]}\n\n'
    stream = event * 1000
    benchmark.pedantic(_core.count_events, args=(stream,), rounds=50, iterations=20, warmup_rounds=3)
    assert _core.count_events(stream) == 1000
    within(float(benchmark.stats.stats.min), len(stream) * NANOSECOND)


def test_counting_tokens(benchmark: BenchmarkFixture) -> None:
    """Exact o200k counts of prose in Markdown: at least 45 MB a second."""
    pages = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
    text = "".join(page.read_text() for page in pages)
    body = msgspec.json.encode({"text": text})
    _core.count_tokens(body, "o200k_base")
    benchmark.pedantic(
        _core.count_tokens, args=(body, "o200k_base"), rounds=20, iterations=1, warmup_rounds=2
    )
    within(float(benchmark.stats.stats.min), len(text.encode()) / 45e6)
