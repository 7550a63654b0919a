"""Limits and budgets over HTTP: what is refused, what is said of it, and that a refusal takes nothing."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
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
    message,
    until,
)

CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
DEAR = {"input_per_million": 100, "output_per_million": 1000}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    counted = "usage=10:20"
    config = make_config(
        make_model("free", make_deployment(provider)),
        make_model("rate", make_deployment(provider), aliases=["rate-alias"]),
        make_model("small", make_deployment(provider, counted)),
        make_model("shared", make_deployment(provider, counted, id="full"), fallbacks=["free"]),
        make_model("pair", make_deployment(provider, id="one"), make_deployment(provider, id="two")),
        make_model(
            "cent", make_deployment(provider), make_deployment(provider, dialect="anthropic"), price=CENT
        ),
        make_model("dear", make_deployment(provider, counted), price=DEAR),
        make_model("dear-stream", make_deployment(provider, f"{counted};gap=50"), price=DEAR),
        make_model("p2", make_deployment(provider, "latency=20ms"), price=CENT),
        limits=[
            {"on": "model:rate-alias", "requests": 3, "name": "three a minute"},
            {"on": "model:small", "tokens": 100},
            {"on": "deployment:full", "requests": 2, "per": "1h"},
            {"on": "deployment:one", "requests": 4, "per": "1d"},
            {"on": "deployment:two", "requests": 3, "per": "1d"},
            {"on": "endpoint:embeddings", "parallel": 0},
            {"on": "global", "requests": 1, "models": ["soft-*"], "soft": True},
        ],
        budgets={
            "timezone": "Europe/Berlin",
            "rules": [
                {"on": "model:cent", "usd": 0.03, "per": "month", "name": "monthly"},
                {"on": "model:dear", "usd": 0.05, "per": "lifetime"},
                {"on": "model:dear-stream", "usd": 0.05, "per": "30d"},
                {"on": "model:p2", "usd": 1, "per": "lifetime"},
            ],
        },
        server={"threads": 2},
    )
    with Gateway(tmp_path_factory.mktemp("limits"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key.secret}"}
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=headers)


def error(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = response.json()["error"]
    return found


def test_a_model_has_its_own_rate(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answers = in_parallel(lambda at: ask(gateway, key, ["rate", "rate-alias"][at % 2]), range(12), threads=6)
    assert Counter(answer.status_code for answer in answers) == {200: 3, 429: 9}
    assert len(provider.requests(mark)) == 3
    [*_, refused] = sorted(answers, key=lambda answer: answer.status_code)
    assert error(refused)["code"] == "rate_limit_exceeded"
    for part in ("model 'rate'", "3 requests per minute", "three a minute", "Retry in"):
        assert part in error(refused)["message"]
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    left = sorted(
        int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers if answer.is_success
    )
    assert left == [0, 1, 2]
    # Another model has nothing to do with it, and says nothing of limits it does not have.
    other = ask(gateway, key, "free")
    assert other.status_code == 200
    assert not [name for name in other.headers if name.startswith("x-ratelimit")]


def test_official_clients_see_their_own_errors(gateway: Gateway, key: Key) -> None:
    until(lambda: ask(gateway, key, "rate").status_code == 429)
    client = openai.OpenAI(api_key=key.secret, base_url=f"{gateway.url}/v1", max_retries=0)
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="rate", messages=[{"role": "user", "content": "hi"}])
    assert limited.value.code == "rate_limit_exceeded"
    while (spent := ask(gateway, key, "cent")).is_success:
        pass
    assert spent.status_code == 422
    with pytest.raises(openai.UnprocessableEntityError) as broke:
        client.chat.completions.create(model="cent", messages=[{"role": "user", "content": "hi"}])
    assert broke.value.code == "budget_exceeded"
    other = anthropic.Anthropic(api_key=key.secret, base_url=gateway.url, max_retries=0)
    with pytest.raises(anthropic.UnprocessableEntityError, match="Budget has been exceeded") as refused:
        other.messages.create(**message("cent"))
    body = refused.value.body
    assert isinstance(body, dict)
    assert body["error"]["type"] == "billing_error"


def test_tokens_are_reserved_and_then_settled(gateway: Gateway, key: Key) -> None:
    # More than the limit can ever hold: no wait would help.
    never = ask(gateway, key, "small", max_tokens=200)
    assert (never.status_code, error(never)["code"]) == (429, "rate_limit_exceeded")
    assert "retry-after" not in never.headers
    assert "tokens" in error(never)["message"]
    # 30 tokens are used each time, whatever was reserved: three fit, with the rest of a fourth's reservation.
    for left in (70, 40, 10):
        answer = ask(gateway, key, "small", max_tokens=30)
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["x-ratelimit-limit-tokens"]) == 100
        usage = until(lambda left=left: usage_of(gateway, key, left))
        assert usage == left
    refused = ask(gateway, key, "small", max_tokens=30)
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-remaining-tokens"] == "10"
    # Without a maximum the answer's length is an assumption, which fits what can be had.
    assert ask(gateway, key, "small").status_code == 429


def usage_of(gateway: Gateway, key: Key, left: int) -> int | None:
    """What is left of the token limit of `small`, as a refusal tells; a refusal takes nothing."""
    refused = ask(gateway, key, "small", max_tokens=100 - 1)
    assert refused.status_code == 429
    remaining = int(refused.headers["x-ratelimit-remaining-tokens"])
    return remaining if remaining == left else None


def test_a_full_deployment_leaves_the_work_to_others(gateway: Gateway, key: Key) -> None:
    answers = [ask(gateway, key, "pair") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [200] * 7 + [429] * 2
    served = Counter(answer.headers["x-ailink-deployment"] for answer in answers if answer.is_success)
    assert served == {"one": 4, "two": 3}
    assert "deployment '" in error(answers[-1])["message"]
    assert int(answers[-1].headers["retry-after"]) > 3_600


def test_a_full_model_falls_back(gateway: Gateway, key: Key) -> None:
    answers = [ask(gateway, key, "shared") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers["x-ailink-model"] for answer in answers] == ["shared"] * 2 + ["free"] * 2


def test_an_endpoint_may_be_closed(gateway: Gateway, key: Key) -> None:
    headers = {"Authorization": f"Bearer {key.secret}"}
    answer = gateway.http.post("/v1/embeddings", json={"model": "free", "input": "x"}, headers=headers)
    assert (answer.status_code, error(answer)["code"]) == (429, "concurrency_limit_exceeded")


def test_spend_is_reserved_at_the_worst_price(gateway: Gateway, key: Key) -> None:
    # 10 tokens in and 20 out cost 0.021; 100 out might cost 0.1, more than the whole budget.
    refused = ask(gateway, key, "dear", max_tokens=100)
    assert (refused.status_code, error(refused)["code"]) == (422, "budget_exceeded")
    assert error(refused)["type"] == "budget_exceeded"
    for part in ("Budget has been exceeded!", "$0.05 in all", "$0 are spent"):
        assert part in error(refused)["message"]
    assert "retry-after" not in refused.headers
    for _ in range(2):
        answer = ask(gateway, key, "dear", max_tokens=20)
        assert (answer.status_code, answer.headers["x-ailink-cost"]) == (200, "0.021")
    # 0.042 are spent: another 0.02 and more does not fit.
    broke = ask(gateway, key, "dear", max_tokens=20)
    assert broke.status_code == 422
    assert "$0.042 are spent" in error(broke)["message"]


def test_a_stream_settles_when_it_ends(gateway: Gateway, key: Key) -> None:
    headers = {"Authorization": f"Bearer {key.secret}"}
    body = chat("dear-stream", stream=True, max_tokens=40)
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        # While it runs, more than 0.04 of the budget are set aside.
        assert ask(gateway, key, "dear-stream", max_tokens=20).status_code == 422
        answer.read()
    until(lambda: ask(gateway, key, "dear-stream", max_tokens=20).is_success)


def test_a_budget_holds_against_500_callers(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    answers = in_parallel(lambda _: ask(gateway, key, "p2"), range(500), threads=100)
    assert Counter(answer.status_code for answer in answers) == {200: 100, 422: 400}
    assert len(provider.requests(mark)) == 100
    spent = sum(float(answer.headers["x-ailink-cost"]) * 100 for answer in answers if answer.is_success)
    assert spent == 100
    assert ask(gateway, key, "p2").status_code == 422


# ── what outlives a restart, and what reports say ──────────────────────────────────────────────────────────


def test_a_restart_forgets_nothing_that_was_spent(provider: MockProvider, tmp_path: Path) -> None:
    budgets = {
        "rules": [
            {"on": "model:life", "usd": 0.05, "per": "lifetime"},
            {"on": "model:month", "usd": 0.05, "per": "month"},
            {"on": "model:sliding", "usd": 0.05, "per": "30d"},
            {"on": "provider:mock", "usd": 0.19, "per": "year"},
        ]
    }
    names = ("life", "month", "sliding", "other")
    config = make_config(
        *(make_model(name, make_deployment(provider), price=CENT) for name in names),
        budgets=budgets,
        limits=[{"on": "model:other", "requests": 6, "per": "1d"}],
    )
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        assert [ask(gateway, key, name).status_code for name in names for _ in range(3)] == [200] * 12
        gateway.kill()
        gateway.start()
        for name in names[:3]:
            assert [ask(gateway, key, name).status_code for _ in range(3)] == [200, 200, 422], name
        # 18 cents of the provider's 19 are spent.
        assert [ask(gateway, key, "other").status_code for _ in range(2)] == [200, 422]
        # A new limit knows what was used before it.
        budgets["rules"][3]["usd"] = 10
        budgets["rules"].append({"on": "global", "usd": 0.2, "per": "month"})
        gateway.reconfigure(config)
        assert [ask(gateway, key, "other").status_code for _ in range(2)] == [200, 422]
        del budgets["rules"][4]
        gateway.reconfigure(config)
        assert [ask(gateway, key, "other").status_code for _ in range(2)] == [200, 429]


def test_spend_by_any_dimension(gateway: Gateway, provider: MockProvider) -> None:
    keys = [gateway.mint(), gateway.mint()]
    for key in (keys[0], keys[0], keys[1]):
        assert ask(gateway, key, "free").is_success
    spend = gateway.call("/v1/spend", group_by="key", model="free")
    mine = {line["group"]["key"]: line for line in spend["data"]}
    assert [mine[key.id]["requests"] for key in keys] == [2, 1]
    assert spend["total"]["requests"] == sum(line["requests"] for line in spend["data"])
    assert spend["forecast"] >= spend["total"]["spend"]
    everything = gateway.call(
        "/v1/spend", **{"group_by": "day,model", "from": "2020-01-01", "to": "2099-12-31"}
    )
    assert (
        everything["total"]
        == gateway.call("/v1/spend", **{"from": "2020-01-01", "to": "2099-12-31"})["total"]
    )
    total = gateway.call("/global/spend")
    assert everything["total"]["requests"] == total["api_requests"]
    assert everything["total"]["spend"] == total["spend"]
    table = gateway.http.get("/v1/spend?group_by=key&format=csv", headers=gateway.admin)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    head, *lines = table.text.splitlines()
    assert head.startswith("key,spend,requests,failed_requests,input_tokens")
    assert f"{keys[1].id},0.0,1,0," in "\n".join(lines)
    for query in (
        "group_by=planet",
        "from=yesterday",
        "from=2026-02-01&to=2026-01-01",
        "group_by=key,key",
        "x=1",
    ):
        answer = gateway.http.get(f"/v1/spend?{query}", headers=gateway.admin)
        assert answer.status_code == 400, query
    assert gateway.http.get("/v1/spend", headers=keys[0].bearer).status_code == 403
