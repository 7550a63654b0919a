"""What becomes of requests for which a limit has no room: they wait, keep a pace, or change their model."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)

CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
LOW = {"x-ailink-priority": "low"}


@pytest.fixture(scope="module")
def own_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider"), record=4096) as provider:
        yield provider


@pytest.fixture(scope="module")
def gateway(own_provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def place(name: str, scenario: str = "") -> dict[str, Any]:
        return make_deployment(own_provider, scenario, model=name)

    config = make_config(
        make_model("free", place("free")),
        make_model("soon", place("soon")),
        make_model("late", place("late")),
        make_model("busy", place("busy")),
        make_model("short", place("short", "latency=2s")),
        make_model("crowded", place("crowded", "latency=2s")),
        make_model("brief", place("brief", "latency=3s")),
        make_model("first", place("first"), fallbacks=["free"]),
        make_model("dear", place("dear"), price=CENT, fallbacks=["free"]),
        make_model("paced", place("paced")),
        make_model("burst", place("burst")),
        make_model("kept", place("kept")),
        limits=[
            {"on": "model:soon", "requests": 2, "per": "2s", "on_exhausted": {"queue": "8s"}},
            {"on": "model:late", "requests": 1, "per": "1h", "on_exhausted": {"queue": "20s"}},
            {"on": "model:busy", "parallel": 1, "on_exhausted": {"queue": "20s"}},
            {"on": "model:short", "parallel": 1, "on_exhausted": {"queue": "20s", "waiting": 1}},
            {"on": "model:crowded", "parallel": 1, "on_exhausted": {"queue": "20s", "waiting": 1}},
            {"on": "model:brief", "parallel": 1, "on_exhausted": {"queue": "500ms"}},
            {"on": "model:first", "requests": 1, "per": "1h", "on_exhausted": {"fallback": True}},
            {
                "on": "model:paced",
                "requests": 10,
                "per": "1s",
                "on_exhausted": {"throttle": "5s", "above": 0},
            },
            {
                "on": "model:burst",
                "requests": 10,
                "per": "1s",
                "on_exhausted": {"throttle": "3s", "above": 50},
            },
            {"on": "model:kept", "requests": 10, "per": "1h", "keep": {"normal": 30}},
        ],
        budgets={
            "rules": [{"on": "model:dear", "usd": 0.02, "per": "month", "on_exhausted": {"fallback": True}}]
        },
    )
    with Gateway(tmp_path_factory.mktemp("exhausted"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str = "hi", **headers: str) -> httpx.Response:
    body = {**chat(model), "messages": [{"role": "user", "content": text}]}
    return gateway.http.post("/v1/chat/completions", json=body, headers={**key.bearer, **headers})


def test_requests_wait_until_there_is_room(gateway: Gateway, key: Key) -> None:
    began = time.monotonic()
    answers = in_parallel(lambda _: ask(gateway, key, "soon").status_code, range(4), threads=4)
    assert answers == [200] * 4
    # Two at once, two when the window has moved on.
    assert time.monotonic() - began >= 1.9


def test_who_would_wait_too_long_is_told_at_once(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, "late").status_code == 200
    began = time.monotonic()
    refused = ask(gateway, key, "late")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 3_000
    assert time.monotonic() - began < 10


def test_the_higher_priority_goes_first(gateway: Gateway, key: Key, own_provider: MockProvider) -> None:
    mark = own_provider.mark()

    def sent() -> list[str]:
        seen = own_provider.requests(mark, lambda one: one.json()["model"].startswith("busy"))
        return [one.json()["messages"][0]["content"] for one in seen]

    def line_of(count: int) -> None:
        until(lambda: gateway.metric("ailink_requests_in_flight") == count, f"{count} are in the line")

    # Long enough for all to come while the first is worked at.
    own_provider.set_defaults("latency=3s")
    threads = []
    for text, headers in [
        ("at work", {}),
        *[(f"low {n}", LOW) for n in range(3)],
        *[(f"normal {n}", {}) for n in range(3)],
    ]:
        threads.append(threading.Thread(target=partial(ask, gateway, key, "busy", text, **headers)))
        threads[-1].start()
        if text == "at work":
            until(lambda: sent() == ["at work"], "the first is under way")
            own_provider.set_defaults("")
        line_of(len(threads))
    for thread in threads:
        thread.join()
    normal, low = [f"normal {n}" for n in range(3)], [f"low {n}" for n in range(3)]
    assert sent() == ["at work", *normal, *low]


def test_a_line_has_an_end(gateway: Gateway, key: Key) -> None:
    answers = in_parallel(lambda _: ask(gateway, key, "short"), range(4), threads=4)
    assert Counter(answer.status_code for answer in answers) == {200: 2, 429: 2}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "concurrency_limit_exceeded"


def test_who_matters_more_takes_the_last_place(
    gateway: Gateway, key: Key, own_provider: MockProvider
) -> None:
    mark = own_provider.mark()

    def at_work(count: int) -> None:
        seen = lambda: own_provider.requests(mark, lambda one: one.json()["model"].startswith("crowded"))  # noqa: E731
        until(lambda: len(seen()) >= count, f"{count} are under way", 10)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, gateway, key, "crowded", "first")
        at_work(1)
        low = pool.submit(ask, gateway, key, "crowded", "low", **LOW)
        # In this order into the line; should it come second, there is no place for it either.
        time.sleep(0.2)
        normal = pool.submit(ask, gateway, key, "crowded", "normal")
        refused = low.result(30)
        assert not normal.done(), "it is told before its place would have come"
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "concurrency_limit_exceeded")
        assert [first.result(30).status_code, normal.result(30).status_code] == [200, 200]
    seen = own_provider.requests(mark, lambda one: one.json()["model"].startswith("crowded"))
    assert [one.json()["messages"][0]["content"] for one in seen] == ["first", "normal"]


def test_who_has_waited_as_long_as_he_may_is_told(gateway: Gateway, key: Key) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, gateway, key, "brief")
        until(lambda: limit(gateway, "model:brief")["used"]["parallel"] == 1, "it is under way", 2)
        refused = ask(gateway, key, "brief")
        assert not first.done()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "concurrency_limit_exceeded")
        assert first.result(30).status_code == 200
    # His place in the line is free again.
    assert ask(gateway, key, "brief").status_code == 200
    assert limit(gateway, "model:brief")["used"]["parallel"] == 0


def limit(gateway: Gateway, on: str) -> Any:
    return next(one for one in gateway.call("/v1/limits")["data"] if one["on"] == on)


def test_who_leaves_makes_way(gateway: Gateway, key: Key) -> None:
    work = threading.Thread(target=partial(ask, gateway, key, "short"))
    work.start()
    until(lambda: gateway.metric("ailink_requests_in_flight") == 1, "one is worked at")
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=gateway.url, timeout=0.5) as hurried:
        hurried.post("/v1/chat/completions", json=chat("short"), headers=key.bearer)
    until(lambda: ask(gateway, key, "short").status_code == 200, "its place in the line is free")
    work.join()


def test_another_model_answers(gateway: Gateway, key: Key) -> None:
    answers = [ask(gateway, key, "first") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [answer.headers["x-ailink-model"] for answer in answers] == ["first", "free", "free"]
    answers = [ask(gateway, key, "dear") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers["x-ailink-model"] for answer in answers] == ["dear", "dear", "free", "free"]


def test_requests_go_on_at_the_pace_of_the_limit(gateway: Gateway, key: Key) -> None:
    began = time.monotonic()
    answers = in_parallel(lambda _: ask(gateway, key, "paced"), range(8), threads=8)
    assert [answer.status_code for answer in answers] == [200] * 8
    assert time.monotonic() - began >= 0.7


def test_a_pace_waits_until_what_came_before_it_has_left_the_window(gateway: Gateway, key: Key) -> None:
    # Five at once, five at the pace: the window is full until the first five are a second old.
    assert [ask(gateway, key, "burst").status_code for _ in range(14)] == [200] * 14


def test_what_was_refused_first_is_not_told_of_what_was_admitted(gateway: Gateway) -> None:
    own = [{"requests": 2, "per": "1s", "on_exhausted": {"queue": "5s"}}]

    def left_of_the_third() -> str:
        key = gateway.mint(limits=own)
        answers = [ask(gateway, key, "free") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        return answers[-1].headers["x-ratelimit-remaining-requests"]

    # The second leaves the window with the first, unless the machine was busy between them.
    assert any(left_of_the_third() == "1" for _ in range(5))
    assert ask(gateway, gateway.mint(rpm_limit=1), "free").headers["x-ratelimit-remaining-requests"] == "0"


def test_a_part_is_kept_from_those_that_can_wait(gateway: Gateway, key: Key) -> None:
    low = [ask(gateway, key, "kept", **LOW).status_code for _ in range(9)]
    assert low == [200] * 7 + [429] * 2
    assert [ask(gateway, key, "kept").status_code for _ in range(4)] == [200] * 3 + [429]
