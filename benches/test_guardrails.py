"""Guardrail bars: words and personal data on 1 KiB (W7), all presets on 16 KiB, an event of a stream, 10,000
rules compiled, and not compiled again.
"""

import time

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ailink import _core
from ailink.guard import load, presets
from ailink.snapshot import model as wire
from benches.gateway import payload

SLACK = 3.0
MICROSECOND = 1e-6


def pattern(label: str, **what: object) -> wire.Pattern:
    plain: dict[str, object] = {
        "regex": None,
        "words": [],
        "whole": True,
        "ignore_case": False,
        "validator": None,
    }
    return msgspec.convert({"label": label, **plain, **what}, wire.Pattern)


def trial(patterns: list[wire.Pattern], *, output: bool = False) -> bytes:
    rule = wire.Guardrail(
        name="r", input=True, output=output, action="block", shadow=False, fails_closed=True,
        stream="window", normalise=[], checks=None, keeps_s=0,
        patterns=patterns,
    )  # fmt: skip
    return msgspec.msgpack.encode(wire.GuardTrial(guardrails=[rule], text="", output=output))


def of_presets(*names: str) -> list[wire.Pattern]:
    return [
        pattern(
            found.label,
            regex=found.regex,
            words=list(found.words),
            ignore_case=found.ignore_case,
            validator=found.validator,
        )
        for found in presets.patterns(names)
    ]


def words(count: int) -> wire.Pattern:
    return pattern("WORD", words=[f"word{number * 7919:x}" for number in range(count)], ignore_case=True)


def judged(benchmark: BenchmarkFixture, patterns: list[wire.Pattern], body: bytes, bar: float) -> None:
    if _core.build_profile() != "release":
        pytest.skip("benches judge the release build: make bench")
    compiled = _core.GuardSet(trial(patterns))
    assert compiled.judge(body) == 0
    benchmark.pedantic(compiled.judge, args=(body,), rounds=50, iterations=100, warmup_rounds=3)
    assert float(benchmark.stats.stats.min) <= bar * SLACK


def test_words_and_personal_data_on_1_kib(benchmark: BenchmarkFixture) -> None:
    body = payload.chat("gpt-4o-mini", payload.SMALL)
    judged(benchmark, [words(500), *of_presets("pii", "pii_national")], body, 4 * MICROSECOND)


def test_all_presets_on_16_kib(benchmark: BenchmarkFixture) -> None:
    body = payload.chat("gpt-4o-mini", payload.LARGE)
    judged(benchmark, of_presets(*load()), body, 60 * MICROSECOND)


def chunks(count: int) -> list[bytes]:
    """A stream of words, an event each."""
    said = ["the", "river", "bends", "behind", "that", "hill"] * (count // 6 + 1)
    event = (
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,'
        '"model":"gpt-4o-mini",'
        '"choices":[{"index":0,"delta":{"content":"%s "},"finish_reason":null}]}\n\n'
    )
    return [(event % word).encode() for word in said[:count]]


def test_an_event_of_a_stream(benchmark: BenchmarkFixture) -> None:
    if _core.build_profile() != "release":
        pytest.skip("benches judge the release build: make bench")
    packets = chunks(200)
    compiled = _core.GuardSet(trial(of_presets("pii"), output=True))
    assert compiled.stream(packets) == sum(map(len, packets))
    benchmark.pedantic(compiled.stream, args=(packets,), rounds=50, iterations=20, warmup_rounds=3)
    assert float(benchmark.stats.stats.min) / len(packets) <= 1.5 * MICROSECOND * SLACK


def ten_thousand() -> bytes:
    return trial(
        [pattern(f"R{number}", regex=rf"\bproject-{number}-[0-9]{{4}}\b") for number in range(10_000)]
    )


def test_ten_thousand_rules_are_compiled_in_two_seconds() -> None:
    rules = ten_thousand()
    began = time.perf_counter()
    compiled = _core.GuardSet(rules)
    took = time.perf_counter() - began
    print(f"10,000 rules compiled in {took:.2f} s")
    assert took < 2 * SLACK
    assert compiled.judge(b'{"text": "about project-77-1234"}') == 1


def test_what_is_published_again_is_not_compiled_again() -> None:
    rules = ten_thousand()
    began = time.perf_counter()
    compiled = _core.GuardSet(rules)
    first = time.perf_counter() - began
    began = time.perf_counter()
    again = _core.GuardSet(rules)
    second = time.perf_counter() - began
    print(f"10,000 rules published again in {second * 1e3:.0f} ms, {first / second:.0f} times as fast")
    assert second < first / 2
    assert compiled.judge(b"{}") == again.judge(b"{}") == 0
