"""The official Cohere SDK, unchanged: on a provider of Cohere's format, and on the models of others."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import cohere
import openai
import pytest
from cohere.core.api_error import ApiError
from google import genai
from google.genai import types
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model

SCHEMA: Any = {"type": "object", "required": ["place"], "properties": {"place": {"type": "string"}}}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CLAUDE_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}
ASK: Any = [{"role": "user", "content": "please call the tool"}]
HELLO: Any = [{"role": "user", "content": "one two"}]
NAMES = ("command", "gpt", "claude", "gemini")
DIALECTS = {"command": "cohere", "gpt": "openai", "claude": "anthropic", "gemini": "gemini"}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    price = {"input_per_million": 1, "output_per_million": 10}
    models = [
        make_model(f"{name}-{what}", make_deployment(provider, script, dialect=dialect, price=price))
        for name, dialect in DIALECTS.items()
        for what, script in {
            "echo": "echo",
            "split": "echo;split=1",
            "usage": "usage=100:50",
            "inside": "error_at_event=1",
            "busy": "status=429;error_message=slow down",
        }.items()
    ]
    config = make_config(
        *models,
        make_model("thinks", make_deployment(provider, "think=hm;calls=2", dialect="cohere")),
        make_model("cites", make_deployment(provider, "cite=https://example.com/a", dialect="cohere")),
        make_model("breaks", make_deployment(provider, "close_at_event=2", dialect="cohere")),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(api_key=key.secret, base_url=gateway.url) as made:
        yield made


@pytest.fixture(scope="module")
def gpt(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["echo", "split"])
def test_chat(client: cohere.ClientV2, name: str, what: str) -> None:
    answer = client.chat(model=f"{name}-{what}", messages=HELLO, max_tokens=99)
    assert answer.message.content[0].text == "one two"
    assert answer.finish_reason == "COMPLETE"
    events = list(client.chat_stream(model=f"{name}-{what}", messages=HELLO, max_tokens=99))
    said = [event.delta.message.content.text for event in events if event.type == "content-delta"]
    assert "".join(said) == "one two"
    assert events[-1].type == "message-end"
    assert events[-1].delta.finish_reason == "COMPLETE"
    assert events[-1].delta.usage.billed_units.input_tokens


@pytest.mark.parametrize("name", NAMES)
def test_usage_is_paid_for(gateway: Gateway, client: cohere.ClientV2, name: str) -> None:
    raw = client.with_raw_response.chat(model=f"{name}-usage", messages=HELLO, max_tokens=99)
    units = raw.data.usage.billed_units
    assert (units.input_tokens, units.output_tokens) == (100, 50)
    assert raw.headers["x-ailink-cost"] == "0.0006"
    (row,) = gateway.attempts_of(raw.headers["x-ailink-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (100, 50)


@pytest.mark.parametrize("name", NAMES)
def test_tools(client: cohere.ClientV2, provider: MockProvider, name: str) -> None:
    model = f"{name}-usage"
    answer = client.chat(model=model, messages=ASK, tools=[TOOL], max_tokens=99)
    assert answer.finish_reason == "TOOL_CALL"
    (call,) = answer.message.tool_calls
    assert json.loads(call.function.arguments) == {"place": "mock"}
    events = list(client.chat_stream(model=model, messages=ASK, tools=[TOOL], max_tokens=99))
    pieces = [
        event.delta.message.tool_calls.function.arguments
        for event in events
        if event.type in {"tool-call-start", "tool-call-delta"}
    ]
    assert json.loads("".join(pieces)) == {"place": "mock"}
    history: Any = [*ASK, answer.message, {"role": "tool", "tool_call_id": call.id, "content": "fine"}]
    assert client.chat(model=model, messages=history, tools=[TOOL], max_tokens=99).id


@pytest.mark.parametrize("name", NAMES)
def test_failures(client: cohere.ClientV2, name: str) -> None:
    with pytest.raises(ApiError) as busy:
        client.chat(model=f"{name}-busy", messages=HELLO, max_tokens=99, request_options={"max_retries": 0})
    assert busy.value.status_code == 429
    assert "slow down" in busy.value.body["message"]
    events = list(client.chat_stream(model=f"{name}-inside", messages=HELLO, max_tokens=99))
    assert events[-1].delta.finish_reason == "ERROR"


def test_errors_of_the_gateway(gateway: Gateway, client: cohere.ClientV2) -> None:
    with pytest.raises(ApiError) as unknown:
        client.chat(model="command-ecko", messages=HELLO)
    assert unknown.value.status_code == 404
    assert "Did you mean 'command-echo'" in unknown.value.body["message"]
    with (
        cohere.ClientV2(api_key="sk-wrong", base_url=gateway.url) as stranger,
        pytest.raises(ApiError) as refused,
    ):
        stranger.chat(model="command-echo", messages=HELLO)
    assert refused.value.status_code == 401
    events = list(client.chat_stream(model="breaks", messages=HELLO))
    assert events[-1].delta.finish_reason == "ERROR"


def test_thoughts_and_parallel_calls(client: cohere.ClientV2, gpt: openai.OpenAI) -> None:
    answer = client.chat(model="thinks", messages=ASK, tools=[TOOL])
    assert answer.message.content[0].thinking == "hm"
    assert len(answer.message.tool_calls) == 2
    message = gpt.chat.completions.create(model="thinks", messages=ASK, tools=[TOOL]).choices[0].message
    assert message.reasoning_content == "hm"
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [{"place": "mock"}] * 2
    with gpt.chat.completions.stream(model="thinks", messages=ASK, tools=[TOOL]) as stream:
        final = stream.get_final_completion().choices[0].message
    assert [json.loads(call.function.arguments) for call in final.tool_calls] == [{"place": "mock"}] * 2


def test_citations(client: cohere.ClientV2, gpt: openai.OpenAI) -> None:
    assert client.chat(model="cites", messages=HELLO).message.citations[0].text == "mock"
    message = gpt.chat.completions.create(model="cites", messages=HELLO).choices[0].message
    assert message.annotations[0].url_citation.url == "https://example.com/a"


def test_others_on_cohere(gateway: Gateway, key: Key, gpt: openai.OpenAI, provider: MockProvider) -> None:
    chunks = list(
        gpt.chat.completions.create(
            model="command-split", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two"
    assert chunks[-1].usage.prompt_tokens > 0
    with anthropic.Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0) as claude:
        tools: Any = [CLAUDE_TOOL]
        document: Any = {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "facts"},
            "title": "T",
        }
        asked: Any = [{"role": "user", "content": [document, {"type": "text", "text": "call the tool"}]}]
        mark = provider.mark()
        answer = claude.messages.create(model="command-usage", max_tokens=99, messages=asked, tools=tools)
        assert answer.stop_reason == "tool_use"
        (seen,) = provider.requests(since=mark)
        assert seen.json()["documents"] == [{"id": "doc_0", "data": {"title": "T", "text": "facts"}}]
    google = genai.Client(api_key=key.secret, http_options=types.HttpOptions(base_url=gateway.url))
    assert google.models.generate_content(model="command-echo", contents="one two").text == "one two"


def test_embeddings(client: cohere.ClientV2, gpt: openai.OpenAI) -> None:
    answer = client.embed(
        model="command-usage", texts=["a", "b"], input_type="search_query", embedding_types=["float"]
    )
    assert len(answer.embeddings.float_) == 2
    assert answer.meta.billed_units.input_tokens == 100
    assert len(gpt.embeddings.create(model="command-usage", input=["a", "b"]).data) == 2


def test_rerank(client: cohere.ClientV2) -> None:
    answer = client.rerank(model="command-usage", query="cats", documents=["a cat", "a dog"], top_n=1)
    assert len(answer.results) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [({}, "'messages'"), ({"messages": "x"}, "'messages'"), ({"messages": HELLO, "stream": 1}, "'stream'")],
)
def test_bad_requests(gateway: Gateway, key: Key, body: dict[str, Any], words: str) -> None:
    sent = {"model": "command-echo", **body}
    answer = gateway.http.post("/cohere/v2/chat", headers=key.bearer, json=sent)
    assert answer.status_code == 400
    assert words in answer.json()["message"]
