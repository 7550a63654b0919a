"""What a cache would have saved, told beforehand: a day is recorded without one and asked again with it."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import (
    Gateway,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)

SEAL = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
PRICE = {"input_per_million": 1, "output_per_million": 2, "per_request": "0.5"}


def started(directory: Any, provider: MockProvider, database_url: str = "", **cache: Any) -> Gateway:
    models = [
        make_model(name, make_deployment(provider, "usage=7:9;echo"), price=PRICE)
        for name in ("small", "large")
    ]
    more = {"database_url": database_url, "encryption_key": SEAL} if database_url else {}
    return Gateway(directory, make_config(*models, cache=cache, **more))


@pytest.fixture(scope="module")
def measured(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with started(tmp_path_factory.mktemp("measured"), provider, measure=True) as running:
        yield running


Day = list[tuple[int, str, dict[str, Any], dict[str, str]]]


def a_day() -> Day:
    """Which key asks what, and how."""
    chance = random.Random(20261122)
    day: Day = []
    for _ in range(150):
        model, text = chance.choice(("small", "large")), f"question {chance.randrange(5)}"
        headers = chance.choice(({}, {}, {}, {"cache-control": "no-store"}, {"cache-control": "no-cache"}))
        if chance.random() < 0.5:
            more = chance.choice(({}, {"stream": True}, {"user": "u"}, {"temperature": 0}))
            day.append((chance.randrange(4), "/v1/chat/completions", chat(model, text, **more), headers))
        else:
            day.append((chance.randrange(4), "/v1/messages", message(model, text), headers))
    return day


def keys_of(gateway: Gateway) -> list[str]:
    gateway.call("/team/new", {"team_id": "t"})
    owners: list[dict[str, str]] = [{}, {"team_id": "t"}, {"team_id": "t"}, {}]
    return [str(gateway.call("/key/generate", owner)["key"]) for owner in owners]


def ask(gateway: Gateway, keys: list[str], day: Day) -> list[str | None]:
    told = []
    for number, path, body, headers in day:
        sent = {"Authorization": f"Bearer {keys[number]}", **headers}
        answer = gateway.http.post(path, json=body, headers=sent).raise_for_status()
        told.append(answer.headers.get("x-ailink-cache"))
    return told


def recorded(gateway: Gateway) -> int:
    """A day that was asked without a cache; how many of its requests might have been kept."""
    day = a_day()
    if not gateway.call("/cache/savings")["requests"]:
        assert set(ask(gateway, keys_of(gateway), day)) == {None}
    count = sum(headers.get("cache-control") != "no-store" for *_, headers in day)
    # The ledger's rows are on their way to where reports are made.
    until(lambda: gateway.call("/cache/savings")["requests"] == count, "all requests are in the ledger")
    return count


def test_a_ledger_in_postgresql_says_the_same(
    measured: Gateway, provider: MockProvider, database_url: str, tmp_path: Path
) -> None:
    count = recorded(measured)
    with started(tmp_path, provider, database_url, measure=True) as gateway:
        assert recorded(gateway) == count
        for by in ("model", "endpoint"):
            told = [at.call("/cache/savings", scope="team", ttl="1h", by=by) for at in (measured, gateway)]
            assert told[0]["total"]["hits"] > 10
            for name in ("hits", "saved_usd", "saved_input_tokens", "saved_output_tokens"):
                first, second = ([(line["name"], line[name]) for line in one["lines"]] for one in told)
                assert first == second, name
            assert told[0]["spent_usd"] == told[1]["spent_usd"]
            scopes = [[(line["name"], line["hits"]) for line in one["by_scope"]] for one in told]
            assert scopes[0] == scopes[1]


@pytest.mark.parametrize("scope", ["key", "team"])
def test_a_recorded_day(
    measured: Gateway, provider: MockProvider, tmp_path_factory: pytest.TempPathFactory, scope: str
) -> None:
    day, count = a_day(), recorded(measured)
    expected = measured.call("/cache/savings", scope=scope, ttl="1h")
    assert (expected["measured"], expected["complete"]) == (True, True)
    assert expected["requests"] == count
    cached = started(tmp_path_factory.mktemp("cached"), provider, enabled=True, scope=scope, ttl="1h")
    with cached as gateway:
        told = ask(gateway, keys_of(gateway), day)
        stats = gateway.call("/cache/stats")
    assert told.count("hit") == expected["total"]["hits"] > 10
    for name in ("hits", "saved_usd", "saved_input_tokens", "saved_output_tokens"):
        assert expected["total"][name] == pytest.approx(stats["total"][name]), name
        by_model = {line["name"]: line[name] for line in expected["lines"]}
        told_by_model = {line["name"]: line[name] for line in stats["by_model"] if line["hits"]}
        assert by_model == pytest.approx(told_by_model), name
    endpoints = measured.call("/cache/savings", scope=scope, ttl="1h", by="endpoint")["lines"]
    assert {line["name"]: line["hits"] for line in endpoints} == {
        line["name"]: line["hits"] for line in stats["by_endpoint"] if line["hits"]
    }
    scopes = {line["name"]: line["hits"] for line in expected["by_scope"]}
    assert scopes["key"] <= scopes["team"] <= scopes["shared"]
    assert scopes[scope] == expected["total"]["hits"]


def test_the_command_line(measured: Gateway) -> None:
    where = ["--url", measured.url, "--key", measured.admin_key]
    command = [sys.executable, "-m", "ailink", "cache", "savings", "--by", "key", *where]
    assert "hit rate" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
    assert json.loads(found)["scope"] == "key"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": "0"}, "ttl"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2026-01-02", "end": "2026-01-01"}, "start"),
        ({"start": "2020-01-01"}, "start"),
    ],
)
def test_bad_input(measured: Gateway, query: dict[str, str], param: str) -> None:
    refused = measured.http.get("/cache/savings", params=query, headers=measured.admin)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert (
        measured.http.get("/cache/savings", params={"scope": "planet"}, headers=measured.admin).status_code
        == 400
    )


def test_it_is_the_administrators(measured: Gateway) -> None:
    refused = measured.http.get("/cache/savings", headers=measured.mint().bearer)
    assert refused.status_code in (401, 403)
