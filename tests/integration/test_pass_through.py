"""A provider's own paths beneath its name: with the gateway's credential, for keys that may, and billed."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model
from tests.harness.canned import CannedProvider, answer

SECRET = "sk-upstream-0123456789"


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    with CannedProvider() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, canned: CannedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def at(base_url: str) -> dict[str, Any]:
        return {"base_url": base_url, "api_key": SECRET, "pass_through": True}

    config = make_config(
        make_model("m", make_deployment(provider)),
        providers={
            "openai": at(f"{provider.url}/v1"),
            "deepseek": at(f"{provider.url}/v1"),
            "mistral": at(canned.base("v1")),
            "groq": {"base_url": f"{provider.url}/v1", "api_key": SECRET},
        },
        guardrails=[{"name": "words", "action": "block", "words": ["forbidden"]}],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def call(gateway: Gateway, secret: str, path: str, method: str = "POST", **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}", **more.pop("headers", {})}
    return gateway.http.request(method, path, headers=headers, **more)


def test_it_is_the_providers_path_with_our_credential(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint().secret
    headers = {"anthropic-beta": "x", "x-custom": "y", "x-ailink-tags": "z", "cookie": "c=1"}
    response = call(gateway, key, "/deepseek/v1/models?limit=2&key=sk-mine", "GET", headers=headers)
    assert (response.status_code, response.json()["object"]) == (200, "list"), response.text
    seen = provider.requests()[-1]
    assert (seen.method, seen.path, seen.query) == ("GET", "/v1/models", "limit=2")
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    assert (seen.headers["x-custom"], seen.headers["anthropic-beta"]) == ("y", "x")
    assert not {"cookie", "x-ailink-tags"} & seen.headers.keys()


def test_the_gateways_own_paths_go_on_as_before(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint().secret
    done = call(gateway, key, "/openai/v1/chat/completions", json=chat("m"))
    assert done.headers["x-ailink-model"] == "m"
    assert [row["id"] for row in call(gateway, key, "/openai/v1/models", "GET").json()["data"]] == ["m"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_request_uses_is_billed(gateway: Gateway, stream: bool) -> None:
    body = {**chat("deepseek-chat"), "stream": stream, "stream_options": {"include_usage": True}}
    done = call(gateway, gateway.mint().secret, "/deepseek/v1/chat/completions", json=body)
    assert done.status_code == 200, done.text
    (row,) = gateway.attempts_of(done.headers["x-request-id"])
    assert row["model_group"] == "pass_through/deepseek/deepseek-chat"
    assert Decimal(row["spend"]) > 0
    assert b'"usage":{' in done.content


def test_usage_of_any_answer_is_found(gateway: Gateway, canned: CannedProvider) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    canned.answers["v1"] = answer(json.dumps({"id": "x", "usage": usage}).encode())
    key = gateway.mint().secret
    done = call(gateway, key, "/mistral/v1/agents/completions", json={"model": "mistral-small-latest"})
    assert done.json()["usage"] == usage
    (row,) = gateway.attempts_of(done.headers["x-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (1000, 100)
    assert Decimal(row["spend"]) > 0
    chunks = [
        {"id": "x", "choices": [{"delta": {"content": "hi"}}]},
        {"usage": {"prompt_tokens": 7, "completion_tokens": 5}},
    ]
    events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    canned.answers["v1"] = answer(events, content_type="text/event-stream")
    body = {"model": "mistral-small-latest", "stream": True}
    streamed = call(gateway, key, "/mistral/v1/agents/completions", json=body)
    assert streamed.content == events
    (row,) = gateway.attempts_of(streamed.headers["x-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (7, 5)


def test_bodies_of_any_kind_pass_both_ways(gateway: Gateway, canned: CannedProvider) -> None:
    key = gateway.mint().secret
    data = bytes(range(256)) * 200
    canned.answers["v1"] = answer(data, content_type="application/octet-stream")
    sent = call(
        gateway, key, "/mistral/v1/files", content=data, headers={"content-type": "x/y"}, method="PUT"
    )
    assert sent.content == data
    head, _, body = canned.requests["v1"][-1].partition(b"\r\n\r\n")
    assert (body, head.split(b"\r\n")[0]) == (data, b"PUT /v1/files HTTP/1.1")
    assert b"content-type: x/y" in head
    canned.answers["v1"] = answer(b'{"error":{"message":"no such file"}}', status="404 Not Found")
    assert call(gateway, key, "/mistral/v1/files/1", "DELETE", content=b"").status_code == 404


def test_nothing_else_can_be_reached(
    gateway: Gateway, canned: CannedProvider, provider: MockProvider
) -> None:
    key = gateway.mint().secret
    before = sum(map(len, canned.requests.values())), len(provider.requests())
    for path, status in [
        ("/mistral/v1/%2e%2e/admin", 400),
        ("/mistral/v1/a/%2E%2e/%2e%2e/b", 400),
        ("/mistral/v1/..%2fadmin", 400),
        ("/mistral/v2/files", 404),
        ("/mistral//evil.example/v1/x", 404),
        ("/groq/v1/files", 404),
        ("/nobody/v1/files", 404),
    ]:
        assert call(gateway, key, path, json={}).status_code == status, path
    assert gateway.http.get("/mistral/v1/files").status_code == 401
    assert call(gateway, "sk-nobody", "/mistral/v1/files", "GET").status_code == 401
    assert (sum(map(len, canned.requests.values())), len(provider.requests())) == before


def test_keys_say_who_may(gateway: Gateway, canned: CannedProvider) -> None:
    canned.answers["v1"] = answer(b"{}")
    for settings, status in [
        ({"models": ["m"]}, 404),
        ({"models": ["m", "pass_through/mistral/*"]}, 200),
        ({"models": ["pass_through/openai/*"]}, 404),
        ({"allowed_routes": ["/v1/chat/completions"]}, 403),
        ({"allowed_routes": ["/v1/chat/completions", "pass_through"]}, 200),
    ]:
        key = gateway.mint(**settings).secret
        assert call(gateway, key, "/mistral/v1/files", "GET").status_code == status, settings
    listed = call(gateway, gateway.mint().secret, "/v1/models", "GET").json()["data"]
    assert [row["id"] for row in listed] == ["m"]
    asked = call(gateway, gateway.mint().secret, "/v1/chat/completions", json=chat("pass_through/openai/x"))
    assert asked.status_code in {400, 404, 503}


def test_guardrails_hold(gateway: Gateway, canned: CannedProvider) -> None:
    canned.answers["v1"] = answer(b"{}")
    key = gateway.mint(guardrails=["words"]).secret
    said = {"anything": [{"deep": "this is forbidden"}]}
    assert (
        call(gateway, key, "/mistral/v1/x", json=said).json()["error"]["code"] == "content_policy_violation"
    )
    unseen = call(gateway, key, "/mistral/v1/x", content=b"forbidden", headers={"content-type": "text/plain"})
    assert unseen.status_code == 400
    assert call(gateway, key, "/mistral/v1/x", json={"a": "fine"}).status_code == 200
