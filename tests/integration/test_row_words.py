"""What rows of providers say about refusals and quotas, as requests feel it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness import Gateway, MockProvider, make_config, make_deployment, make_model
from tests.harness.canned import CannedProvider, answer
from tests.harness.tenants import ask

DONE = {
    "id": "x",
    "object": "chat.completion",
    "choices": [],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    with CannedProvider() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, canned: CannedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def at(row: str, name: str) -> dict[str, Any]:
        return {
            "provider": row,
            "base_url": canned.base(name),
            "api_key": "sk-upstream",
            "model": "x",
            "id": name,
        }

    config = make_config(
        make_model("flex", at("groq", "groq"), rate_limit_fallbacks=["m"]),
        make_model("plain", at("deepseek", "deepseek"), rate_limit_fallbacks=["m"]),
        make_model("m", make_deployment(provider)),
        make_model("quota", at("gradient_ai", "a"), at("gradient_ai", "b"), routing={"strategy": "usage"}),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def test_a_status_of_its_own_is_a_rate_limit(gateway: Gateway, canned: CannedProvider) -> None:
    refusal = answer(b'{"error":{"message":"capacity_exceeded"}}', status="498 Flex Tier Capacity Exceeded")
    canned.answers |= {"groq": refusal, "deepseek": refusal}
    key = gateway.mint().secret
    done = ask(gateway, key, "flex")
    assert (done.status_code, done.headers["x-ailink-model"]) == (200, "m")
    assert ask(gateway, key, "plain").status_code == 498, "elsewhere it is a bad request"


def test_its_own_headers_tell_the_quota(gateway: Gateway, canned: CannedProvider) -> None:
    def told(left: int) -> bytes:
        names = {
            "x_ratelimit_remaining_tokens_per_minute": str(left),
            "x_ratelimit_limit_tokens_per_minute": "100",
        }
        return answer(json.dumps(DONE).encode(), **names)

    canned.answers |= {"a": told(2), "b": told(90)}
    key = gateway.mint().secret
    for _ in range(8):
        assert ask(gateway, key, "quota").status_code == 200
    # The one that says it is used up is asked once at most; which of them is first does not matter.
    assert len(canned.requests.get("a", [])) <= 1
    assert len(canned.requests["b"]) >= 7
