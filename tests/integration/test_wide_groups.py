"""Models with many deployments: the same choice as among few, though not every deployment is looked at."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

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
)

COUNT = 12
STRATEGIES = [
    "shuffle",
    "round_robin",
    "least_busy",
    "lowest_cost",
    "lowest_latency",
    "usage",
    "consistent_hash",
]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, model=name, id=name, **settings)

    def group(name: str, strategy: str, special: dict[int, dict[str, Any]], **routing: Any) -> dict[str, Any]:
        rows = [at(f"{name}-{n}", **special.get(n, {})) for n in range(COUNT)]
        return make_model(name, *rows, routing={"strategy": strategy, **routing}, retries=1)

    cheap = {"input_per_million": 0.1, "output_per_million": 0.2}
    dear = {"input_per_million": 10, "output_per_million": 20}
    prices = {n: {"price": cheap if n in {3, 8} else dear} for n in range(COUNT)}
    # Whom most strategies prefer, and who is asked in vain: there is always a second.
    down = {n: {"script": "status=503", "weight": 200} for n in (0, 3)}
    limited = {0: {"script": "status=429;retry_after=60", "weight": 500}}
    config = make_config(
        group("drawn", "shuffle", {5: {"weight": 9}}),
        group("turns", "round_robin", {}),
        group("busy", "least_busy", {0: {"script": "latency=2s"}}),
        group("cheap", "lowest_cost", prices),
        group("sticky", "consistent_hash", {}),
        group("able", "shuffle", {0: {"capabilities": [], "weight": 500}}),
        group("limited", "shuffle", limited),
        group("limited-turns", "round_robin", limited),
        *(
            make_model(
                f"falls-{strategy}",
                *(
                    at(f"falls-{strategy}-{n}", **down.get(n, {}), **(prices[n] if n else {}))
                    for n in range(COUNT)
                ),
                routing={"strategy": strategy, "breaker": {"open": "0s"}},
                retries=2,
            )
            for strategy in STRATEGIES
        ),
        group("all-down", "shuffle", {n: {"script": "status=503"} for n in range(COUNT)}),
        group(
            "one-able",
            "shuffle",
            {n: {"capabilities": []} for n in range(2, COUNT)} | {0: {"script": "status=503"}},
        ),
        make_model(
            "tiers",
            *(at(f"first-{n}", order=0) for n in range(2)),
            *(at(f"last-{n}", order=1) for n in range(COUNT)),
        ),
        server={"threads": 1},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def served(gateway: Gateway, key: Key, model: str, headers: dict[str, str] | None = None, **more: Any) -> str:
    body = chat(model, **more)
    answer = gateway.http.post("/v1/chat/completions", json=body, headers={**key.bearer, **(headers or {})})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-ailink-deployment"])


def counted(gateway: Gateway, key: Key, model: str, count: int, **more: Any) -> Counter[str]:
    return Counter(in_parallel(lambda _: served(gateway, key, model, **more), range(count), threads=8))


def test_a_draw_follows_the_weights(gateway: Gateway, key: Key) -> None:
    found = counted(gateway, key, "drawn", 600)
    expected = {f"drawn-{n}": 600 * (9 if n == 5 else 1) / 20 for n in range(COUNT)}
    chi_squared = sum((found[name] - due) ** 2 / due for name, due in expected.items())
    # 11 degrees of freedom: exceeded once in 10^6 runs.
    assert chi_squared < 49, found


def test_turns_are_even(gateway: Gateway, key: Key) -> None:
    assert set(counted(gateway, key, "turns", COUNT * 5).values()) == {5}


def test_who_is_busy_is_left_alone(gateway: Gateway, key: Key) -> None:
    found = counted(gateway, key, "busy", 120)
    assert found["busy-0"] <= 8 < 120 / COUNT


def test_the_cheapest_answer(gateway: Gateway, key: Key) -> None:
    assert set(counted(gateway, key, "cheap", 40)) == {"cheap-3", "cheap-8"}


def test_a_session_stays_where_it_is(gateway: Gateway, key: Key) -> None:
    names = [f"s{n}" for n in range(24)]
    first = [served(gateway, key, "sticky", {"x-ailink-session-id": name}) for name in names]
    assert first == [served(gateway, key, "sticky", {"x-ailink-session-id": name}) for name in names]
    assert len(set(first)) > COUNT / 3


def test_who_cannot_is_not_asked(gateway: Gateway, key: Key) -> None:
    assert "able-0" in counted(gateway, key, "able", 20)
    assert "able-0" not in counted(gateway, key, "able", 60, tools=[TOOL])


@pytest.mark.parametrize("model", ["limited", "limited-turns"])
def test_who_is_out_is_passed_over(gateway: Gateway, key: Key, provider: MockProvider, model: str) -> None:
    found = counted(gateway, key, model, COUNT * 10)
    assert f"{model}-0" not in found
    assert len(found) == COUNT - 1
    if model.endswith("turns"):
        # One thread counts the turns; those before the first refusal had another circle.
        assert max(found.values()) - min(found.values()) <= 4, found


def test_tiers_go_first(gateway: Gateway, key: Key) -> None:
    assert set(counted(gateway, key, "tiers", 40)) == {"first-0", "first-1"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_stands_behind_the_first(
    gateway: Gateway, key: Key, provider: MockProvider, strategy: str
) -> None:
    model, mark = f"falls-{strategy}", provider.mark()
    answers = [served(gateway, key, model, {"x-ailink-session-id": f"s{n}"}) for n in range(40)]
    assert not {f"{model}-0", f"{model}-3"} & set(answers)
    asked = [seen.json()["model"] for seen in provider.requests(since=mark)]
    assert len(asked) > len(answers), "some were asked in vain"
    # Nobody is asked twice for one request: what failed stands before another one.
    assert all(
        before != after
        for before, after in itertools.pairwise(asked)
        if before in {f"{model}-0", f"{model}-3"}
    )


def test_no_more_are_asked_than_retries_allow(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = gateway.http.post("/v1/chat/completions", json=chat("all-down"), headers=key.bearer)
    assert answer.status_code == 503, answer.text
    asked = [seen.json()["model"] for seen in provider.requests(since=mark)]
    assert len(asked) == len(set(asked)) == 2


def test_who_cannot_does_not_stand_behind_either(gateway: Gateway, key: Key) -> None:
    for _ in range(20):
        assert served(gateway, key, "one-able", tools=[TOOL]) == "one-able-1"
