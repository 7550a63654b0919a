"""A second deployment is asked when the first is slow; the first good answer is taken, nothing said twice."""

import time
from collections import Counter
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
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)

PRICE = {"input_per_million": 1, "output_per_million": 10}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def pair(
        name: str, first: str, second: str, dialect: str = "openai", retries: int = 0, **hedge: Any
    ) -> dict[str, Any]:
        """Two deployments of which `first` is asked first."""
        one = make_deployment(provider, first, id=f"{name}-1", model=f"{name}-1", price=PRICE)
        two = make_deployment(
            provider, second, id=f"{name}-2", model=f"{name}-2", order=1, price=PRICE, dialect=dialect
        )
        hedge = {"after": "150ms", "percent": 100, **hedge}
        return make_model(name, one, two, routing={"hedge": hedge}, retries=retries)

    config = make_config(
        pair("slow", "latency=30s", ""),
        pair("claude", "latency=30s", "", dialect="anthropic"),
        pair("fast", "", "", after="5s"),
        pair("both", "latency=2s", "latency=30s"),
        pair("first-fails", "latency=1s;status=500", "latency=2s"),
        pair("second-fails", "latency=2s", "status=500"),
        pair("neither", "latency=1s;status=500", "status=503"),
        pair("again", "latency=1s;status=500", "status=503", retries=1),
        pair("refused", "latency=1s", "", percent=0),
        pair("budget", "latency=400ms", "", percent=10),
        pair("left", "latency=30s", "latency=30s"),
        pair("learns", "latency=20ms", "", after=None, least="1ms"),
        server={"threads": 1},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=key.bearer)


def told(rows: list[dict[str, Any]]) -> list[tuple[int, str, str, str]]:
    return sorted((row["attempt_no"], row["kind"], row["model_id"], row["outcome"]) for row in rows)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["slow", "claude"])
def test_the_second_answers(
    gateway: Gateway, key: Key, provider: MockProvider, model: str, stream: bool
) -> None:
    begun = time.monotonic()
    mark = provider.mark()
    answer = ask(gateway, key, model, stream=stream)
    assert time.monotonic() - begun < 20
    assert answer.status_code == 200
    assert answer.headers["x-ailink-deployment"] == f"{model}-2"
    assert answer.headers["x-ailink-attempts"] == "2"
    if stream:
        events = events_of(answer.content)
        assert events[-1].done
        deltas = [choice["delta"] for event in events[:-1] for choice in event.json()["choices"]]
        assert sum(bool(delta.get("content")) for delta in deltas) == 64
    else:
        assert answer.json()["choices"][0]["message"]["content"]
    rows = gateway.attempts_of(answer.headers["x-request-id"], 2)
    assert told(rows) == [
        (1, "request", f"{model}-1", "superseded"), (2, "hedge", f"{model}-2", "success"),
    ]  # fmt: skip
    lost, won = sorted(rows, key=lambda row: row["attempt_no"])
    assert (lost["source"], lost["completion_tokens"], won["source"]) == ("estimated", 0, "reported")
    assert lost["prompt_tokens"] > 0

    def left() -> bool:
        seen = [one for one in provider.requests(mark) if one.json()["model"].startswith(f"{model}-1")]
        return [one.end for one in seen] == ["client_gone"]

    until(left, "the slow one was left at once")


def test_a_key_pays_for_both(gateway: Gateway) -> None:
    key = gateway.mint()
    answer = ask(gateway, key, "slow")
    rows = gateway.attempts_of(answer.headers["x-request-id"], 2)
    spent = gateway.call("/key/info", key=key.token)["info"]["spend"]
    assert spent == pytest.approx(sum(float(row["spend"]) for row in rows))
    assert len(rows) == 2


def test_a_fast_one_is_alone(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "fast")
    assert (answer.headers["x-ailink-deployment"], answer.headers["x-ailink-attempts"]) == ("fast-1", "1")
    assert len(gateway.attempts_of(answer.headers["x-request-id"], 1)) == 1


@pytest.mark.parametrize(
    ("model", "served", "outcomes"),
    [
        ("both", "both-1", ["success", "superseded"]),
        ("first-fails", "first-fails-2", ["server_error", "success"]),
        ("second-fails", "second-fails-1", ["success", "server_error"]),
    ],
)
def test_the_first_good_answer(
    gateway: Gateway, key: Key, model: str, served: str, outcomes: list[str]
) -> None:
    answer = ask(gateway, key, model)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ailink-deployment"] == served
    rows = gateway.attempts_of(answer.headers["x-request-id"], 2)
    assert [outcome for _, _, _, outcome in told(rows)] == outcomes


def test_neither_answers(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "neither")
    assert answer.status_code == 500
    rows = gateway.attempts_of(answer.headers["x-request-id"], 2)
    assert told(rows) == [
        (1, "request", "neither-1", "server_error"), (2, "hedge", "neither-2", "server_error"),
    ]  # fmt: skip


def test_the_second_is_not_asked_twice(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "again")
    assert answer.headers["x-ailink-attempts"] == "3"
    rows = gateway.attempts_of(answer.headers["x-request-id"], 3)
    assert [place for _, _, place, _ in told(rows)] == ["again-1", "again-2", "again-1"]


def test_none_without_a_budget(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "refused")
    assert (answer.headers["x-ailink-deployment"], answer.headers["x-ailink-attempts"]) == ("refused-1", "1")


def test_the_budget_holds(gateway: Gateway, key: Key) -> None:
    count = 60
    answers = in_parallel(lambda _: ask(gateway, key, "budget"), range(count), threads=6)
    served = Counter(answer.headers["x-ailink-deployment"] for answer in answers)
    sent = gateway.metric("ailink_hedges_total", model="budget")
    # A tenth of the requests so far, and one in ten seconds.
    assert 1 <= served["budget-2"] <= sent <= count // 10 + 3
    assert (
        gateway.metric("ailink_hedges_refused_total", model="budget") >= count - sent - served["budget-2"] - 3
    )


def test_it_learns_what_is_slow(gateway: Gateway, key: Key) -> None:
    for _ in range(30):
        ask(gateway, key, "learns").raise_for_status()
    before = gateway.metric("ailink_hedges_total", model="learns")
    for _ in range(60):
        ask(gateway, key, "learns").raise_for_status()
    # About one in twenty is slower than 95 in a hundred.
    assert gateway.metric("ailink_hedges_total", model="learns") - before < 20


def test_a_client_that_leaves_ends_both(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    with pytest.raises(httpx.ReadTimeout):
        gateway.http.post(
            "/v1/chat/completions", json=chat("left"), headers=key.bearer, timeout=httpx.Timeout(30, read=2)
        )
    until(lambda: [one.end for one in provider.requests(mark)] == ["client_gone"] * 2, "both were left")

    def rows() -> list[tuple[int, str, str, str]]:
        return told([row for row in gateway.spend_logs() if row["model_group"] == "left"])

    assert until(lambda: found if len(found := rows()) == 2 else None, "both have a row") == [
        (1, "request", "left-1", "client_gone"), (2, "hedge", "left-2", "client_gone"),
    ]  # fmt: skip
