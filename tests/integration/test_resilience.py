"""Health of deployments (breakers, ejection, probes), the retry policy, fallbacks by what went wrong."""

from collections import Counter
from collections.abc import Iterator
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
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)

REFUSED = "http://127.0.0.1:9"
SOON = {"open": "400ms", "open_max": "400ms", "slow_start": "0s"}
TOO_LONG = "status=400;error_code=context_length_exceeded"
FILTERED = "status=400;error_code=content_policy_violation"


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, **settings)

    def pair(name: str, bad: dict[str, Any], **settings: Any) -> dict[str, Any]:
        return make_model(name, bad, at(model=f"{name}-good"), retries=2, **settings)

    config = make_config(
        pair("half-500", at("status=500", model="half-500")),
        pair("half-refused", make_deployment(REFUSED)),
        pair("half-reset", at("drop=reset", model="half-reset")),
        pair("half-429", at("status=429", model="half-429")),
        pair("half-401", at("status=401", model="half-401")),
        pair("half-slow", at("latency=5s", model="half-slow", timeouts={"first_byte": "100ms"})),
        pair("half-400", at("status=400", model="half-400"), routing={"breaker": {"minimum": 1}}),
        pair("flapping", at("fail_first=3;id=flapping", id="flapping", weight=1_000_000), routing={
            "breaker": {"consecutive": 3, **SOON}
        }),
        make_model(
            "down", at("fail_first=8;id=d1", id="down-1"), at("fail_first=8;id=d2", id="down-2"),
            retries=1, routing={"breaker": {"consecutive": 2, **SOON}},
        ),
        make_model("alone", at("status=500"), routing={"breaker": {"consecutive": 2}}),
        make_model("alone-gone", make_deployment(REFUSED, id="gone"),
                   routing={"breaker": {"consecutive": 2}}),
        make_model(
            "ten", at("status=500", id="tenth"), *(at(model=f"ten-{n}") for n in range(9)), retries=1,
            routing={"breaker": {"consecutive": 0, "percent": 0, "outlier_percent": 30, "open": "60s"}},
        ),
        make_model("no-breaker", at("status=500", model="nb"), at(model="nb-good"), retries=1,
                   routing={"breaker": {"open": "0s"}}),
        make_model("retry-bad", at("status=400"), retries=0, routing={"retry": {"bad_request": 1}}),
        make_model("retry-limit", at("status=429;retry_after=0"), retries=2,
                   routing={"retry": {"rate_limit": 0}}),
        make_model("long", at(TOO_LONG), context_window_fallbacks=["big"], fallbacks=["general"]),
        make_model("long-general", at(TOO_LONG), fallbacks=["general"]),
        make_model("long-alone", at(TOO_LONG)),
        make_model("filtered", at(FILTERED), content_policy_fallbacks=["big"], fallbacks=["general"]),
        make_model("limited", at("status=429"), rate_limit_fallbacks=["big"], fallbacks=["general"]),
        make_model("broken", at("status=500"), rate_limit_fallbacks=["big"], fallbacks=["general"]),
        make_model("wrong", at("status=422"), fallbacks=["general"]),
        make_model("big", at()),
        make_model("general", at()),
        server={"threads": 2},
    )  # fmt: skip
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=key.bearer)


def asked(provider: MockProvider, mark: int) -> Counter[str]:
    return Counter(seen.json()["model"].split("?")[0] for seen in provider.requests(mark))


@pytest.mark.parametrize(
    "model",
    [
        "half-500",
        "half-refused",
        "half-reset",
        "half-429",
        "half-401",
        "half-slow",
    ],
)
def test_half_of_a_group_down_loses_nothing(gateway: Gateway, provider: MockProvider, model: str) -> None:
    # A key of its own: of all that the models before had, the latest 1,000 rows may not be these.
    key = gateway.mint()
    mark, count = provider.mark(), 300
    answers = in_parallel(lambda _: ask(gateway, key, model), range(count), threads=8)
    assert Counter(answer.status_code for answer in answers) == {200: count}
    seen = asked(provider, mark)
    assert seen[f"{model}-good"] == count
    # Five in a row, what was on its way meanwhile, and a probe now and then.
    assert seen[model] <= 30
    rows = until(
        lambda: (
            len(rows := gateway.spend_logs(api_key=key.secret)) == seen.total()
            and {row["model_group"] for row in rows} == {model}
            and rows
        )
    )
    assert Counter(row["status"] for row in rows)["success"] == count


def test_streams_lose_nothing_either(gateway: Gateway, key: Key) -> None:
    for _ in range(10):
        events = events_of(ask(gateway, key, "half-reset", stream=True).content)
        assert events[-1].done
        assert sum(bool(event.json()["choices"][0]["delta"].get("content")) for event in events[:-1]) == 64


def test_mistakes_of_callers_are_not_held_against_a_deployment(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    answers = in_parallel(lambda _: ask(gateway, key, "half-400"), range(200), threads=8)
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 400}
    assert asked(provider, mark)["half-400"] == statuses[400] > 60
    assert 'model="half-400' not in gateway.log


def test_a_flapping_deployment_comes_back(gateway: Gateway, key: Key) -> None:
    for _ in range(3):
        assert ask(gateway, key, "flapping").headers["x-ailink-deployment"] != "flapping"
    # Left out: not even asked.
    answer = ask(gateway, key, "flapping")
    assert (answer.status_code, answer.headers["x-ailink-attempts"]) == (200, "1")
    assert answer.headers["x-ailink-deployment"] != "flapping"
    until(lambda: ask(gateway, key, "flapping").headers["x-ailink-deployment"] == "flapping", "it is back")
    until(lambda: "deployment is back kind=deployment_state" in gateway.log, "told")


def test_all_down(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    until(lambda: ask(gateway, key, "down").status_code == 503, "both are left out")
    mark = provider.mark()
    answer = ask(gateway, key, "down")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_deployment_available")
    message = answer.json()["error"]["message"]
    for deployment in ("down-1", "down-2"):
        assert f"{deployment} at mock: consecutive_failures" in message
    assert 0 < int(answer.headers["retry-after-ms"]) <= 401
    assert len(provider.requests(mark)) == 0
    # By and by the probes find them well.
    until(lambda: ask(gateway, key, "down").status_code == 200, "one is back", 30)


def test_one_of_its_own_is_left_out_only_when_it_is_gone(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    assert {ask(gateway, key, "alone").status_code for _ in range(10)} == {500}
    assert len(provider.requests(mark)) == 10
    answers = [ask(gateway, key, "alone-gone") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [502, 502, 503]
    assert "gone at mock" in answers[-1].json()["error"]["message"]


def test_one_bad_of_ten_is_ejected(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    def left_out() -> bool:
        in_parallel(lambda _: ask(gateway, key, "ten").raise_for_status(), range(100), threads=8)
        return "outlier" in gateway.log

    until(left_out, "it is ejected")
    mark = provider.mark()
    in_parallel(lambda _: ask(gateway, key, "ten").raise_for_status(), range(100), threads=8)
    seen = asked(provider, mark)
    assert len(seen) == 9
    assert seen.total() == 100


def test_without_a_breaker_nothing_is_left_out(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    in_parallel(lambda _: ask(gateway, key, "no-breaker").raise_for_status(), range(60), threads=8)
    seen = asked(provider, mark)
    assert seen["nb-good"] == 60
    assert seen["nb"] > 15


# ── the retry policy ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("model", "attempts"), [("retry-bad", "2"), ("retry-limit", "1")])
def test_retries_by_class(gateway: Gateway, key: Key, model: str, attempts: str) -> None:
    assert ask(gateway, key, model).headers["x-ailink-attempts"] == attempts


# ── fallbacks by what went wrong ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("long", "big"), ("long-general", "general"), ("filtered", "big"), ("limited", "big"),
        ("broken", "general"),
    ],
)  # fmt: skip
def test_the_right_fallback(gateway: Gateway, key: Key, model: str, served: str) -> None:
    answer = ask(gateway, key, model)
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, served)
    assert answer.headers["x-ailink-attempts"] == "2"


@pytest.mark.parametrize(("model", "status"), [("wrong", 422), ("long-alone", 400)])
def test_what_does_not_fall_back(gateway: Gateway, key: Key, model: str, status: int) -> None:
    answer = ask(gateway, key, model)
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (status, model)


def test_default_fallbacks(provider: MockProvider, tmp_path: Path) -> None:
    config = make_config(
        make_model("m", make_deployment(provider, "status=500")),
        make_model("own", make_deployment(provider, "status=500"), fallbacks=["b"]),
        make_model("a", make_deployment(provider)),
        make_model("b", make_deployment(provider)),
        routing={"default_fallbacks": ["a"]},
    )
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        assert ask(gateway, key, "m").headers["x-ailink-model"] == "a"
        assert ask(gateway, key, "own").headers["x-ailink-model"] == "b"
