"""boto3, unchanged, against the running gateway: with a bearer key, and signing with a key's own pair."""

import json
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from anthropic import Anthropic
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from openai import OpenAI
from tests.harness import (
    AWS_KEY,
    Gateway,
    Key,
    MockProvider,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.certificates import write_pair

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO: Any = [{"role": "user", "content": [{"text": "hello there"}]}]
ASK_FOR_TOOL: Any = [{"role": "user", "content": [{"text": "please call the tool"}]}]
SCHEMA = {"type": "object", "required": ["place"], "properties": {"place": {"type": "string"}}}
TOOLS: Any = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]}


@pytest.fixture(scope="module")
def bedrock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    """Takes signed requests only."""
    with MockProvider(tmp_path_factory.mktemp("bedrock"), arguments=("--key", AWS_KEY)) as mock:
        yield mock


@pytest.fixture(scope="module")
def gateway(
    bedrock: MockProvider, provider: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def native(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(bedrock, script, dialect="bedrock", model=CLAUDE, **settings)

    price = {"input_per_million": 1, "output_per_million": 2, "cache_read_per_million": 0.1}
    config = make_config(
        make_model("native", native("echo"), price=price),
        make_model("counted", native("usage=10:20;cached=300;cache_write=40;echo"), price=price),
        make_model("thinks", native("think=hmm;echo")),
        make_model("fails-inside", native("error_at_event=1;status=429;events=4")),
        make_model("breaks", native("reset_at_event=2")),
        make_model("throttled", native("status=429")),
        make_model("flaky", native("fail_first=1;id=boto3;echo"), retries=1),
        make_model("openai", make_deployment(provider, "echo")),
        make_model("anthropic", make_deployment(provider, "echo", dialect="anthropic")),
        make_model("wrong-key", {**native(), "api_key": "AKIDMOCK:another-secret:mock-token"}),
        make_model("anthropic.claude:0", native("echo")),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


NO_RETRIES = Config(retries={"total_max_attempts": 1})


@contextmanager
def signing(gateway: Gateway, pair: dict[str, str], prefix: str = "") -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=gateway.url + prefix,
        aws_access_key_id=pair["aws_access_key_id"],
        aws_secret_access_key=pair["aws_secret_access_key"],
        config=NO_RETRIES,
    )
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(scope="module", params=["", "/bedrock"])
def client(request: pytest.FixtureRequest, gateway: Gateway, key: Key) -> Iterator[Any]:
    with signing(gateway, gateway.call("/key/aws", {"key": key.secret}), request.param) as client:
        yield client


def collected(stream: Any) -> dict[str, Any]:
    """What a stream says, put together."""
    found: dict[str, Any] = {"text": "", "input": "", "reasoning": "", "kinds": []}
    with closing(stream):
        for event in stream:
            ((kind, payload),) = event.items()
            found["kinds"].append(kind)
            delta = payload.get("delta", {})
            found["text"] += delta.get("text", "")
            found["input"] += delta.get("toolUse", {}).get("input", "")
            found["reasoning"] += delta.get("reasoningContent", {}).get("text", "")
            found |= {name: payload[name] for name in ("stopReason", "usage") if name in payload}
    return found


@pytest.mark.parametrize("model", ["native", "openai", "anthropic", "anthropic.claude:0"])
def test_converse(client: Any, model: str) -> None:
    answer = client.converse(modelId=model, messages=HELLO, system=[{"text": "Be brief."}])
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": "hello there"}]}
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"]["inputTokens"] > 0
    assert answer["usage"]["outputTokens"] == 3
    assert answer["metrics"]["latencyMs"] >= 0


@pytest.mark.parametrize("model", ["native", "openai", "anthropic"])
def test_converse_stream(client: Any, model: str) -> None:
    answer = client.converse_stream(modelId=model, messages=HELLO, inferenceConfig={"maxTokens": 50})
    found = collected(answer["stream"])
    assert (found["text"], found["stopReason"]) == ("hello there", "end_turn")
    assert found["usage"]["outputTokens"] == 3
    assert found["kinds"][0] == "messageStart"
    assert found["kinds"][-2:] == ["messageStop", "metadata"]


@pytest.mark.parametrize("model", ["native", "openai", "anthropic"])
def test_tools(client: Any, model: str) -> None:
    answer = client.converse(modelId=model, messages=ASK_FOR_TOOL, toolConfig=TOOLS)
    assert answer["stopReason"] == "tool_use"
    (block,) = answer["output"]["message"]["content"]
    use = block["toolUse"]
    assert (use["name"], use["input"]) == ("weather", {"place": "mock"})
    result = {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"json": {"sky": "blue"}}]}}
    told = [
        *ASK_FOR_TOOL,
        answer["output"]["message"],
        {"role": "user", "content": [result, {"text": "thank you"}]},
    ]
    again = client.converse(modelId=model, messages=told, toolConfig=TOOLS)
    assert again["stopReason"] == "end_turn"
    found = collected(
        client.converse_stream(modelId=model, messages=ASK_FOR_TOOL, toolConfig=TOOLS)["stream"]
    )
    assert (json.loads(found["input"]), found["stopReason"]) == ({"place": "mock"}, "tool_use")


def test_the_price_counts_the_cache_apart(client: Any, gateway: Gateway) -> None:
    for stream in (False, True):
        if stream:
            answer = client.converse_stream(modelId="counted", messages=HELLO)
            usage = collected(answer["stream"])["usage"]
        else:
            answer = client.converse(modelId="counted", messages=HELLO)
            usage = answer["usage"]
        assert (usage["inputTokens"], usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]) == (
            10,
            300,
            40,
        )
        (row,) = gateway.attempts_of(answer["ResponseMetadata"]["RequestId"])
        # 10 and 40 at 1, 300 at 0.1, 20 at 2 dollars per million.
        assert float(row["spend"]) == pytest.approx(120e-6)


def test_reasoning(client: Any) -> None:
    (thought, said) = client.converse(modelId="thinks", messages=HELLO)["output"]["message"]["content"]
    assert thought["reasoningContent"]["reasoningText"]["text"] == "hmm"
    assert said["text"] == "hello there"
    found = collected(client.converse_stream(modelId="thinks", messages=HELLO)["stream"])
    assert (found["reasoning"], found["text"]) == ("hmm", "hello there")


def test_failures_are_exceptions_of_aws(client: Any) -> None:
    with pytest.raises(client.exceptions.ThrottlingException):
        client.converse(modelId="throttled", messages=HELLO)
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="nowhere"):
        client.converse(modelId="nowhere", messages=HELLO)
    bad = [{"role": "user", "content": [{"image": {"format": "bmp", "source": {"bytes": b"x"}}}]}]
    with pytest.raises(client.exceptions.ValidationException, match=r"content\[0\].image.format"):
        client.converse(modelId="openai", messages=bad)
    assert client.converse(modelId="flaky", messages=HELLO)["stopReason"] == "end_turn"
    with pytest.raises(EventStreamError, match="throttlingException"):
        collected(client.converse_stream(modelId="fails-inside", messages=HELLO)["stream"])
    with pytest.raises(EventStreamError, match="modelStreamErrorException"):
        collected(client.converse_stream(modelId="breaks", messages=HELLO)["stream"])


def test_signatures_are_verified(gateway: Gateway, key: Key) -> None:
    pair = gateway.call("/key/aws", {"key": key.secret})
    own = gateway.http.post("/key/aws", json={}, headers=key.bearer).json()
    assert own == pair, "a key may ask for its own pair"
    forging = signing(gateway, {**pair, "aws_secret_access_key": "x" * 43})
    with forging as forged, pytest.raises(ClientError, match="signature does not fit"):
        forged.converse(modelId="native", messages=HELLO)
    elsewhere_known = signing(gateway, {**pair, "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"})
    with elsewhere_known as unknown, pytest.raises(ClientError, match="not known here"):
        unknown.converse(modelId="native", messages=HELLO)
    elsewhere = gateway.http.post(
        "/v1/chat/completions", json={}, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"}
    )
    assert elsewhere.status_code == 401


def test_a_rotated_key_takes_its_pair_along(gateway: Gateway) -> None:
    key = gateway.mint()
    with signing(gateway, gateway.call("/key/aws", {"key": key.secret})) as client:
        assert client.converse(modelId="native", messages=HELLO)["stopReason"] == "end_turn"
        gateway.call("/key/regenerate", {"key": key.secret})
        with pytest.raises(ClientError, match="not known here"):
            client.converse(modelId="native", messages=HELLO)


def test_chat_and_messages_clients_reach_bedrock(gateway: Gateway, key: Key, bedrock: MockProvider) -> None:
    said: Any = [{"role": "user", "content": "hello there"}]
    with OpenAI(base_url=gateway.url + "/v1", api_key=key.secret, max_retries=0) as openai:
        answer = openai.chat.completions.create(model="native", messages=said)
        assert answer.choices[0].message.content == "hello there"
        chunks = openai.chat.completions.create(
            model="native", messages=said, stream=True, stream_options={"include_usage": True}
        )
        pieces = list(chunks)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == "hello there"
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == 3
    with Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0) as anthropic:
        message = anthropic.messages.create(model="thinks", messages=said, max_tokens=100)
        assert [block.type for block in message.content] == ["thinking", "text"]
        with anthropic.messages.stream(model="native", messages=said, max_tokens=100) as stream:
            assert stream.get_final_text() == "hello there"
    seen = until(lambda: bedrock.requests())[-1]
    assert seen.path.endswith("/converse-stream")
    assert "%3A0" in seen.path, "the colon of a model id travels encoded"
    assert seen.headers["x-amz-security-token"] == "mock-token"


def test_a_wrong_secret_is_the_providers_refusal(gateway: Gateway, key: Key) -> None:
    answer = gateway.http.post(
        "/v1/chat/completions",
        json={"model": "wrong-key", "messages": [{"role": "user", "content": "x"}]},
        headers=key.bearer,
    )
    assert answer.status_code == 403
    assert "another-secret" not in answer.text


def test_a_stored_bedrock_api_key_is_a_bearer_token(tmp_path: Path) -> None:
    with MockProvider(tmp_path / "mock", arguments=("--key", "ABSKkey")) as mock:
        deployment = {**make_deployment(mock, "echo", dialect="bedrock"), "api_key": "ABSKkey"}
        with Gateway(tmp_path / "gateway", make_config(make_model("m", deployment))) as gateway:
            key = gateway.mint()
            answer = gateway.http.post(
                "/v1/chat/completions",
                json={"model": "m", "messages": [{"role": "user", "content": "hi you"}]},
                headers=key.bearer,
            )
            assert answer.json()["choices"][0]["message"]["content"] == "hi you"


def test_a_key_as_a_bearer_token(
    provider: MockProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 sends one over TLS only."""
    certificate, private = write_pair(tmp_path)
    tls = {"cert_file": str(certificate), "key_file": str(private)}
    config = make_config(make_model("m", make_deployment(provider, "echo")), server={"tls": tls})
    gateway = Gateway(tmp_path / "gateway", config)
    gateway.http.close()
    gateway.url = f"https://127.0.0.1:{gateway.port}"
    context = ssl.create_default_context(cafile=str(certificate))
    gateway.http = httpx.Client(base_url=gateway.url, verify=context, timeout=30)
    with gateway:
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", gateway.mint().secret)
        url, authority = gateway.url, str(certificate)
        client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, verify=authority)
        with closing(client):
            answer = client.converse(modelId="m", messages=HELLO)
            assert answer["output"]["message"]["content"] == [{"text": "hello there"}]
            found = collected(client.converse_stream(modelId="m", messages=HELLO)["stream"])
            assert found["text"] == "hello there"
