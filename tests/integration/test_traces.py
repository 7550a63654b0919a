"""Traces of requests at a collector: whose they are, what is in them, and that nobody waits for them."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.collector import Collector, attributes_of, parsed

SERVER, CLIENT = 2, 3
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
PRICE = {"input_per_million": 1, "output_per_million": 10}
CANARY = "canary-7f3a9c51e2"
NUMBERS = itertools.count()
COLLECTOR_KEY = "collector-key-b81d22"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    running = Collector().start()
    yield running
    running.close()


def config_of(provider: MockProvider, otlp: dict[str, Any], **more: Any) -> dict[str, Any]:
    keyed = make_deployment(provider, model="up", api_key=f"sk-{CANARY}-key") | {"provider": "openai"}
    return make_config(
        make_model("m", keyed, price=PRICE),
        make_model(
            "two",
            make_deployment(provider, "status=500", id="first", model="bad"),
            make_deployment(provider, "", id="second", model="good", order=1),
            retries=1,
            price=PRICE,
        ),
        make_model("guarded", make_deployment(provider), guardrails=["codeword", "pii"]),
        make_model("cached", make_deployment(provider), cache={"enabled": True}),
        guardrails=[
            {"name": "codeword", "words": ["bluebird"], "scan": ["input"], "action": "block"},
            {"name": "pii", "presets": ["pii"], "scan": ["input"], "action": "redact"},
        ],
        observe={"otlp": otlp},
        **more,
    )


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    otlp = {
        "endpoint": collector.url,
        "headers": {"x-collector-key": COLLECTOR_KEY},
        "service_name": "gateway-under-test",
    }
    config = config_of(provider, otlp, cache={"enabled": True})
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway, key: Key, model: str, text: str = "", parent: str | None = None, **more: Any
) -> httpx.Response:
    headers = key.bearer | ({} if parent is None else {"traceparent": parent})
    # No two are the same, so that the cache answers none of them.
    body = chat(model, text or f"hello {next(NUMBERS)}", **more)
    return gateway.http.post("/v1/chat/completions", json=body, headers=headers)


def id_of(answer: httpx.Response) -> str:
    return str(answer.headers["x-ailink-request-id"])


def test_a_callers_trace_is_gone_on_with(
    gateway: Gateway, key: Key, collector: Collector, provider: MockProvider
) -> None:
    mark = provider.mark()
    answer = ask(gateway, key, "two", parent=PARENT)
    assert answer.status_code == 200
    request, first, second = collector.of(id_of(answer), 3)
    assert [span.trace for span in (request, first, second)] == [TRACE] * 3
    assert (request.kind, request.parent, request.name) == (SERVER, SPAN, "chat two")
    assert not request.failed
    assert request.attributes["ailink.attempts"] == 2
    assert request.attributes["ailink.deployment"] == "second"
    assert request.attributes["ailink.routing.strategy"] == "shuffle"
    assert request.attributes["ailink.routing.candidates"] == 2
    assert [span.kind for span in (first, second)] == [CLIENT] * 2
    assert [span.parent for span in (first, second)] == [request.id] * 2
    assert [span.failed for span in (first, second)] == [True, False]
    reasons = [
        (span.attributes["ailink.deployment"], span.attributes["ailink.attempt.reason"])
        for span in (first, second)
    ]
    assert reasons == [("first", "first"), ("second", "failover")]
    assert first.attributes["http.response.status_code"] == 500
    assert first.attributes["error.type"] == "server_error"
    assert "error.type" not in second.attributes
    assert second.attributes["ailink.ttft_us"] > 0
    assert (
        request.start_ns <= first.start_ns <= second.start_ns <= second.end_ns <= request.end_ns + 1_000_000
    )
    # What a provider is told leads back to the attempt.
    told = [seen.headers["traceparent"] for seen in provider.requests(mark)]
    assert told == [f"00-{TRACE}-{span.id}-01" for span in (first, second)]


def test_without_one_the_trace_has_the_requests_id(gateway: Gateway, key: Key, collector: Collector) -> None:
    answer = ask(gateway, key, "m")
    request, attempt = collector.of(id_of(answer), 2)
    assert request.trace == attempt.trace == id_of(answer).removeprefix("req_")
    assert request.parent == ""
    [row] = gateway.attempts_of(id_of(answer))
    usage = answer.json()["usage"]
    for span in (request, attempt):
        assert span.attributes["gen_ai.operation.name"] == "chat"
        assert span.attributes["gen_ai.provider.name"] == "openai"
        assert span.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
        assert span.attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
        assert span.attributes["http.response.status_code"] == 200
        assert float(span.attributes["ailink.cost_usd"]) == pytest.approx(float(row["spend"]), rel=1e-12)
        assert float(row["spend"]) > 0
    assert request.attributes["ailink.key_id"] == key.id
    assert request.attributes["gen_ai.request.model"] == "m"
    assert request.attributes["gen_ai.response.model"] == "up"
    assert attempt.attributes["gen_ai.request.model"] == "up"


def test_streams_end_when_their_last_byte_is_sent(gateway: Gateway, key: Key, collector: Collector) -> None:
    answer = ask(gateway, key, "m", stream=True)
    assert events_of(answer.content)[-1].done
    request, attempt = collector.of(id_of(answer), 2)
    assert request.attributes["ailink.stream"] is True
    assert not request.failed
    assert request.end_ns >= attempt.end_ns
    assert attempt.attributes["gen_ai.usage.output_tokens"] > 0


def test_verdicts_are_events_and_texts_are_nowhere(gateway: Gateway, key: Key, collector: Collector) -> None:
    answer = ask(gateway, key, "guarded", f"{CANARY}@example.org knows the bluebird")
    assert answer.status_code == 400
    [blocked] = collector.of(id_of(answer), 1)
    assert blocked.attributes["error.type"] == "content_policy_violation"
    assert blocked.attributes["http.response.status_code"] == 400
    assert not blocked.failed
    told = {(event["ailink.verdict.name"], event["ailink.verdict.action"]) for event in blocked.events}
    assert ("codeword", "block") in told
    answer = ask(gateway, key, "guarded", f"mail {CANARY}@example.org")
    assert answer.status_code == 200
    redacted = collector.of(id_of(answer), 2)[0]
    [event] = redacted.events
    assert event["ailink.verdict.kind"] == "guardrail"
    assert (event["ailink.verdict.label"], event["ailink.verdict.side"]) == ("EMAIL", "input")
    ask(gateway, key, f"sk-{CANARY}")
    for secret in (CANARY, key.secret, key.token, gateway.admin_key):
        assert secret not in collector.text()
    assert all(headers["x-collector-key"] == COLLECTOR_KEY for headers in collector.headers)
    assert COLLECTOR_KEY not in b"".join(collector.bodies).decode()
    assert COLLECTOR_KEY not in gateway.log


def test_answers_of_the_cache_have_no_attempt(gateway: Gateway, key: Key, collector: Collector) -> None:
    ask(gateway, key, "cached", "the same")
    answer = ask(gateway, key, "cached", "the same")
    assert answer.headers["x-ailink-cache"] == "hit"
    [request] = collector.of(id_of(answer), 1)
    assert request.attributes["ailink.cache"] == "hit"
    assert request.attributes["ailink.attempts"] == 0


def test_a_callers_flag_decides(
    gateway: Gateway, key: Key, collector: Collector, provider: MockProvider
) -> None:
    mark = provider.mark()
    silent = PARENT.removesuffix("01") + "00"
    left_out = ask(gateway, key, "m", parent=silent)
    assert provider.requests(mark)[0].headers["traceparent"] == silent
    told = ask(gateway, key, "m", parent=PARENT)
    collector.of(id_of(told), 2)
    assert all(span.attributes["ailink.request_id"] != id_of(left_out) for span in collector.spans())


def test_the_service_is_named(gateway: Gateway, key: Key, collector: Collector) -> None:
    collector.of(id_of(ask(gateway, key, "m")), 2)
    resource = attributes_of(parsed(collector.bodies[-1]).resource_spans[0].resource.attributes)
    assert resource["service.name"] == "gateway-under-test"
    assert resource["ailink.node"] == 0
    assert gateway.metric("ailink_trace_spans_total", result="sent") >= 2


def test_a_collector_that_is_away_harms_nobody(provider: MockProvider, tmp_path: Any) -> None:
    collector = Collector()
    config = config_of(provider, {"endpoint": f"{collector.url}/v1/traces", "timeout": "1s"})
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        asked = [ask(gateway, key, "m") for _ in range(5)]
        assert {answer.status_code for answer in asked} == {200}
        until(lambda: "traces cannot be sent" in gateway.log, "a warning")
        collector.start()
        try:
            for answer in asked:
                collector.of(id_of(answer), 2)
            assert "traces are sent again" in gateway.log
            collector.status = 400
            assert ask(gateway, key, "m").status_code == 200
            until(lambda: gateway.metric("ailink_trace_spans_total", result="failed") == 2, "given up")
        finally:
            collector.close()
        ask(gateway, key, "m")
        begun = time.monotonic()
        gateway.stop()
        assert time.monotonic() - begun < 15


def test_what_was_seen_last_is_sent_before_the_end(provider: MockProvider, tmp_path: Any) -> None:
    collector = Collector().start()
    try:
        with Gateway(tmp_path, config_of(provider, {"endpoint": collector.url})) as gateway:
            answer = ask(gateway, gateway.mint(), "two")
            gateway.stop()
            assert len(collector.of(id_of(answer), 3)) == 3
    finally:
        collector.close()


def test_a_share_of_nothing_leaves_those_that_ask_for_it(provider: MockProvider, tmp_path: Any) -> None:
    collector = Collector().start()
    try:
        with Gateway(tmp_path, config_of(provider, {"endpoint": collector.url, "sample": 0})) as gateway:
            key = gateway.mint()
            ask(gateway, key, "m")
            answer = ask(gateway, key, "m", parent=PARENT)
            collector.of(id_of(answer), 2)
            assert {span.attributes["ailink.request_id"] for span in collector.spans()} == {id_of(answer)}
            gateway.reconfigure(config_of(provider, {"endpoint": collector.url, "sample": 1}))
            collector.of(id_of(ask(gateway, key, "m")), 2)
    finally:
        collector.close()
