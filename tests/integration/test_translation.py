"""Clients of one format, models of another: the official SDKs, unchanged, and what goes over the wire."""

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

FIRST = 1_000_000
SCHEMA: Any = {
    "type": "object",
    "required": ["place", "days"],
    "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CLAUDE_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}
ASK: Any = [{"role": "user", "content": "please call the tool"}]
ARGUMENTS = {"place": "mock", "days": 1}
SCRIPTS = {
    "plain": "",
    "echo": "echo",
    "usage": "usage=10:20;cached=300",
    "inside": "error_at_event=2;error_type=overloaded_error;error_message=too much",
    "cut": "close_at_event=2",
    "garbage": "body=garbage",
    "garbage-event": "garbage_at_event=1",
    "no-end": "done=false",
    "429": "status=429;retry_after=7;error_message=slow down",
    "400": "status=400;error_message=no such thing",
}
FORMATS = ("claude", "gpt")
PATHS = {"gpt": "/v1/chat/completions", "claude": "/v1/messages"}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def gpt(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, **settings)

    def claude(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, dialect="anthropic", **settings)

    config = make_config(
        make_model("both", gpt("status=503", weight=FIRST, model="g"), claude(model="c"), retries=1),
        make_model("broken", gpt("status=500"), fallbacks=["claude-plain"]),
        make_model("either", claude(weight=FIRST, model="c"), gpt(model="g")),
        *(
            make_model(f"{name}-{kind}", make(script, model=f"{name}-{kind}"))
            for name, make in (("claude", claude), ("gpt", gpt))
            for kind, script in SCRIPTS.items()
        ),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="translation")


@pytest.fixture(scope="module")
def gpt(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def claude(gateway: Gateway, key: Key) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0, timeout=30) as client:
        yield client


def ask(gateway: Gateway, key: Key, client: str, kind: str, **more: Any) -> httpx.Response:
    """A client of one format asks a model of the other one."""
    provider = "gpt" if client == "claude" else "claude"
    body = {"gpt": chat, "claude": message}[client](f"{provider}-{kind}", **more)
    return httpx.post(gateway.url + PATHS[client], json=body, headers=key.bearer, timeout=30)


def said_to(provider: MockProvider, mark: int) -> Any:
    """What the provider was asked since `mark`."""
    (seen,) = provider.requests(mark)
    return seen.json()


def test_openai_client_and_a_claude_model(gpt: openai.OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = gpt.chat.completions.create(
        model="claude-echo",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi you"}],
        stop=["END"],
        temperature=0.5,
        user="u-1",
    )
    assert answer.object == "chat.completion"
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("hi you", "stop")
    asked = said_to(provider, mark)
    assert asked["system"] == [{"type": "text", "text": "Be brief."}]
    assert asked["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi you"}]}]
    assert (asked["stop_sequences"], asked["temperature"]) == (["END"], 0.5)
    assert asked["metadata"] == {"user_id": "u-1"}
    assert asked["max_tokens"] > 0


def test_anthropic_client_and_an_openai_model(claude: anthropic.Anthropic, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = claude.messages.create(
        model="gpt-echo",
        max_tokens=100,
        system="Be brief.",
        messages=[{"role": "user", "content": "hi you"}],
        stop_sequences=["END"],
    )
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert [block.text for block in answer.content if block.type == "text"] == ["hi you"]
    asked = said_to(provider, mark)
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi you"},
    ]
    assert (asked["stop"], asked["max_tokens"]) == (["END"], 100)


def test_usage_is_counted_as_each_format_does(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    told = gpt.chat.completions.create(**chat("claude-usage")).usage
    assert told is not None
    assert told.prompt_tokens_details is not None
    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (310, 20, 330)
    assert told.prompt_tokens_details.cached_tokens == 300
    read = claude.messages.create(**message("gpt-usage")).usage
    assert read.output_tokens == 20
    assert (read.input_tokens + (read.cache_read_input_tokens or 0)) == 10


def test_openai_client_streams_a_claude_model(gpt: openai.OpenAI) -> None:
    request: Any = chat("claude-usage", stream=True, stream_options={"include_usage": True})
    chunks = list(gpt.chat.completions.create(**request))
    whole = gpt.chat.completions.create(**chat("claude-usage"))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 310


def test_anthropic_client_streams_an_openai_model(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(**message("gpt-usage")) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 3
    assert final.stop_reason == "end_turn"
    assert [block.text for block in final.content if block.type == "text"] == ["".join(pieces)]
    assert final.usage.output_tokens == 20


def test_openai_clients_tool_loop_with_a_claude_model(gpt: openai.OpenAI, provider: MockProvider) -> None:
    messages: list[Any] = list(ASK)
    first = gpt.chat.completions.create(model="claude-plain", messages=messages, tools=[TOOL])
    assert first.choices[0].finish_reason == "tool_calls"
    (call,) = first.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == ARGUMENTS
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    messages.append({"role": "user", "content": "and now?"})
    mark = provider.mark()
    second = gpt.chat.completions.create(model="claude-plain", messages=messages, tools=[TOOL])
    assert second.choices[0].finish_reason == "stop"
    asked = said_to(provider, mark)["messages"]
    assert [turn["role"] for turn in asked] == ["user", "assistant", "user"]
    assert asked[1]["content"] == [{"type": "tool_use", "id": call.id, "name": "weather", "input": ARGUMENTS}]
    assert asked[2]["content"] == [
        {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]},
        {"type": "text", "text": "and now?"},
    ]


def test_anthropic_clients_tool_loop_with_an_openai_model(
    claude: anthropic.Anthropic, provider: MockProvider
) -> None:
    messages: list[Any] = list(ASK)
    with claude.messages.stream(
        model="gpt-plain", max_tokens=500, messages=messages, tools=[CLAUDE_TOOL]
    ) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert call.input == ARGUMENTS
    messages.append({"role": "assistant", "content": first.content})
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}
    result = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": [{"type": "text", "text": "see"}, image],
    }
    messages.append({"role": "user", "content": [result, {"type": "text", "text": "and now?"}]})
    mark = provider.mark()
    second = claude.messages.create(model="gpt-plain", max_tokens=500, messages=messages, tools=[CLAUDE_TOOL])
    assert second.stop_reason == "end_turn"
    asked = said_to(provider, mark)["messages"]
    assert [turn["role"] for turn in asked] == ["user", "assistant", "tool", "user"]
    assert asked[1]["tool_calls"][0]["id"] == asked[2]["tool_call_id"] == call.id
    assert json.loads(asked[1]["tool_calls"][0]["function"]["arguments"]) == ARGUMENTS
    assert asked[3]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
        {"type": "text", "text": "and now?"},
    ]


def test_openai_client_streams_a_tool_call_of_a_claude_model(gpt: openai.OpenAI) -> None:
    stream = gpt.chat.completions.create(model="claude-plain", messages=ASK, tools=[TOOL], stream=True)
    pieces = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert pieces[0].id
    assert pieces[0].function is not None
    assert pieces[0].function.name == "weather"
    arguments = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert json.loads(arguments) == ARGUMENTS
    assert len(pieces) > 2


class Weather(BaseModel):
    place: str
    days: int


def test_structured_output_is_asked_for(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, provider: MockProvider
) -> None:
    text = '{"place": "here", "days": 2}'
    mark = provider.mark()
    parsed = gpt.chat.completions.parse(
        model="claude-echo", messages=[{"role": "user", "content": text}], response_format=Weather
    )
    assert parsed.choices[0].message.parsed == Weather(place="here", days=2)
    asked = said_to(provider, mark)
    assert asked["output_config"]["format"]["type"] == "json_schema"
    assert set(asked["output_config"]["format"]["schema"]["properties"]) == {"place", "days"}
    mark = provider.mark()
    read = claude.messages.parse(
        model="gpt-echo", max_tokens=100, messages=[{"role": "user", "content": text}], output_format=Weather
    )
    assert read.parsed_output == Weather(place="here", days=2)
    assert said_to(provider, mark)["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize(("kind", "status"), [("429", 429), ("400", 400)])
def test_errors_come_in_the_callers_dialect(
    gateway: Gateway, key: Key, client: str, kind: str, status: int
) -> None:
    answer = ask(gateway, key, client, kind)
    error = answer.json()["error"]
    assert (answer.status_code == status and "slow down" in error["message"]) or "no such" in error["message"]
    expected = {429: "rate_limit_error", 400: "invalid_request_error"}
    assert error["type"] == expected[status]
    assert (answer.json().get("type") == "error") == (client == "claude")
    assert status != 429 or answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize("kind", ["inside", "cut", "garbage-event"])
def test_failures_inside_a_stream_are_told(gateway: Gateway, key: Key, client: str, kind: str) -> None:
    answer = ask(gateway, key, client, kind, stream=True)
    assert answer.status_code == 200
    events = events_of(answer.content)
    if client == "gpt":
        assert events[-1].done
        assert "error" in events[-2].json()
        error = events[-2].json()["error"]
    else:
        assert events[-1].name == "error"
        error = events[-1].json()["error"]
    assert kind != "inside" or error["message"] == "too much"
    assert error["type"]
    assert error["message"]


@pytest.mark.parametrize("client", FORMATS)
def test_a_broken_answer_is_a_502(gateway: Gateway, key: Key, client: str) -> None:
    assert ask(gateway, key, client, "garbage").status_code == 502


def test_a_stream_without_its_last_event(gateway: Gateway, key: Key) -> None:
    """OpenAI's neighbours leave `[DONE]` out and have said all; Anthropic never does."""
    events = events_of(ask(gateway, key, "claude", "no-end", stream=True).content)
    assert events[-1].name == "message_stop"
    events = events_of(ask(gateway, key, "gpt", "no-end", stream=True).content)
    assert "error" in events[-2].json()


def test_a_retry_and_a_fallback_cross_formats(gateway: Gateway, key: Key) -> None:
    for model in ("both", "broken"):
        answer = httpx.post(
            f"{gateway.url}/v1/chat/completions", json=chat(model), headers=key.bearer, timeout=30
        )
        assert answer.status_code == 200
        assert answer.json()["object"] == "chat.completion"
        assert answer.headers["x-ailink-provider"] == "mock_anthropic"


def test_what_is_left_out_is_announced_and_what_changes_the_meaning_refused(
    gateway: Gateway, key: Key
) -> None:
    answer = ask(gateway, key, "gpt", "plain", seed=7, logprobs=True, made_up=1, temperature=1.7)
    assert answer.status_code == 200
    dropped = answer.headers["x-ailink-dropped"].replace(" ", "").split(",")
    assert set(dropped) == {"seed", "logprobs", "made_up", "temperature"}
    assert "x-ailink-dropped" not in ask(gateway, key, "gpt", "plain").headers
    answer = ask(gateway, key, "gpt", "plain", n=2)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_feature", "n")
    assert "mock_anthropic" in error["message"]
    assert "several times" in error["message"]


def test_another_deployment_is_asked_when_the_first_cannot_say_it(gateway: Gateway, key: Key) -> None:
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions", json=chat("either", n=2), headers=key.bearer, timeout=30
    )
    assert answer.status_code == 200
    assert len(answer.json()["choices"]) == 2
    assert answer.headers["x-ailink-attempts"] == "1"


def test_bad_input_is_told_with_its_path(gateway: Gateway, key: Key) -> None:
    bad = {"model": "claude-plain", "messages": [{"role": "user", "content": [{"type": "text"}]}]}
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=bad, headers=key.bearer, timeout=30)
    assert answer.status_code == 400
    assert "messages[0].content[0].text" in answer.json()["error"]["message"]


def test_cost_and_tokens_are_recorded(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "gpt", "usage")
    (row,) = gateway.attempts_of(answer.headers["x-ailink-request-id"])
    streamed = ask(gateway, key, "gpt", "usage", stream=True)
    (other,) = gateway.attempts_of(streamed.headers["x-ailink-request-id"])
    for told in (row, other):
        assert (told["prompt_tokens"], told["completion_tokens"]) == (row["prompt_tokens"], 20)
