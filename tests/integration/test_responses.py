"""OpenAI's Responses: the official SDK with models of every format, and models that speak nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from pydantic import BaseModel
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    make_config,
    make_deployment,
    make_model,
    message,
)

SCHEMA: Any = {
    "type": "object",
    "required": ["place", "days"],
    "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
}
TOOL: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
ARGUMENTS = {"place": "mock", "days": 1}
SCRIPTS = {
    "plain": "",
    "echo": "echo",
    "usage": "usage=10:20;cached=3",
    "inside": "error_at_event=2;error_message=too much",
    "cut": "close_at_event=2",
    "429": "status=429;error_message=slow down",
}
MODELS = ("anthropic", "responses")


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        *(
            make_model(f"{dialect}-{kind}", make_deployment(provider, script, dialect=dialect, model=kind))
            for dialect in (*MODELS, "openai")
            for kind, script in SCRIPTS.items()
        )
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="responses")


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0, timeout=30) as made:
        yield made


def post(gateway: Gateway, key: Key, path: str, body: Any) -> httpx.Response:
    return httpx.post(gateway.url + path, json=body, headers=key.bearer, timeout=30)


@pytest.mark.parametrize("model", MODELS)
def test_whole_and_streamed(client: openai.OpenAI, model: str) -> None:
    whole = client.responses.create(model=f"{model}-usage", input="hi", instructions="Be brief.")
    assert (whole.object, whole.status) == ("response", "completed")
    assert whole.output_text
    assert whole.usage is not None
    assert whole.usage.output_tokens == 20
    with client.responses.stream(model=f"{model}-usage", input="hi") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == whole.output_text
    assert final.usage == whole.usage
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") > 3
    for kind in ("output_item.added", "content_part.added", "output_text.done", "output_item.done"):
        assert f"response.{kind}" in kinds


def test_events_are_numbered(gateway: Gateway, key: Key) -> None:
    answer = post(gateway, key, "/v1/responses", {"model": "anthropic-plain", "input": "x", "stream": True})
    events = [event.json() for event in events_of(answer.content)]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    whole = events[-1]["response"]
    assert whole["usage"]["total_tokens"] == whole["usage"]["input_tokens"] + whole["usage"]["output_tokens"]


@pytest.mark.parametrize("model", MODELS)
def test_tool_loop(client: openai.OpenAI, model: str) -> None:
    items: list[Any] = [{"role": "user", "content": "please call the tool"}]
    first = client.responses.create(model=f"{model}-plain", input=items, tools=[TOOL])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments) == ARGUMENTS
    items += [item.model_dump(exclude_none=True) for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    items.append({"role": "user", "content": "and now?"})
    assert client.responses.create(model=f"{model}-plain", input=items, tools=[TOOL]).output_text
    with client.responses.stream(model=f"{model}-plain", input=items[:1], tools=[TOOL]) as stream:
        pieces = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        (streamed,) = [item for item in stream.get_final_response().output if item.type == "function_call"]
    assert json.loads("".join(pieces)) == json.loads(streamed.arguments) == ARGUMENTS


def test_tool_loop_is_written_as_messages(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    body = {
        "model": "anthropic-plain",
        "max_output_tokens": 50,
        "input": [
            {"role": "developer", "content": "One."},
            {"role": "user", "content": [{"type": "input_text", "text": "hi"},
                                         {"type": "input_image", "image_url": "https://h/i.png"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ailink.signature.sig"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
            {"type": "function_call_output", "call_id": "c2", "output": "2"},
        ],
    }  # fmt: skip
    mark = provider.mark()
    assert post(gateway, key, "/v1/responses", body).status_code == 200
    (seen,) = provider.requests(mark)
    asked = seen.json()
    assert [block["text"] for block in asked["system"]] == ["One."]
    assert asked["max_tokens"] == 50
    assert [(turn["role"], [block["type"] for block in turn["content"]]) for turn in asked["messages"]] == [
        ("user", ["text", "image"]),
        ("assistant", ["thinking", "tool_use", "tool_use"]),
        ("user", ["tool_result", "tool_result"]),
    ]


class Weather(BaseModel):
    place: str
    days: int


@pytest.mark.parametrize("model", MODELS)
def test_structured_output(client: openai.OpenAI, model: str) -> None:
    text = '{"place": "here", "days": 2}'
    parsed = client.responses.parse(
        model=f"{model}-echo", input=[{"role": "user", "content": text}], text_format=Weather
    )
    assert parsed.output_parsed == Weather(place="here", days=2)


def test_chat_and_messages_clients_of_a_model_that_speaks_responses(
    gateway: Gateway, key: Key, client: openai.OpenAI
) -> None:
    answer = client.chat.completions.create(**chat("responses-usage"))
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 30
    chunks = list(client.chat.completions.create(**chat("responses-usage", stream=True)))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == answer.choices[0].message.content
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    asked = client.chat.completions.create(**chat("responses-plain", "please call the tool", tools=[tool]))
    (call,) = asked.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == ARGUMENTS
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0) as claude,
        claude.messages.stream(**message("responses-usage")) as stream,
    ):
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert said == answer.choices[0].message.content
    assert final.usage.output_tokens == 20


@pytest.mark.parametrize("model", MODELS)
def test_failures(gateway: Gateway, key: Key, client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.RateLimitError, match="slow down"):
        client.responses.create(model=f"{model}-429", input="x")
    for kind in ("inside", "cut"):
        body = {"model": f"{model}-{kind}", "input": "x", "stream": True}
        last = events_of(post(gateway, key, "/v1/responses", body).content)[-1]
        assert last.name in {"error", "response.failed"}
        assert kind == "cut" or last.json()["response"]["error"]["message"] == "too much"


def test_a_failing_responses_model_tells_clients_of_other_formats(gateway: Gateway, key: Key) -> None:
    answer = post(gateway, key, "/v1/messages", message("responses-inside", stream=True))
    last = events_of(answer.content)[-1]
    assert last.name == "error"
    assert last.json()["error"]["message"] == "too much"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "hosted_tools"),
    ],
)
def test_what_a_translated_model_cannot_do(gateway: Gateway, key: Key, more: Any, param: str) -> None:
    answer = post(gateway, key, "/v1/responses", {"model": "anthropic-plain", "input": "x", **more})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_feature", param)


def test_openai_models_get_the_request_untouched(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    body = {
        "model": "openai-plain",
        "input": "x",
        "tools": [{"type": "web_search"}],
        "text": {"verbosity": "low"},
    }
    answer = post(gateway, key, "/openai/v1/responses", body)
    assert answer.status_code == 200
    (seen,) = provider.requests(mark)
    assert seen.json() == {**body, "model": "plain"}
    (row,) = gateway.attempts_of(answer.headers["x-request-id"])
    assert row["completion_tokens"] > 0
