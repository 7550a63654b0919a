"""Deployments that cannot serve a request are left out before one is drawn, and it is said why."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, model=name, id=name, **settings)

    def cohere(name: str) -> dict[str, Any]:
        return at(name, dialect="cohere", weight=1000)

    config = make_config(
        # Without a retry only two deployments are ordered: before, both could be Cohere's.
        make_model("mixed", at("chat"), *(cohere(f"cohere-{n}") for n in range(6)), retries=0),
        make_model("cohere-only", cohere("c-1"), cohere("c-2")),
        make_model("formats", cohere("f-cohere"), at("f-claude", dialect="anthropic")),
        make_model("told", at("plain", capabilities=[], weight=1000), at("rich", capabilities=["tools"]),
                   at("eyes", capabilities=["vision", "json_schema"])),
        make_model("poor", at("p-1", capabilities=[]), at("p-2", capabilities=["vision"])),
        make_model("sizes", at("small", context_window=100, max_output=50, weight=1000),
                   at("large", context_window=10_000, max_output=500)),
        make_model("overflow", at("o-1", context_window=100), at("o-2", context_window=101),
                   context_window_fallbacks=["sizes"]),
        make_model("quotas", at("few", rpm=1, weight=1_000_000), at("many", rpm=1000)),
        make_model("resident", at("eu", region="eu-west-1"), at("us", region="us-east-1", weight=1000),
                   routing={"regions": ["eu-west-1"], "regions_only": True}),
        server={"threads": 2},
    )  # fmt: skip
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str = "hi", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return gateway.http.post(
        "/v1/chat/completions", json=body, headers={**key.bearer, "x-ailink-explain": "1"}
    )


def served(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-ailink-deployment"]


def dropped(answer: httpx.Response) -> dict[str, str]:
    decision = json.loads(answer.headers["x-ailink-decision"])
    return {one["deployment"]: one["reason"] for one in decision["choices"][-1]["dropped"]}


def test_more_than_one_answer_goes_where_it_can(gateway: Gateway, key: Key) -> None:
    for _ in range(10):
        answer = ask(gateway, key, "mixed", n=2)
        assert served(answer) == "chat"
        assert dropped(answer) == {f"cohere-{n}": "n" for n in range(6)}
    assert {served(ask(gateway, key, "mixed")) for _ in range(10)} != {"chat"}


def test_nobody_is_left(gateway: Gateway, key: Key) -> None:
    # All alike: the provider's format says so itself.
    answer = ask(gateway, key, "cohere-only", n=2)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "n")
    answer = ask(gateway, key, "formats", n=2)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_feature", "n")
    assert "'f-cohere' (" in error["message"]
    assert "does not take more than one answer" in error["message"]
    answer = ask(gateway, key, "poor", tools=TOOLS)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools")
    assert served(ask(gateway, key, "poor")) in {"p-1", "p-2"}


def test_capabilities_of_the_configuration(gateway: Gateway, key: Key) -> None:
    for _ in range(5):
        answer = ask(gateway, key, "told", tools=TOOLS)
        assert served(answer) == "rich"
        assert dropped(answer) == {"plain": "tools", "eyes": "tools"}
    content = [{"type": "text", "text": "what is it?"}, PICTURE]
    body = {**chat("told"), "messages": [{"role": "user", "content": content}]}
    assert served(gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)) == "eyes"
    assert served(ask(gateway, key, "told", response_format=SCHEMA)) == "eyes"
    # Words about pictures and tools are not pictures and tools.
    words = 'the member "tools" and an "image_url" with {"type": "image"}'
    assert "plain" in {served(ask(gateway, key, "told", words)) for _ in range(10)}


def test_sizes(gateway: Gateway, key: Key) -> None:
    long = "word " * 200
    for _ in range(5):
        answer = ask(gateway, key, "sizes", long)
        assert served(answer) == "large"
        assert dropped(answer) == {"small": "context_window"}
    answer = ask(gateway, key, "sizes", max_tokens=100)
    assert (served(answer), dropped(answer)) == ("large", {"small": "max_output"})
    # An estimate does not refuse: the providers decide what is too long for all.
    assert served(ask(gateway, key, "sizes", "word " * 20_000)) in {"small", "large"}
    answer = ask(gateway, key, "overflow", long)
    assert (served(answer), answer.headers["x-ailink-model"]) == ("large", "sizes")


def test_quotas(gateway: Gateway, key: Key) -> None:
    found = [ask(gateway, key, "quotas") for _ in range(12)]
    names = [served(answer) for answer in found]
    # One a minute; the minute may end meanwhile.
    assert 1 <= names.count("few") <= 2
    assert any(dropped(answer) == {"few": "quota"} for answer in found)


def test_requests_stay_in_their_regions(gateway: Gateway, key: Key) -> None:
    for _ in range(5):
        answer = ask(gateway, key, "resident")
        assert (served(answer), dropped(answer)) == ("eu", {"us": "region"})
    told = gateway.http.post("/routing/simulate", json=chat("resident"), headers=key.bearer).json()
    assert told["choices"][0]["dropped"] == [{"deployment": "us", "reason": "region"}]
