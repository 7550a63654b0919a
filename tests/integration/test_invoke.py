"""Bedrock's InvokeModel: boto3 and Anthropic's client for Bedrock, unchanged, to providers of any format.
And Claude on Bedrock as a provider."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3
import pytest
from anthropic import Anthropic, AnthropicBedrock, APIStatusError
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from tests.harness import (
    AWS_KEY,
    Gateway,
    Key,
    MockProvider,
    frames,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.canned import CannedProvider

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"
VERSION = "bedrock-2023-05-31"
HELLO: Any = [{"role": "user", "content": "hello there"}]
PRICE = {"input_per_million": 1, "output_per_million": 2}
METRICS = "amazon-bedrock-invocationMetrics"


def chunk(event: Any) -> bytes:
    data = base64.b64encode(json.dumps(event).encode()).decode()
    return frames.event("chunk", json.dumps({"bytes": data, "p": "abcdef"}).encode())


def exception(kind: str, text: str) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frames.frame(headers, json.dumps({"message": text}).encode())


def answered(body: bytes, kind: str = "application/vnd.amazon.eventstream", **headers: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


USED = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 5,
    "output_tokens": 1,
}
SAID: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_bdrk_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": USED,
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop", METRICS: {"inputTokenCount": 11, "outputTokenCount": 7}},
]
WHOLE = {
    **SAID[0]["message"],
    "content": [{"type": "text", "text": "hello there"}],
    "stop_reason": "end_turn",
}
GENERATED: list[dict[str, Any]] = [
    {"generation": "hello", "prompt_token_count": 9, "generation_token_count": 1, "stop_reason": None},
    {"generation": " there", "generation_token_count": 2, "stop_reason": "stop"},
]
COUNTED = {"inputTokenCount": 9, "outputTokenCount": 2, "invocationLatency": 5, "firstByteLatency": 2}


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    with CannedProvider() as provider:
        stream = b"".join(map(chunk, SAID))
        provider.answers = {
            "stream": answered(stream),
            "whole": answered(
                json.dumps({**WHOLE, "usage": {**USED, "output_tokens": 7}}).encode(), "application/json"
            ),
            "throttled": answered(
                b"".join(map(chunk, SAID[:3])) + exception("throttlingException", "slow down")
            ),
            "damaged": answered(stream[:-1] + b"x"),
            "cut": answered(stream[:400]),
            "llama": answered(
                json.dumps(GENERATED[0]).encode(),
                "application/json",
                **{"x-amzn-bedrock-input-token-count": "9", "x-amzn-bedrock-output-token-count": "30"},
            ),
            "llama-stream": answered(
                b"".join(map(chunk, [GENERATED[0], {**GENERATED[1], METRICS: COUNTED}]))
            ),
        }
        yield provider


@pytest.fixture(scope="module")
def gateway(
    canned: CannedProvider, provider: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def at(name: str, row: str = "bedrock_anthropic", model: str = CLAUDE) -> dict[str, Any]:
        place = {"region": "us-east-1", "api_key": AWS_KEY, "base_url": canned.base(name)}
        return {"provider": row, "model": model, "price": PRICE, **place}

    config = make_config(
        make_model("openai", make_deployment(provider, "echo", price=PRICE)),
        make_model(
            "anthropic", make_deployment(provider, "echo;usage=10:20", dialect="anthropic", price=PRICE)
        ),
        make_model("gemini", make_deployment(provider, "echo", dialect="gemini")),
        make_model("converse", make_deployment(provider, "echo", dialect="bedrock")),
        make_model("throttled", make_deployment(provider, "status=429", dialect="anthropic")),
        make_model(
            "fails-inside", make_deployment(provider, "error_at_event=1;events=4", dialect="anthropic")
        ),
        make_model("llama", at("llama", "bedrock", LLAMA)),
        make_model("llama-stream", at("llama-stream", "bedrock", LLAMA)),
        *(
            make_model(f"on-bedrock-{name}", at(name))
            for name in ("stream", "whole", "throttled", "damaged", "cut")
        ),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@contextmanager
def boto(gateway: Gateway, key: Key, prefix: str = "/bedrock") -> Iterator[Any]:
    pair = gateway.call("/key/aws", {"key": key.secret})
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=gateway.url + prefix,
        aws_access_key_id=pair["aws_access_key_id"],
        aws_secret_access_key=pair["aws_secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    with closing(client):
        yield client


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[Any]:
    with boto(gateway, key) as client:
        yield client


def claude(**more: Any) -> str:
    return json.dumps({"anthropic_version": VERSION, "max_tokens": 100, "messages": HELLO, **more})


def pieces(answer: Any) -> list[Any]:
    with closing(answer["body"]) as stream:
        return [json.loads(event["chunk"]["bytes"]) for event in stream]


# ── callers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["openai", "anthropic", "gemini", "converse"])
def test_a_claude_body_at_every_provider(client: Any, model: str) -> None:
    answer = json.loads(client.invoke_model(modelId=model, body=claude())["body"].read())
    assert (answer["type"], answer["role"], answer["stop_reason"]) == ("message", "assistant", "end_turn")
    assert answer["content"] == [{"type": "text", "text": "hello there"}]
    told = pieces(client.invoke_model_with_response_stream(modelId=model, body=claude()))
    assert [told[0]["type"], told[-1]["type"]] == ["message_start", "message_stop"]
    text = "".join(one["delta"].get("text", "") for one in told if one["type"] == "content_block_delta")
    assert text == "hello there"
    assert told[-1][METRICS]["outputTokenCount"] > 0


def test_a_nova_body(client: Any) -> None:
    body = {
        "schemaVersion": "messages-v1",
        "messages": [{"role": "user", "content": [{"text": "hello there"}]}],
        "inferenceConfig": {"maxTokens": 50, "topK": 20},
    }
    for model in ("openai", "anthropic", "converse"):
        answer = json.loads(client.invoke_model(modelId=model, body=json.dumps(body))["body"].read())
        assert answer["output"]["message"]["content"] == [{"text": "hello there"}]
        told = pieces(client.invoke_model_with_response_stream(modelId=model, body=json.dumps(body)))
        kinds = [next(iter(one)) for one in told]
        assert (kinds[0], kinds[-2:]) == ("messageStart", ["messageStop", "metadata"])
        texts = [one["contentBlockDelta"]["delta"]["text"] for one in told if "contentBlockDelta" in one]
        assert "".join(texts) == "hello there"


def test_a_chat_body(client: Any) -> None:
    body = json.dumps({"messages": HELLO, "max_completion_tokens": 50})
    for model in ("openai", "converse"):
        answer = json.loads(client.invoke_model(modelId=model, body=body)["body"].read())
        assert answer["choices"][0]["message"]["content"] == "hello there"
        told = pieces(client.invoke_model_with_response_stream(modelId=model, body=body))
        deltas = [choice["delta"].get("content") or "" for one in told for choice in one["choices"]]
        assert "".join(deltas) == "hello there"


def test_anthropics_client_for_bedrock(gateway: Gateway, key: Key) -> None:
    pair = gateway.call("/key/aws", {"key": key.secret})
    client = AnthropicBedrock(
        aws_access_key=pair["aws_access_key_id"],
        aws_secret_key=pair["aws_secret_access_key"],
        aws_region="eu-central-1",
        base_url=f"{gateway.url}/bedrock",
        max_retries=0,
    )
    with client:
        answer = client.messages.create(model="anthropic", max_tokens=50, messages=HELLO)
        assert answer.content[0].text == "hello there"  # type: ignore[union-attr]
        with client.messages.stream(model="openai", max_tokens=50, messages=HELLO) as stream:
            assert "".join(stream.text_stream) == "hello there"
        with pytest.raises(APIStatusError) as refused:
            client.messages.create(model="nothing", max_tokens=50, messages=HELLO)
        assert refused.value.status_code == 404


def test_what_goes_to_anthropic(gateway: Gateway, key: Key, client: Any, provider: MockProvider) -> None:
    mark = provider.mark()
    beta = ["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"]
    pieces(
        client.invoke_model_with_response_stream(
            modelId="anthropic", body=claude(anthropic_beta=beta, top_k=3)
        )
    )
    (seen,) = provider.requests(mark)
    body = json.loads(seen.body or "")
    assert seen.headers["anthropic-beta"] == ",".join(beta)
    assert body.keys() == {"model", "max_tokens", "messages", "top_k", "stream"}
    assert body["stream"] is True


def test_a_body_that_only_its_model_knows(gateway: Gateway, canned: CannedProvider) -> None:
    key = gateway.mint()
    body = json.dumps({"prompt": "hello", "max_gen_len": 50})
    with boto(gateway, key, "") as client:
        answer = json.loads(client.invoke_model(modelId="llama", body=body)["body"].read())
        assert answer == GENERATED[0]
        told = pieces(client.invoke_model_with_response_stream(modelId="llama-stream", body=body))
        assert told[1][METRICS] == COUNTED
        with pytest.raises(ClientError) as refused:
            client.invoke_model(modelId="openai", body=body)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    sent = canned.requests["llama"][-1]
    assert sent.startswith(f"POST /llama/model/{LLAMA.replace(':', '%3A')}/invoke HTTP".encode())
    assert sent.endswith(body.encode())
    assert b"AWS4-HMAC-SHA256" in sent

    def settled() -> list[tuple[int, int]]:
        rows = [
            (row["prompt_tokens"], row["completion_tokens"]) for row in gateway.spend_logs(api_key=key.token)
        ]
        return rows if len(rows) == 2 else []

    assert sorted(until(settled, "two rows")) == [(9, 2), (9, 30)]


def test_errors(client: Any) -> None:
    def code(model: str, body: str) -> str:
        with pytest.raises(ClientError) as refused:
            client.invoke_model(modelId=model, body=body)
        assert refused.value.response["Error"]["Message"]
        return str(refused.value.response["Error"]["Code"])

    assert code("nothing", claude()) == "ResourceNotFoundException"
    assert code("throttled", claude()) == "ThrottlingException"
    assert code("anthropic", "{") == "ValidationException"
    assert code("anthropic", claude(messages="x")) == "ValidationException"
    assert code("anthropic", claude(anthropic_beta=5)) == "ValidationException"
    with pytest.raises(EventStreamError) as broken:
        pieces(client.invoke_model_with_response_stream(modelId="fails-inside", body=claude()))
    assert "Exception" in broken.value.response["Error"]["Code"]


def test_without_a_key(gateway: Gateway) -> None:
    for path in ("/model/openai/invoke", "/bedrock/model/openai/invoke-with-response-stream"):
        refused = gateway.http.post(path, content=claude())
        assert refused.status_code == 401
        assert refused.headers["x-amzn-errortype"] == "UnrecognizedClientException"


def test_a_key_without_messages_may_not(gateway: Gateway) -> None:
    key = gateway.mint(allowed_routes=["/v1/chat/completions"])
    refused = gateway.http.post("/model/openai/invoke", content=claude(), headers=key.bearer)
    assert (refused.status_code, refused.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")


# ── Claude on Bedrock as a provider ─────────────────────────────────────────────────────────────────────────


def test_messages_from_bedrock(gateway: Gateway, canned: CannedProvider) -> None:
    key = gateway.mint()
    with Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0) as client:
        with client.messages.stream(model="on-bedrock-stream", max_tokens=50, messages=HELLO) as stream:
            assert "".join(stream.text_stream) == "hello there"
        answer = client.messages.create(model="on-bedrock-whole", max_tokens=50, messages=HELLO)
        assert answer.content[0].text == "hello there"  # type: ignore[union-attr]
    sent = canned.requests["stream"][-1]
    line, _, body = sent.partition(b"\r\n")[0], b"", sent.split(b"\r\n\r\n")[-1]
    place = f"/stream/model/{CLAUDE.replace(':', '%3A')}/invoke-with-response-stream"
    assert line == f"POST {place} HTTP/1.1".encode()
    assert json.loads(body) == {"anthropic_version": VERSION, "max_tokens": 50, "messages": HELLO}

    def settled() -> list[tuple[int, int]]:
        rows = [
            (row["prompt_tokens"], row["completion_tokens"]) for row in gateway.spend_logs(api_key=key.token)
        ]
        return rows if len(rows) == 2 else []

    assert until(settled, "two rows") == [(11, 7), (11, 7)]


def test_other_callers_of_bedrock(gateway: Gateway, key: Key) -> None:
    body = {"model": "on-bedrock-stream", "messages": HELLO, "stream": True}
    answer = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert (
        "".join(one["choices"][0]["delta"].get("content") or "" for one in events if one["choices"])
        == "hello there"
    )
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("model", "kind"), [("throttled", "rate_limit_error"), ("damaged", "api_error"), ("cut", "api_error")]
)
def test_streams_of_bedrock_that_fail(gateway: Gateway, key: Key, model: str, kind: str) -> None:
    body = {"model": f"on-bedrock-{model}", "max_tokens": 50, "messages": HELLO, "stream": True}
    answer = gateway.http.post("/v1/messages", json=body, headers=key.bearer)
    last = json.loads(answer.text.strip().rsplit("data: ", 1)[1])
    assert (last["type"], last["error"]["type"]) == ("error", kind)
