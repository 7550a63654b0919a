"""Portkey's own Python client against the gateway: configs, providers, streams, headers, errors."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from portkey_ai import Portkey
from portkey_ai._vendor.openai import AuthenticationError, BadRequestError
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model

# The client leaves its sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
ASK: list[dict[str, str]] = [{"role": "user", "content": "hello"}]
FALLBACK: dict[str, Any] = {
    "strategy": {"mode": "fallback", "on_status_codes": [500]},
    "targets": [{"override_params": {"model": "broken"}}, {"override_params": {"model": "gpt"}}],
}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Those sockets are collected here, not in the middle of somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("gpt", make_deployment(provider, model="gpt")),
        make_model("broken", make_deployment(provider, "status=500", model="broken")),
        make_model("two", *(make_deployment(provider, model=f"two-{n}", id=f"two-{n}") for n in "ab")),
        make_model("vectors", make_deployment(provider, model="vectors")),
        routing={"configs": {"pc-saved": FALLBACK}, "breaker": {"open": "0s"}},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def client(gateway: Gateway, key: Key, **settings: Any) -> Any:
    return Portkey(api_key=key.secret, base_url=f"{gateway.url}/v1", **settings)


def asked(provider: MockProvider, mark: int) -> list[str]:
    return [seen.json()["model"].split("?")[0] for seen in provider.requests(mark)]


@pytest.mark.parametrize("config", [FALLBACK, "pc-saved"], ids=["object", "saved"])
def test_configs(gateway: Gateway, key: Key, provider: MockProvider, config: Any) -> None:
    mark = provider.mark()
    answer = client(gateway, key, config=config).chat.completions.create(model="gpt", messages=ASK)
    assert answer.choices[0].message.content
    assert asked(provider, mark) == ["broken", "gpt"]
    headers = answer.get_headers()
    assert headers["last-used-option-index"] == "config.targets[1]"
    assert headers["retry-attempt-count"] == "0"
    assert headers["cache-status"] == "DISABLED"


def test_a_config_of_one_request(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    asking = client(gateway, key).with_options(config=FALLBACK, metadata={"_user": "ann"}, trace_id="t-1")
    answer = asking.chat.completions.create(model="gpt", messages=ASK)
    assert asked(provider, mark) == ["broken", "gpt"]
    assert answer.get_headers()["trace-id"] == "t-1"


def test_a_provider(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    for name in ("two-a", "@two-b"):
        client(gateway, key, provider=name).chat.completions.create(model="two", messages=ASK)
    client(gateway, key, config={}).chat.completions.create(model="@two-a/two", messages=ASK)
    assert asked(provider, mark) == ["two-a", "two-b", "two-a"]


def test_a_stream(gateway: Gateway, key: Key) -> None:
    pieces = client(gateway, key, config=FALLBACK).chat.completions.create(
        model="gpt", messages=ASK, stream=True
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text.startswith("Gateways")


def test_embeddings(gateway: Gateway, key: Key) -> None:
    answer = client(gateway, key).embeddings.create(model="vectors", input=["one", "two"])
    assert len(answer.data) == 2


def test_errors(gateway: Gateway, key: Key) -> None:
    with pytest.raises(BadRequestError, match="unknown strategy"):
        client(
            gateway, key, config={"strategy": {"mode": "random"}, "targets": [{}]}
        ).chat.completions.create(model="gpt", messages=ASK)
    with pytest.raises(AuthenticationError):
        Portkey(api_key="sk-unknown", base_url=f"{gateway.url}/v1").chat.completions.create(
            model="gpt", messages=ASK
        )
