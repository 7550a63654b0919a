"""Counting tokens and estimating cost over HTTP, with a virtual key."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model

PRICE = {"input_per_million": 2.5, "output_per_million": 10}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("priced", make_deployment(provider, model="gpt-4o"), price=PRICE, aliases=["nick"]),
        make_model("newer", make_deployment(provider, model="claude-next"), price=PRICE),
        make_model("other", make_deployment(provider, model="some-model")),
    )
    with Gateway(tmp_path_factory.mktemp("tokens"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def post(gateway: Gateway, key: Key, path: str, body: dict[str, Any]) -> httpx.Response:
    return gateway.http.post(path, json=body, headers=key.bearer)


def test_texts_and_chats_are_counted(gateway: Gateway, key: Key) -> None:
    def count(**body: Any) -> dict[str, Any]:
        answer = post(gateway, key, "/v1/tokens/count", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    text = {"tokens": 6, "exact": True, "tokenizer": "o200k_base"}
    assert count(model="gpt-4o", text="tiktoken is great!") == {"model": "gpt-4o", **text}
    # By the name of the model at its provider.
    assert count(model="nick", input=["tiktoken is great!"]) == {"model": "nick", **text}
    chat = [{"role": "user", "content": "tiktoken is great!"}]
    assert count(model="gpt-4", messages=chat)["tokens"] == 6 + 1 + 3 + 3
    assert count(model="gpt-4", messages=chat)["tokenizer"] == "cl100k_base"
    other = count(model="other", text="tiktoken is great!")
    assert (other["exact"], other["tokenizer"], other["tokens"]) == (False, "estimate", 5)
    tool = {"type": "function", "function": {"name": "f", "description": "Does.", "parameters": {}}}
    assert count(model="gpt-4o", messages=chat, tools=[tool])["exact"] is False


def test_litellms_counter(gateway: Gateway, key: Key) -> None:
    body = {"model": "priced", "messages": [{"role": "user", "content": "hello world"}]}
    assert post(gateway, key, "/utils/token_counter", body).json() == {
        "total_tokens": 2 + 1 + 3 + 3,
        "request_model": "priced",
        "model_used": "gpt-4o",
        "tokenizer_type": "openai_tokenizer",
        "original_response": None,
        "error": False,
        "error_message": None,
        "status_code": None,
        "count_source": "local_estimate",
    }


def test_what_a_request_may_cost(gateway: Gateway, key: Key) -> None:
    body = {"model": "priced", "messages": [{"role": "user", "content": "hello world"}], "max_tokens": 100}
    found = post(gateway, key, "/v1/cost/estimate", body).json()
    assert (found["input_tokens"], found["output_tokens"], found["exact"]) == (9, 100, True)
    assert found["input_cost"] == 0.0000225
    assert found["least"] == found["most"] == 0.0010225
    del body["max_tokens"]
    assert post(gateway, key, "/v1/cost/estimate", body).json()["output_tokens"] == 4_096
    assert post(gateway, key, "/v1/cost/estimate", {**body, "model": "none"}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": ""},
        {"model": "m"},
        {"model": "m", "messages": "x"},
        {"model": "m", "messages": [1]},
        {"model": 1},
    ],
)
def test_bad_bodies(gateway: Gateway, key: Key, body: dict[str, Any]) -> None:
    answer = post(gateway, key, "/v1/tokens/count", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_key_is_needed(gateway: Gateway) -> None:
    assert gateway.http.post("/v1/tokens/count", json={"model": "m", "text": "x"}).status_code == 401


def test_a_limit_that_the_estimate_would_pass_is_counted_exactly(gateway: Gateway) -> None:
    # 14 bytes a token where 4 are assumed: 2,260 by the estimate, some 580 counted.
    content = " international" * 575
    body = {"model": "priced", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}
    found = []
    for model in ("newer", "priced"):
        key = gateway.mint(tpm_limit=1_100)
        found.append(post(gateway, key, "/v1/chat/completions", {**body, "model": model}).status_code)
    assert found == [429, 200]
    # What does not fit when it is counted is refused as ever.
    small = gateway.mint(tpm_limit=500)
    answer = post(gateway, small, "/v1/chat/completions", body)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_budget_that_the_estimate_would_pass_is_counted_exactly(gateway: Gateway) -> None:
    content = " international" * 575
    body = {"model": "priced", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}
    assert post(gateway, gateway.mint(max_budget=0.003), "/v1/chat/completions", body).status_code == 200
    assert post(gateway, gateway.mint(max_budget=0.001), "/v1/chat/completions", body).status_code == 422
