"""Streamed answers are looked at in every dialect, Amazon's frames too: denied tools, checks before and
behind, choices apart, and what the cache answers.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until

ASK_FOR_TOOL: Any = [{"role": "user", "content": [{"text": "please call the tool"}]}]
HELLO: Any = [{"role": "user", "content": [{"text": "hello there"}]}]
SCHEMA = {"type": "object", "required": ["place"], "properties": {"place": {"type": "string"}}}
TOOLS: Any = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
NONE_OF_IT = {"contains": {"words": ["bluebird"], "operator": "none"}}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, script: str, *rules: str, **settings: Any) -> dict[str, Any]:
        return make_model(
            name, make_deployment(provider, script, model=name), guardrails=list(rules), **settings
        )

    def denies(phase: str) -> dict[str, Any]:
        scope = {"tool_scope": {"blocked": ["weather"], "message": "no forecasts"}}
        return {"name": f"no-weather-{phase}", "phase": phase, "then": [scope]}

    config = make_config(
        at("denied", "echo", policies=["no-weather-stream"]),
        at("denied-late", "echo", policies=["no-weather-post"]),
        at("free", "echo"),
        at("checked", "text=a bluebird sings", "blocks"),
        at("fine", "text=a blackbird sings", "blocks"),
        at("behind", "text=a bluebird sings", "counts"),
        at("cached", "text=a bluebird sings", cache={"mode": "on"}),
        at("cached-tools", "echo", policies=["no-weather-stream"], cache={"mode": "on"}),
        at("cached-free", "echo", cache={"mode": "on"}),
        guardrails=[
            {"name": "blocks", "scan": ["output"], "checks": [NONE_OF_IT]},
            {"name": "counts", "scan": ["output"], "checks": [NONE_OF_IT], "run": "async"},
        ],
        policies=[denies("stream"), denies("post")],
        cache={"enabled": True, "mode": "opt_in"},
    )
    with Gateway(tmp_path_factory.mktemp("framed"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[Any]:
    pair = gateway.call("/key/aws", {"key": key.secret})
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=gateway.url,
        aws_access_key_id=pair["aws_access_key_id"],
        aws_secret_access_key=pair["aws_secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    with closing(client):
        yield client


def ask(gateway: Gateway, key: Key, model: str, text: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=key.bearer)


def test_a_denied_tool_ends_a_stream_of_frames(client):
    passed = client.converse_stream(modelId="free", messages=ASK_FOR_TOOL, toolConfig=TOOLS)
    with closing(passed["stream"]) as stream:
        assert "weather" in str(list(stream))
    seen = []
    denied = client.converse_stream(modelId="denied", messages=ASK_FOR_TOOL, toolConfig=TOOLS)
    with closing(denied["stream"]) as stream, pytest.raises(EventStreamError, match="no forecasts"):
        seen.extend(stream)
    assert "weather" not in str(seen)
    # Without the tool nothing ends.
    plain = client.converse_stream(modelId="denied", messages=HELLO)
    with closing(plain["stream"]) as stream:
        assert "hello" in str(list(stream))


def test_a_policy_on_whole_answers_sees_frames(client):
    with pytest.raises(ClientError, match="no forecasts"):
        client.converse_stream(modelId="denied-late", messages=ASK_FOR_TOOL, toolConfig=TOOLS)


def test_a_check_of_answers_sees_frames(client):
    with pytest.raises(ClientError, match="blocks") as refused:
        client.converse_stream(modelId="checked", messages=HELLO)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    passed = client.converse_stream(modelId="fine", messages=HELLO)
    with closing(passed["stream"]) as stream:
        said = "".join(
            event.get("contentBlockDelta", {}).get("delta", {}).get("text", "") for event in stream
        )
    assert said == "a blackbird sings"


def test_a_check_behind_sees_frames(client, gateway):
    def counted() -> float:
        return sum(
            value
            for name, value in gateway.metrics().items()
            if name.startswith("ailink_guardrail_verdicts") and '"counts"' in name
        )

    before = counted()
    answer = client.converse_stream(modelId="behind", messages=HELLO)
    with closing(answer["stream"]) as stream:
        assert "sings" in str(list(stream))
    until(lambda: counted() == before + 1, "the verdict is counted")


def test_other_dialects_are_seen_alike(gateway, key):
    """The same model asked in every dialect: a denied tool, a refused answer."""
    functions = [{"functionDeclarations": [{"name": "weather", "parameters": {"type": "OBJECT"}}]}]
    tools: dict[str, Any] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "call the tool"}], "tools": [TOOL]},
        "/v1/messages": {
            "max_tokens": 99,
            "messages": [{"role": "user", "content": "call the tool"}],
            "tools": [{"name": "weather", "input_schema": SCHEMA}],
        },
        "/v1/responses": {"input": "call the tool", "tools": [{"type": "function", **TOOL["function"]}]},
        "/v2/chat": {"messages": [{"role": "user", "content": "call the tool"}], "tools": [TOOL]},
        "/v1beta/models/{model}:streamGenerateContent?alt=sse": {
            "contents": [{"parts": [{"text": "call the tool"}]}],
            "tools": functions,
        },
        "/v1beta/models/{model}:streamGenerateContent": {
            "contents": [{"parts": [{"text": "call the tool"}]}],
            "tools": functions,
        },
    }
    for path, body in tools.items():
        for model in ("free", "denied", "checked"):
            sent = {name: value for name, value in body.items() if model != "checked" or name != "tools"}
            if "{model}" not in path:
                sent |= {"model": model, "stream": True}
            answer = gateway.http.post(path.format(model=model), json=sent, headers=key.bearer)
            if model == "free":
                assert answer.status_code == 200, f"{path}: {answer.text}"
                assert "weather" in answer.text, f"{path}: {answer.text}"
            elif model == "denied":
                assert "weather" not in answer.text.replace("no forecasts", ""), f"{path}: {answer.text}"
                assert "no forecasts" in answer.text, f"{path}: {answer.text}"
            else:
                assert answer.status_code == 400, f"{path}: {answer.text}"


def test_choices_are_put_together_apart(gateway, key):
    answer = ask(gateway, key, "fine", "hello", n=3, stream=True)
    assert answer.status_code == 200, answer.text
    assert ask(gateway, key, "checked", "hello", n=3, stream=True).status_code == 400


def test_a_stream_from_the_cache_is_watched(gateway, key):
    text = "call the tool, whoever asks"
    answers = [ask(gateway, key, "cached-tools", text, stream=True, tools=[TOOL]) for _ in range(3)]
    assert all("no forecasts" in answer.text for answer in answers), [answer.text for answer in answers]
    assert all('"weather"' not in answer.text for answer in answers)


def test_what_checks_refuse_of_the_cache_falls_back(gateway, key):
    config = {
        "strategy": {"mode": "fallback", "on_status_codes": [446]},
        "targets": [
            {
                "override_params": {"model": "cached"},
                "output_guardrails": [{"default.contains": NONE_OF_IT["contains"], "deny": True}],
            },
            {"override_params": {"model": "fine"}},
        ],
    }
    first = ask(gateway, key, "cached", "hello")
    assert first.headers["x-ailink-cache"] == "miss"
    for stream in (False, True):
        assert ask(gateway, key, "cached", "hello", stream=stream).headers["x-ailink-cache"] == "hit"
        headers = {**key.bearer, "x-portkey-config": json.dumps(config)}
        answer = gateway.http.post(
            "/v1/chat/completions", json=chat("cached", "hello", stream=stream), headers=headers
        )
        assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "fine"), answer.text
        assert answer.headers.get("x-ailink-cache") != "hit"
        assert "x-ailink-cache-key" not in answer.headers
        assert "bluebird" not in answer.text
        # What a caller's own check refused is there for others, or is asked for anew.
        assert ask(gateway, key, "cached", "hello", stream=stream).status_code == 200
