"""Refusals of providers, told again for a while where the file asks for it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    UNBOUNDED,
    Gateway,
    Key,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
)


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def answers(script: str) -> dict[str, Any]:
        return make_model(
            script, make_deployment(provider, script), cache={"errors_ttl": "1h", "scope": "team"}
        )

    config = make_config(
        *(answers(f"status={status}") for status in (400, 401, 403, 404, 408, 413, 422, 429, 500, 503)),
        make_model("forgets", make_deployment(provider, "status=400")),
        make_model(
            "briefly", make_deployment(provider, "status=400"), cache={"errors_ttl": "1h", "ttl": "30ms"}
        ),
        make_model(
            "slowly",
            make_deployment(provider, "status=400;latency=400"),
            cache={"errors_ttl": "1h", "scope": "team"},
        ),
        cache={"enabled": True},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        for team in ("one", "two"):
            running.call("/team/new", {"team_id": team})
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(team_id="one")


def ask(gateway: Gateway, key: Key, model: str, text: str, **headers: str) -> httpx.Response:
    return gateway.http.post(
        "/v1/chat/completions", json=chat(model, text), headers={**key.bearer, **headers}
    )


def attempts(gateway: Gateway, *answers: httpx.Response) -> int:
    """How many of them reached the provider."""
    return sum(
        len(gateway.spend_logs(request_id=answer.headers["x-ailink-request-id"])) for answer in answers
    )


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_wrong_with_a_request_is_told_again(gateway: Gateway, key: Key, status: int) -> None:
    first, second = (ask(gateway, key, f"status={status}", "wrong") for _ in range(2))
    assert (first.status_code, second.status_code) == (status, status)
    assert first.json() == second.json()
    assert (first.headers["x-ailink-cache"], second.headers["x-ailink-cache"]) == ("miss", "hit")
    assert attempts(gateway, first, second) == 1
    # A streamed request is the same request.
    body = chat(f"status={status}", "wrong", stream=True)
    streamed = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
    assert (streamed.status_code, streamed.headers["x-ailink-cache"]) == (status, "hit")
    assert ask(gateway, key, f"status={status}", "also wrong").headers["x-ailink-cache"] == "miss"


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
def test_what_may_pass_is_asked_anew(gateway: Gateway, key: Key, status: int) -> None:
    first, second = (ask(gateway, key, f"status={status}", "may pass") for _ in range(2))
    assert first.status_code == second.status_code
    assert "hit" not in (first.headers.get("x-ailink-cache"), second.headers.get("x-ailink-cache"))


def test_without_being_asked_for_nothing_is_remembered(gateway: Gateway, key: Key) -> None:
    answers = [ask(gateway, key, "forgets", "wrong") for _ in range(2)]
    assert attempts(gateway, *answers) == 2


def test_it_ends_with_the_time_of_answers(gateway: Gateway, key: Key) -> None:
    first = ask(gateway, key, "briefly", "wrong")
    asyncio.run(asyncio.sleep(0.05))
    assert attempts(gateway, first, ask(gateway, key, "briefly", "wrong")) == 2


def test_wishes_and_tenants_and_purges_hold(gateway: Gateway, key: Key) -> None:
    model, text = "status=400", "wishes"
    ask(gateway, key, model, text)
    assert ask(gateway, key, model, text).headers["x-ailink-cache"] == "hit"
    fresh = ask(gateway, key, model, text, **{"cache-control": "no-cache"})
    assert fresh.headers["x-ailink-cache"] == "refresh"
    other = gateway.mint(team_id="two")
    assert ask(gateway, other, model, text).headers["x-ailink-cache"] == "miss"
    assert ask(gateway, gateway.mint(team_id="one"), model, text).headers["x-ailink-cache"] == "hit"
    ask(gateway, key, model, "unkept", **{"cache-control": "no-store"})
    assert ask(gateway, key, model, "unkept").headers["x-ailink-cache"] == "miss"
    gateway.call("/cache/purge", {"model": "whatever"})
    assert ask(gateway, key, model, text).headers["x-ailink-cache"] == "miss"


async def test_equal_requests_at_once_are_refused_once(gateway: Gateway, key: Key) -> None:
    url, body = f"{gateway.url}/v1/chat/completions", chat("slowly", "at once")
    async with httpx.AsyncClient(headers=key.bearer, timeout=60, limits=UNBOUNDED) as client:
        answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {400}
    assert attempts(gateway, *answers) == 1
