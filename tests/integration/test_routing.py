"""Which deployment answers, what happens when one does not, and what each attempt costs."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    hasty,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)

FIRST = 1_000_000
"""A weight that is drawn first, for all that tests can tell."""
SHORT = {"connect": "400ms", "first_byte": "400ms", "idle": "400ms", "total": "20s"}
FAILURES = {
    "500": "status=500", "502": "status=502", "503": "status=503", "529": "status=529", "429": "status=429",
    "408": "status=408", "401": "status=401", "403": "status=403", "429-later": "status=429;retry_after=9",
    "reset": "drop=reset", "close": "drop=close", "stall": "drop=stall", "slow-head": "slow_head=30s",
}  # fmt: skip
FINAL = {"400": "status=400", "404": "status=404", "413": "status=413", "422": "status=422"}


@pytest.fixture(scope="module")
def black_hole() -> Iterator[str]:
    """An address that takes no connection: its queue is full and nobody accepts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            attempt = socket.socket()
            attempt.setblocking(False)
            attempt.connect_ex(listener.getsockname())
            waiting.append(attempt)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for attempt in waiting:
            attempt.close()


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, black_hole: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def at(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, **settings)

    def claude(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, dialect="anthropic", **settings)

    def pair(name: str, script: str) -> list[dict[str, Any]]:
        """A failing deployment that is asked first and a good one, in either dialect."""
        openai = make_model(
            name,
            at(script, id=f"{name}-bad", model="bad", weight=FIRST, timeouts=hasty(script)),
            at(id=f"{name}-good", model="good"),
            retries=1,
        )
        anthropic = make_model(
            f"{name}-a",
            claude(script, id=f"{name}-bad-a", model="bad", weight=FIRST, timeouts=hasty(script)),
            claude(id=f"{name}-good-a", model="good"),
            retries=1,
        )
        return [openai, anthropic]

    refused = "http://127.0.0.1:9"
    config = make_config(
        make_model("weighted", at(model="three", weight=3), at(model="one"), at(model="half", weight=4)),
        *(model for name, script in {**FAILURES, **FINAL}.items() for model in pair(f"fail-{name}", script)),
        make_model("refused", make_deployment(refused, weight=FIRST), at(model="good"), retries=1),
        make_model(
            "unreachable",
            make_deployment(black_hole, weight=FIRST, timeouts=SHORT),
            at(model="good"),
            retries=1,
        ),
        make_model(
            "nobody", make_deployment(refused), make_deployment(black_hole, timeouts=SHORT), retries=1
        ),
        make_model("third-time", at("fail_first=2;id=third-time"), retries=2),
        make_model("never", at("status=500;error_message=never"), retries=2),
        make_model("never-silent", at("drop=stall", timeouts=SHORT), retries=1),
        make_model("never-reset", at("drop=reset"), retries=1),
        make_model("patient", at("fail_first=1;id=patient;status=429;retry_after=1"), retries=1),
        make_model("impatient", at("status=429;retry_after=60"), retries=2),
        make_model("unhurried", at("status=429;retry_after=9", weight=FIRST), at(model="good"), retries=1),
        make_model("storm", at("status=429", model="storm-1"), at("status=429", model="storm-2"), retries=2),
        make_model("chain", at("status=500", model="chain"), fallbacks=["chain-2", "chain-3"]),
        make_model("chain-2", at("status=503", model="chain-2"), fallbacks=["chain-3"]),
        make_model("chain-3", at(model="chain-3")),
        make_model("web", at("status=500", model="web"), fallbacks=["web-2", "web-3"]),
        make_model("web-2", at("status=502", model="web"), fallbacks=["web-3"]),
        make_model("web-3", at("status=503", model="web")),
        make_model("other-dialect", at("status=500"), fallbacks=["claude-only", "chain-3"]),
        make_model("claude-only", claude()),
        make_model("html", at("status=503;body=html")),
        make_model("garbage", at("status=500;body=garbage")),
        make_model("empty", at("status=500;body=empty")),
        make_model("says", at("status=422;error_message=caf%C3%A9 %22x%22;error_type=t;error_code=c")),
        make_model("mid-reset", at("reset_at_event=2", weight=FIRST), at(model="good"), retries=2),
        make_model("mid-close", at("close_at_event=2", weight=FIRST), at(model="good"), retries=2),
        make_model(
            "mid-stall",
            at("stall_at_event=2", weight=FIRST, timeouts=hasty("stall_at_event=2")),
            at(model="good"),
            retries=2,
        ),
        make_model("mid-error", at("error_at_event=2", weight=FIRST), at(model="good"), retries=2),
        make_model("mid-claude", claude("reset_at_event=2", weight=FIRST), claude(model="good"), retries=2),
        make_model("endless", at("events=100000;gap=20ms", timeouts={"total": "1500ms"})),
        make_model("idle-close", at("idle_close=5ms", model="idle-close")),
        make_model("hang-up", at("hangup_next", model="hang-up"), retries=1),
        make_model("plain", at()),
        server={"threads": 2},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=key.bearer)


def ask_claude(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/messages", json=message(model, **more), headers=key.bearer)


# ── choice ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_weights(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark, count = provider.mark(), 400
    in_parallel(lambda _: ask(gateway, key, "weighted").raise_for_status(), range(count), threads=8)
    asked = Counter(seen.json()["model"] for seen in provider.requests(mark))
    assert asked.total() == count
    for name, share in {"three": 3 / 8, "one": 1 / 8, "half": 4 / 8}.items():
        deviation = (count * share * (1 - share)) ** 0.5
        assert abs(asked[name] - count * share) < 5 * deviation, asked


# ── failover before the first byte ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_failover(gateway: Gateway, key: Key, provider: MockProvider, failure: str, dialect: str) -> None:
    mark = provider.mark()
    send = ask if dialect == "openai" else ask_claude
    suffix = "" if dialect == "openai" else "-a"
    answer = send(gateway, key, f"fail-{failure}{suffix}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ailink-attempts"] == "2"
    assert answer.headers["x-ailink-deployment"] == f"fail-{failure}-good{suffix}"
    assert len(provider.requests(mark)) == 2
    first, second = gateway.attempts_of(answer.headers["x-request-id"], 2)
    assert (first["attempt_no"], second["attempt_no"]) == (1, 2)
    assert (first["model_id"], second["model_id"]) == (
        f"fail-{failure}-bad{suffix}", f"fail-{failure}-good{suffix}",
    )  # fmt: skip
    assert (first["status"], second["status"]) == ("failure", "success")
    if failure[:3].isdigit():
        # A refusal is the provider's word that nothing was done.
        assert (first["source"], first["status_code"]) == ("reported", int(failure[:3]))
        assert first["completion_tokens"] == first["prompt_tokens"] == 0
    else:
        assert (first["source"], first["status_code"]) == ("estimated", 0)
    assert first["outcome"] == {
        "429": "rate_limited", "429-later": "rate_limited", "401": "client_error", "403": "client_error",
        "reset": "connection_lost", "close": "connection_lost", "stall": "timeout", "slow-head": "timeout",
    }.get(failure, "server_error")  # fmt: skip


@pytest.mark.parametrize("failure", ["500", "reset", "stall"])
def test_failover_of_a_stream(gateway: Gateway, key: Key, failure: str) -> None:
    answer = ask(gateway, key, f"fail-{failure}", stream=True)
    events = events_of(answer.content)
    assert events[-1].done
    assert sum(bool(event.json()["choices"][0]["delta"].get("content")) for event in events[:-1]) == 64


@pytest.mark.parametrize("failure", FINAL)
def test_no_second_try_of_a_bad_request(
    gateway: Gateway, key: Key, provider: MockProvider, failure: str
) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, f"fail-{failure}")
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (int(failure), "1")
    assert len(provider.requests(mark)) == 1
    assert len(gateway.attempts_of(answer.headers["x-request-id"])) == 1


@pytest.mark.parametrize("model", ["refused", "unreachable"])
def test_what_was_not_sent_has_no_row(gateway: Gateway, key: Key, provider: MockProvider, model: str) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, model)
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (200, "1")
    assert len(provider.requests(mark)) == 1
    rows = gateway.attempts_of(answer.headers["x-request-id"])
    assert [(row["attempt_no"], row["status"]) for row in rows] == [(1, "success")]


def test_nobody_can_be_reached(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "nobody")
    assert answer.status_code in {502, 504}
    assert answer.json()["error"]["code"] == "upstream_connect_failed"
    assert "x-ailink-attempts" not in answer.headers
    assert gateway.spend_logs(request_id=answer.headers["x-request-id"]) == []
    assert ask_claude(gateway, key, "nobody").status_code in {502, 504}


# ── retries ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_retries_at_the_same_deployment(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "third-time")
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (200, "3")
    assert [seen.status for seen in provider.requests(mark)] == [500, 500, 200]
    rows = gateway.attempts_of(answer.headers["x-request-id"], 3)
    assert [(row["attempt_no"], row["status_code"]) for row in rows] == [(1, 500), (2, 500), (3, 200)]


def test_the_last_error_is_passed_on(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "never")
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (500, "3")
    assert answer.json()["error"]["message"] == "never"
    assert len(provider.requests(mark)) == 3


def test_retry_after_is_waited_for(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "patient")
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (200, "2")
    first, second = provider.requests(mark)
    assert second.received_ns - first.received_ns >= 10**9


def test_a_long_retry_after_is_the_callers_to_wait_for(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "impatient")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert len(provider.requests(mark)) == 1


def test_another_deployment_is_not_waited_for(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    ask(gateway, key, "unhurried").raise_for_status()
    first, second = provider.requests(mark)
    assert second.received_ns - first.received_ns < 5 * 10**9


def test_retries_do_not_make_storms(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    requests = 400
    mark, retries = provider.mark(), gateway.metric("ailink_retries_total")
    answers = in_parallel(lambda _: ask(gateway, key, "storm"), range(requests), threads=8)
    assert {answer.status_code for answer in answers} == {429}
    sent = len(provider.requests(mark))
    # Providers that ask to be left alone are, and the caller is told for how long.
    assert 2 <= sent <= requests / 4
    assert gateway.metric("ailink_retries_total") - retries <= sent
    early = [a for a in answers if "x-ailink-attempts" not in a.headers]
    assert len(early) >= requests / 2
    assert {a.json()["error"]["code"] for a in early} == {"rate_limit_exceeded"}
    assert all(0 < int(a.headers["retry-after"]) <= 60 for a in early)
    assert all("storm-1" not in a.text and "rate_limited" in a.text for a in early)
    until(lambda: len([row for row in gateway.spend_logs() if row["model_group"] == "storm"]) == sent)


# ── fallbacks ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
def test_fallback_chain(gateway: Gateway, key: Key, provider: MockProvider, stream: bool) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "chain", stream=stream)
    assert answer.status_code == 200
    assert answer.headers["x-ailink-model"] == "chain-3"
    assert [seen.json()["model"].split("?")[0] for seen in provider.requests(mark)] == [
        "chain", "chain-2", "chain-3",
    ]  # fmt: skip
    rows = gateway.attempts_of(answer.headers["x-request-id"], 3)
    assert [(row["attempt_no"], row["model_group"], row["status_code"]) for row in rows] == [
        (1, "chain", 500), (2, "chain-2", 503), (3, "chain-3", 200),
    ]  # fmt: skip


def test_fallbacks_that_the_key_may_not_use(gateway: Gateway, provider: MockProvider) -> None:
    mark = provider.mark()
    key = gateway.mint(models=["chain", "chain-3"])
    answer = ask(gateway, key, "chain")
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "chain-3")
    assert len(provider.requests(mark)) == 2
    alone = gateway.mint(models=["chain"])
    assert ask(gateway, alone, "chain").status_code == 500


def test_no_fallback_is_asked_twice(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "web")
    assert answer.status_code == 503
    assert [seen.status for seen in provider.requests(mark)] == [500, 502, 503]


def test_a_fallback_may_speak_another_dialect(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "other-dialect")
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "claude-only")
    assert answer.json()["object"] == "chat.completion"


def test_a_fallback_counts_as_one_request_of_the_key(gateway: Gateway) -> None:
    key = gateway.mint(rpm_limit=2, max_parallel_requests=1)
    assert [ask(gateway, key, "chain").status_code for _ in range(3)] == [200, 200, 429]


# ── errors of providers ─────────────────────────────────────────────────────────────────────────────────────


def test_errors_pass_as_they_are(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    answer = ask(gateway, key, "says")
    assert answer.status_code == 422
    assert answer.json() == {"error": {"message": 'café "x"', "type": "t", "param": None, "code": "c"}}
    direct = httpx.post(
        f"{provider.url}/v1/chat/completions",
        json=chat("upstream-model?status=422;error_message=caf%C3%A9 %22x%22;error_type=t;error_code=c"),
    )
    assert answer.content == direct.content


@pytest.mark.parametrize(("model", "status"), [("html", 503), ("garbage", 500), ("empty", 500)])
def test_errors_without_shape_get_one(gateway: Gateway, key: Key, model: str, status: int) -> None:
    answer = ask(gateway, key, model)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_error")
    assert str(status) in error["message"]
    assert "'mock'" in error["message"]


# ── per-phase time-outs ─────────────────────────────────────────────────────────────────────────────────────


def test_first_byte_time_out(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "never-silent")
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (504, "2")
    assert answer.json()["error"]["code"] == "upstream_timeout"
    assert "0.4 s" in answer.json()["error"]["message"]
    rows = gateway.attempts_of(answer.headers["x-request-id"], 2)
    assert {(row["outcome"], row["source"]) for row in rows} == {("timeout", "estimated")}


def test_a_lost_connection(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "never-reset")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_connection_lost")
    rows = gateway.attempts_of(answer.headers["x-request-id"], 2)
    assert {(row["outcome"], row["source"]) for row in rows} == {("connection_lost", "estimated")}


def test_total_time_out_of_a_stream(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "endless", stream=True)
    events = events_of(answer.content)
    assert events[-1].done
    error = events[-2].json()["error"]
    assert (error["type"], error["code"]) == ("timeout_error", "upstream_timeout")
    assert until(lambda: provider.requests(mark)[0].end, "the provider is let go") == "client_gone"
    [row] = gateway.attempts_of(answer.headers["x-request-id"])
    assert (row["source"], row["outcome"]) == ("estimated", "timeout")
    delivered = sum(bool(event.json()["choices"][0]["delta"].get("content")) for event in events[:-2])
    assert row["completion_tokens"] == pytest.approx(delivered, abs=32)


# ── after the first token ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["mid-reset", "mid-close", "mid-stall", "mid-error"])
def test_no_failover_after_the_first_token(
    gateway: Gateway, key: Key, provider: MockProvider, model: str
) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, model, stream=True)
    assert answer.status_code == 200
    [seen] = provider.requests(mark)
    assert seen.json()["model"].startswith("upstream-model?")
    events = events_of(answer.content)
    texts = [
        event.json()["choices"][0]["delta"].get("content")
        for event in events
        if not event.done and event.data.startswith("{") and "choices" in event.json()
    ]
    assert [text for text in texts if text] == ["Gateways", " forwarding"]
    assert any('"error"' in event.data for event in events), answer.text
    [row] = gateway.attempts_of(answer.headers["x-request-id"])
    assert row["status"] == "failure"
    assert row["source"] == "estimated"
    assert row["completion_tokens"] >= 2


def test_no_failover_after_the_first_token_of_claude(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    answer = ask_claude(gateway, key, "mid-claude", stream=True)
    events = events_of(answer.content)
    assert len(provider.requests(mark)) == 1
    assert events[-1].name == "error"
    assert events[-1].json()["error"]["message"]
    assert events[-1].json()["request_id"] == answer.headers["x-request-id"]
    [row] = gateway.attempts_of(answer.headers["x-request-id"])
    # The provider had told the input at the start.
    assert (row["source"], row["completion_tokens"]) == ("estimated", 2)
    assert row["prompt_tokens"] == -(-len(provider.requests(mark)[0].body or "") // 4)


# ── connections that end ────────────────────────────────────────────────────────────────────────────────────


def test_connections_that_the_provider_closed(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    used = set()
    for _ in range(20):
        mark = provider.mark()
        answer = ask(gateway, key, "idle-close")
        assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (200, "1")
        [seen] = provider.requests(mark)
        assert seen.connection not in used
        used.add(seen.connection)
        # The provider closes five milliseconds after its answer, and the next request comes after that.
        end = seen.received_ns + 50_000_000
        until(lambda end=end: provider.stats()["monotonic_ns"] > end)  # type: ignore[misc]


def test_a_connection_that_dies_under_a_request(gateway: Gateway, key: Key) -> None:
    answers = [ask(gateway, key, "hang-up") for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}


# ── money ───────────────────────────────────────────────────────────────────────────────────────────────────


PRICES: dict[str, dict[str, str | float]] = {
    "usual": {"input_per_million": 0.15, "output_per_million": 0.6},
    "cached": {
        "input_per_million": 3, "output_per_million": 15,
        "cache_read_per_million": 0.3, "cache_write_per_million": 3.75,
    },
    "no-cache-price": {"input_per_million": 2.5, "output_per_million": 10},
    "per-request": {"per_request": 0.04},
    "halves": {"input_per_million": 0.0000005, "output_per_million": 0.0000005},
    "odd": {
        "input_per_million": 0.123456789012, "output_per_million": 9.876543210987,
        "per_request": 0.000000000001,
    },
    "huge": {"input_per_million": 1000, "output_per_million": 999.999999},
    "free": {"input_per_million": 0, "output_per_million": 0},
}  # fmt: skip
USAGES = [
    "usage=1:0", "usage=0:1", "usage=3:0", "usage=19:64", "usage=999983:1000003", "usage=0:0",
    "usage=100:50;cached=30", "usage=100:50;cached=100;reasoning=20", "usage=4000000000:4000000000",
]  # fmt: skip


def price_of(name: str, tokens: dict[str, int]) -> Fraction:
    """USD, rounded once to whole pico-USD, half to even."""
    price = {field: Fraction(str(value)) for field, value in PRICES[name].items()}
    entry = price.get("input_per_million", Fraction(0))
    total = (
        tokens["input"] * entry
        + tokens["output"] * price.get("output_per_million", Fraction(0))
        + tokens["cache_read"] * price.get("cache_read_per_million", entry)
        + tokens["cache_write"] * price.get("cache_write_per_million", entry)
    ) / 10**6 + price.get("per_request", 0)
    return Fraction(round(total * 10**12), 10**12)


def test_costs_are_exact(provider: MockProvider, tmp_path: Path) -> None:
    models = [
        make_model(f"{price}-{number}", make_deployment(provider, script),
                   make_deployment(provider, script, dialect="anthropic"), price=PRICES[price])
        for price in PRICES
        for number, script in enumerate(USAGES)
    ]  # fmt: skip
    with Gateway(tmp_path, make_config(*models)) as gateway:
        key = gateway.mint()

        def whole(model: str) -> tuple[str, Fraction]:
            answer = ask(gateway, key, model)
            usage = answer.json()["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            tokens = {
                "input": usage["prompt_tokens"] - cached, "output": usage["completion_tokens"],
                "cache_read": cached, "cache_write": 0,
            }  # fmt: skip
            cost = price_of(model.rsplit("-", 1)[0], tokens)
            assert Fraction(answer.headers["x-ailink-cost"]) == cost, (model, usage)
            return answer.headers["x-request-id"], cost

        def streamed(model: str) -> tuple[str, Fraction]:
            answer = ask(gateway, key, model, stream=True, stream_options={"include_usage": True})
            usage = events_of(answer.content)[-2].json()["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            tokens = {
                "input": usage["prompt_tokens"] - cached, "output": usage["completion_tokens"],
                "cache_read": cached, "cache_write": 0,
            }  # fmt: skip
            return answer.headers["x-request-id"], price_of(model.rsplit("-", 1)[0], tokens)

        def claude(model: str) -> tuple[str, Fraction]:
            answer = ask_claude(gateway, key, model)
            usage = answer.json()["usage"]
            # Here the cached ones are not part of the input.
            tokens = {
                "input": usage["input_tokens"], "output": usage["output_tokens"],
                "cache_read": usage["cache_read_input_tokens"],
                "cache_write": usage["cache_creation_input_tokens"],
            }  # fmt: skip
            cost = price_of(model.rsplit("-", 1)[0], tokens)
            assert Fraction(answer.headers["x-ailink-cost"]) == cost, (model, usage)
            return answer.headers["x-request-id"], cost

        names = [model["name"] for model in models]
        expected: dict[str, Fraction] = {}
        for call in (whole, streamed, claude):
            expected |= dict(in_parallel(call, names, threads=4))
        answer = gateway.http.get("/key/info", params={"key": key.secret}, headers=gateway.admin)
        spend = Fraction(json.loads(answer.text, parse_float=str, parse_int=str)["info"]["spend"])
        assert spend == sum(expected.values())
        gateway.stop()
        rows = {row.request_id: row for row in gateway.ledger()}
        assert len(rows) == len(expected)
        for request_id, cost in expected.items():
            row = rows[request_id]
            assert Fraction(row.cost_pico, 10**12) == cost, row
            assert row.source == "reported"
            assert row.price_version


def test_costs_of_other_operations(provider: MockProvider, tmp_path: Path) -> None:
    price = {"input_per_million": 1, "output_per_million": 2, "per_request": 0.01}
    deployments = [make_deployment(provider), make_deployment(provider, dialect="anthropic")]
    with Gateway(tmp_path, make_config(make_model("m", *deployments, price=price))) as gateway:
        key = gateway.mint()

        def cost(path: str, **more: Any) -> tuple[Fraction, dict[str, Any]]:
            answer = gateway.http.post(path, headers=key.bearer, **more)
            assert answer.status_code == 200, answer.text
            [row] = gateway.attempts_of(answer.headers["x-request-id"])
            return Fraction(row["spend"]), row

        spent, row = cost("/v1/embeddings", json={"model": "m", "input": "x" * 400, "dimensions": 2})
        assert spent == Fraction("0.01") + Fraction(row["prompt_tokens"], 10**6)
        assert (row["source"], row["completion_tokens"]) == ("reported", 0)
        spent, row = cost("/v1/images/generations", json={"model": "m", "prompt": "x"})
        assert (spent, row["units"]) == (Fraction("0.01") + Fraction(row["prompt_tokens"], 10**6), 1)
        spent, row = cost("/v1/audio/speech", json={"model": "m", "input": "x", "voice": "alloy"})
        assert spent >= Fraction("0.01")
        assert row["call_type"] == "audio_speech"


def test_the_catalogue_prices_known_models(provider: MockProvider, tmp_path: Path) -> None:
    deployment = {
        "provider": "openai", "base_url": f"{provider.url}/v1", "api_key": "sk-upstream-1",
        "model": "gpt-4o-mini",
    }  # fmt: skip
    with Gateway(tmp_path, make_config(make_model("m", deployment))) as gateway:
        key = gateway.mint()
        mark = provider.mark()
        answer = ask(gateway, key, "m")
        usage = answer.json()["usage"]
        cost = Fraction("0.15") * usage["prompt_tokens"] + Fraction("0.6") * usage["completion_tokens"]
        assert Fraction(answer.headers["x-ailink-cost"]) == cost / 10**6
        assert provider.requests(mark)[0].headers["authorization"] == "Bearer sk-upstream-1"
        assert "sk-upstream-1" not in gateway.log


# ── settings of the relay ───────────────────────────────────────────────────────────────────────────────────


def test_restamped_models(provider: MockProvider, tmp_path: Path) -> None:
    config = make_config(
        make_model("public", make_deployment(provider, model="private")), compat={"restamp_model": True}
    )
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        assert ask(gateway, key, "public").json()["model"] == "public"
        stream = ask(gateway, key, "public", stream=True)
        assert "private" not in stream.text
        assert {event.json()["model"] for event in events_of(stream.content)[:-1]} == {"public"}


def test_comments_while_a_stream_is_silent(provider: MockProvider, tmp_path: Path) -> None:
    config = make_config(
        make_model("m", make_deployment(provider, "ttft=700ms;events=2")),
        make_model("m-late", make_deployment(provider, "latency=700ms;events=2")),
        server={"keepalive_comment": "100ms"},
    )
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        for model in ("m", "m-late"):
            answer = ask(gateway, key, model, stream=True)
            comments = [line for line in answer.text.split("\n") if line.startswith(":")]
            assert len(comments) >= 2, answer.text
            events = events_of(answer.content)
            assert events[-1].done
            assert len(events) == 5
        assert ":" not in ask(gateway, key, "m").text[:1]


def test_the_cache(provider: MockProvider, tmp_path: Path) -> None:
    config = make_config(
        make_model("m", make_deployment(provider), aliases=["n"], price=PRICES["usual"]),
        make_model("bad", make_deployment(provider, "status=500")),
        cache={"enabled": True},
    )
    with Gateway(tmp_path, config) as gateway:
        one, two = gateway.mint(), gateway.mint()
        mark = provider.mark()
        first, again, alias = ask(gateway, one, "m"), ask(gateway, one, "m"), ask(gateway, one, "n")
        assert [answer.headers["x-ailink-cache"] for answer in (first, again, alias)] == [
            "miss",
            "hit",
            "hit",
        ]
        assert first.content == again.content == alias.content
        assert len(provider.requests(mark)) == 1
        # Another key's answer is another's.
        assert ask(gateway, two, "m").headers["x-ailink-cache"] == "miss"
        for other in ({"temperature": 0}, {"text": "other"}):
            assert ask(gateway, one, "m", **other).headers["x-ailink-cache"] == "miss"
        stream = ask(gateway, one, "m", stream=True)
        assert stream.headers["x-ailink-cache"] == "hit"
        assert events_of(stream.content)[-1].done
        assert all(event.json()["choices"] for event in events_of(stream.content)[:-1])
        refused = gateway.http.post(
            "/v1/chat/completions", json=chat("m"), headers={**one.bearer, "cache-control": "no-cache"}
        )
        assert refused.headers["x-ailink-cache"] == "refresh"
        assert [ask(gateway, one, "bad").headers["x-ailink-cache"] for _ in range(2)] == ["miss", "miss"]
        # A hit costs nothing and has no row.
        assert gateway.spend_logs(request_id=again.headers["x-request-id"]) == []
        gateway.call("/key/block", {"key": one.secret})
        assert ask(gateway, one, "m").status_code == 401
