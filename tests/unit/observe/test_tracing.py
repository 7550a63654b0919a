"""Spans made of what the data plane tells, and how they are sent."""

import asyncio
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ailink.config.process import Observe, Otlp, faults
from ailink.config.routing import decision
from ailink.config.secret import Secret
from ailink.config.units import Share
from ailink.observe import spans, tracing
from ailink.observe.spans import Attempt, Owners, Request, Told
from ailink.observe.tracing import Assembler, Exporter, Outcome, address

ID = "0123456789abcdef0123456789abcdef"
OTLP = Otlp(endpoint="http://127.0.0.1:4318")


def request(number: int = 1, **more: Any) -> Request:
    values: dict[str, Any] = {
        "request_id": f"req_{number:032x}", "trace_id": ID, "span_id": f"{number:016x}", "parent_id": None,
        "start_us": 1_000, "duration_us": 500, "status": 200, "error": None, "operation": "messages",
        "dialect": "anthropic", "stream": False, "attempts": 1, "cache": "", "models": ("m",),
        "deployment": "d", "provider": "xai", "provider_model": "up", "chosen": 2 << 8 | 1,
        "deployments": 3, "owners": Owners(key="k"),
    }  # fmt: skip
    return Request(**(values | more))


def attempt(request_number: int = 1, number: int = 1, **more: Any) -> Attempt:
    values: dict[str, Any] = {
        "request_id": f"req_{request_number:032x}", "trace_id": ID, "span_id": f"{number:016x}",
        "parent_id": f"{request_number:016x}", "start_us": 1_100, "duration_us": 300, "ttft_us": 0,
        "number": number, "flags": 0, "source": 0, "status": 200, "outcome": "success",
        "operation": "messages", "model": "m", "deployment": "d", "provider": "xai", "provider_model": "up",
        "input": 3, "output": 4, "cache_read": 0, "cache_write": 0, "reasoning": 0, "cost_pico": 1_500_000,
        "owners": Owners(key="k"),
    }  # fmt: skip
    return Attempt(**(values | more))


def attributes(span: spans.Span) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in span["attributes"]}


def test_names_are_those_of_the_conventions() -> None:
    span = spans.of_request(request(), [attempt()], [])
    found = attributes(span)
    assert span["name"] == "chat m"
    assert (found["gen_ai.operation.name"], found["gen_ai.provider.name"]) == ("chat", "x_ai")
    assert found["ailink.cost_usd"] == "0.0000015"
    assert found["gen_ai.usage.input_tokens"] == "3"
    assert "error.type" not in found
    assert span["endTimeUnixNano"] == "1500000"


def test_a_stream_ends_as_its_attempt_does() -> None:
    told = attempt(duration_us=90_000, outcome="connection_lost")
    span = spans.of_request(request(stream=True), [told], [])
    assert span["endTimeUnixNano"] == "91100000"
    assert attributes(span)["error.type"] == "connection_lost"
    assert span["status"] == {"code": spans.ERROR}


def test_what_a_caller_did_wrong_is_no_error_of_the_gateway() -> None:
    wrong = spans.of_request(request(status=404, error="model_not_found", models=(), attempts=0), [], [])
    assert (wrong["name"], wrong["status"]) == ("chat", {})
    ours = spans.of_request(
        request(status=502, error="upstream_status"), [attempt(outcome="server_error")], []
    )
    assert ours["status"] == {"code": spans.ERROR}


@pytest.mark.parametrize(
    ("told", "before", "reason"),
    [
        (attempt(), None, "first"),
        (attempt(number=2), attempt(), "retry"),
        (attempt(number=2, deployment="e"), attempt(), "failover"),
        (attempt(number=2, deployment="e", model="n"), attempt(), "fallback"),
        (attempt(number=2, flags=spans.HEDGE), attempt(), "hedge"),
        (attempt(number=3), None, "retry"),
    ],
)
def test_why_an_attempt_was_made(told: Attempt, before: Attempt | None, reason: str) -> None:
    assert attributes(spans.of_attempt(told, before))["ailink.attempt.reason"] == reason


def test_a_request_waits_for_its_attempts() -> None:
    assembler = Assembler()
    assert assembler.take(Told([request(attempts=2)], [], 0), 0) == []
    assert assembler.over(5) == []
    first, second = assembler.take(Told([], [attempt(number=2), attempt()], 0), 6)
    assert attributes(first)["ailink.attempt.number"] == "1"
    assert attributes(second)["ailink.attempt.reason"] == "retry"
    assert assembler.over(6.5) == []
    [one] = assembler.over(7.1)
    assert (one.request, len(one.attempts)) == (request(attempts=2), 2)
    assert assembler.over(100) == []


def test_what_does_not_come_is_not_waited_for_for_ever() -> None:
    assembler = Assembler()
    assembler.take(Told([request(1, attempts=2), request(2, stream=True)], [attempt(3)], 0), 0)
    assert len(assembler.over(20)) == 2
    assert assembler.over(7_000) == []
    assert len(assembler.over(7_201)) == 1


def test_no_more_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_OPEN", 2)
    assembler = Assembler()
    assembler.take(Told([request(number) for number in range(5)], [], 0), 0)
    assert [one.request.request_id[-1] for one in assembler.over(0) if one.request] == ["0", "1", "2"]
    assert len(assembler.over(0, everything=True)) == 2


class Plane:
    def __init__(self, *told: Told) -> None:
        self.told = list(told)
        self.shares: list[int | None] = []

    def set_tracing(self, share: int | None) -> None:
        self.shares.append(share)

    def take_traces(self) -> bytes:
        return msgspec.msgpack.encode(self.told.pop(0) if self.told else Told([], [], 0))


class Posts:
    """Answers with these, then with the last for ever."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.bodies: list[list[dict[str, Any]]] = []

    def __call__(self, otlp: Otlp, body: bytes, timeout_s: float) -> Outcome:
        self.bodies.append(json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"])
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


GOOD = Outcome(good=True)
AWAY = Outcome(good=False, again=True, text="away")


async def run(monkeypatch: pytest.MonkeyPatch, posts: Posts, plane: Plane, count: int) -> Counter[str]:
    """What became of so many spans, and of those that a stop finds."""
    monkeypatch.setattr(tracing, "post", posts)
    monkeypatch.setattr(tracing, "EVERY_S", 0.01)
    monkeypatch.setattr(tracing, "HOLD_S", 0.0)
    counts: Counter[str] = Counter()

    async def verdicts(ids: Any) -> dict[bytes, list[Any]]:
        verdict = SimpleNamespace(
            at_us=5, policy=1, rule="r", label="l", action="deny", shadow=0, side="pre", matches=1
        )
        return {raw: [verdict] for raw in ids}

    exporter = Exporter(
        plane, verdicts, lambda result, count: counts.update({result: count}), {}, waits=(0.01, 0.01)
    )
    exporter.use(OTLP)
    async with asyncio.timeout(20):
        while counts.total() < count:  # noqa: ASYNC110 - it is told by a call
            await asyncio.sleep(0.01)
    await exporter.stop()
    return counts


async def test_batches_come_again_until_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    posts, plane = Posts(AWAY, AWAY, GOOD), Plane(Told([request()], [attempt()], 7))
    counts = await run(monkeypatch, posts, plane, 9)
    assert counts == {"sent": 2, "dropped": 7}
    assert posts.bodies[0] == posts.bodies[1] == posts.bodies[2]
    [event] = next(span for body in posts.bodies for span in body if span["kind"] == spans.SERVER)["events"]
    assert attributes(event)["ailink.verdict.kind"] == "policy"
    assert plane.shares == [1_000_000]


async def test_they_are_given_up_after_some_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    posts = Posts(AWAY)
    assert await run(monkeypatch, posts, Plane(Told([], [attempt()], 0)), 1) == {"failed": 2}
    posts = Posts(Outcome(good=False, text="no"))
    assert await run(monkeypatch, posts, Plane(Told([], [attempt()], 0)), 1) == {"failed": 2}
    assert [len(body) for body in posts.bodies] == [1, 1]


async def test_what_a_collector_did_not_take_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    posts = Posts(Outcome(good=True, rejected=1))
    counts = await run(monkeypatch, posts, Plane(Told([request(2, attempts=0)], [], 0)), 1)
    assert counts["failed"] == 1
    assert counts["sent"] == 0


async def test_a_full_queue_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 3)
    told = Told([], [attempt(1, number) for number in range(1, 11)], 0)
    counts = await run(monkeypatch, Posts(GOOD), Plane(told), 10)
    assert counts["dropped"] >= 7
    assert counts["sent"] + counts["dropped"] == 11


def test_addresses() -> None:
    for endpoint, expected in {
        "http://c:4318": "http://c:4318/v1/traces",
        "http://c:4318/": "http://c:4318/v1/traces",
        "https://c/otlp/v1/traces": "https://c/otlp/v1/traces",
        "https://c/otlp?tenant=1": "https://c/otlp/v1/traces?tenant=1",
    }.items():
        assert address(endpoint) == expected


def test_shares_are_exact() -> None:
    assert str(Share(1_000_000)) == "1"
    assert str(Share(50_000)) == "0.05"


@pytest.mark.parametrize(
    ("otlp", "at"),
    [
        (Otlp(endpoint="ftp://c"), "endpoint"),
        (Otlp(endpoint="http://"), "endpoint"),
        (Otlp(endpoint="http://user:word@c"), "endpoint"),
        (Otlp(endpoint="http://c", headers={"a b": Secret("x")}), "headers"),
        (Otlp(endpoint="http://c", headers={"a": Secret("x\ny")}), "headers"),
    ],
)
def test_faults_of_the_file(otlp: Otlp, at: str) -> None:
    [(path, _)] = faults(Observe(otlp=otlp))
    assert path[2] == at
    assert list(faults(Observe(otlp=OTLP))) == []
    assert list(faults(Observe())) == []


def test_decisions_of_the_ledger() -> None:
    assert decision(0) == (None, None)
    assert decision(1 << 8) == (None, 1)
    assert decision(3 << 8 | 1) == ("shuffle", 3)
    assert decision(255 << 8 | 9) == ("custom", 255)
    # Of a later version.
    assert decision(2 << 8 | 99) == (None, 2)
