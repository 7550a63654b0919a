"""Equal requests at the same time: one asks, all are answered; and nobody depends on the one who asked."""

import asyncio
import contextlib
import threading
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
)
from tests.harness.flood import flood
from tests.harness.until import until


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    models = [
        make_model("late", make_deployment(provider, "latency=1500;echo")),
        make_model("drips", make_deployment(provider, "gap=150;events=12")),
        make_model("fails", make_deployment(provider, "latency=300;status=500")),
        make_model("stale", make_deployment(provider, "echo"), cache={"ttl": "50ms", "stale": "1h"}),
    ]
    with Gateway(
        tmp_path_factory.mktemp("gateway"), make_config(*models, cache={"enabled": True})
    ) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.mark.parametrize("stream", [False, True])
def test_a_thousand_equal_requests_are_one(
    gateway: Gateway, key: Key, provider: MockProvider, stream: bool
) -> None:
    mark = provider.mark()
    body = chat("late", f"all at once {stream}", stream=stream)
    answers = asyncio.run(flood(gateway.port, key.secret, body, 1000))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert len(provider.requests(since=mark)) == 1
    told = [answer.cache for answer in answers]
    assert (told.count("miss"), told.count("hit")) == (1, 999)


def ask(gateway: Gateway, key: Key, body: dict[str, Any], into: list[httpx.Response]) -> threading.Thread:
    def run() -> None:
        with httpx.Client(base_url=gateway.url, timeout=60) as client:
            into.append(client.post("/v1/chat/completions", json=body, headers=key.bearer))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("stream", [False, True])
def test_a_leader_that_leaves_is_succeeded(
    gateway: Gateway, key: Key, provider: MockProvider, stream: bool
) -> None:
    mark = provider.mark()
    body = chat("late", f"the first one leaves {stream}", stream=stream)
    with httpx.Client(base_url=gateway.url, timeout=60) as client:

        def leads() -> None:
            with contextlib.suppress(httpx.HTTPError):
                client.post("/v1/chat/completions", json=body, headers=key.bearer, timeout=1.0)

        leader = threading.Thread(target=leads)
        leader.start()
        until(lambda: len(provider.requests(since=mark)) == 1, "the leader's request is at the provider")
        answers = asyncio.run(flood(gateway.port, key.secret, body, 1000))
        leader.join()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    # The one who left, and one who took its place.
    assert len(provider.requests(since=mark)) == 2


def test_listeners_survive_the_one_who_asked(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    body = chat("drips", "a stream for all", stream=True)
    answers: list[httpx.Response] = []
    with (
        httpx.Client(base_url=gateway.url, timeout=60) as client,
        client.stream("POST", "/v1/chat/completions", json=body, headers=key.bearer) as leader,
    ):
        pieces = leader.iter_raw()
        first = next(pieces)
        threads = [ask(gateway, key, body, answers) for _ in range(3)]
        # They listen when the leader has heard more.
        for _ in range(3):
            first += next(pieces)
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].content.startswith(first)
    assert events_of(answers[0].content)[-1].data == "[DONE]"
    assert len(provider.requests(since=mark)) == 1
    # It was complete, so it was kept.
    again = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
    assert (again.headers["x-ailink-cache"], again.content) == ("hit", answers[0].content)


def test_a_stream_nobody_listens_to_is_given_up(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    before = provider.stats()["client_gone"]
    body = chat("drips", "left alone", stream=True)
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=key.bearer) as leader:
        next(leader.iter_raw())
    until(lambda: provider.stats()["client_gone"] > before, "the provider's connection is closed")
    again = gateway.http.post("/v1/chat/completions", json=chat("drips", "left alone"), headers=key.bearer)
    assert again.headers["x-ailink-cache"] == "miss"


def test_a_failure_is_everybodys_own(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answers = asyncio.run(flood(gateway.port, key.secret, chat("fails", "fails for all"), 8))
    assert {answer.status for answer in answers} <= {500, 502, 503}
    assert 1 <= len(provider.requests(since=mark)) <= 8


def test_a_stale_answer_is_given_while_a_fresh_one_is_fetched(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    body = chat("stale", "grows old")

    def told() -> str:
        answer = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer).raise_for_status()
        return str(answer.headers["x-ailink-cache"])

    assert told() == "miss"
    until(lambda: told() == "hit" and len(provider.requests(since=mark)) >= 2, "it is fetched again")
    for _ in range(20):
        assert told() == "hit"
