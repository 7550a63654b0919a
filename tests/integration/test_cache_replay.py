"""Replays through the official SDKs: every format, whole and as a stream, whichever way it was stored."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import boto3
import cohere
import openai
import pytest
from botocore.config import Config
from google import genai
from google.genai import types
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model

DIALECTS = ("openai", "anthropic", "gemini", "cohere")
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    models = [
        make_model(
            f"by-{dialect}",
            make_deployment(
                provider,
                "echo;usage=7:9",
                dialect=dialect,
                price={
                    "input_per_million": 1,
                    "output_per_million": 10,
                },
            ),
        )
        for dialect in DIALECTS
    ]
    models.append(make_model("slow", make_deployment(provider, "echo"), cache={"replay_pace": "20ms"}))
    with Gateway(
        tmp_path_factory.mktemp("gateway"), make_config(*models, cache={"enabled": True})
    ) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


Said = tuple[str, int, int]
"""Text, tokens in, tokens out."""


class Clients:
    """One call per format: the same question, whole or streamed."""

    def __init__(self, gateway: Gateway, key: Key) -> None:
        url, secret = gateway.url, key.secret
        self.openai = openai.OpenAI(api_key=secret, base_url=f"{url}/v1", max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key=secret, base_url=url, max_retries=0)
        self.cohere = cohere.ClientV2(api_key=secret, base_url=url)
        self.gemini = genai.Client(api_key=secret, http_options=types.HttpOptions(base_url=url))
        self.bedrock = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id="none",
            aws_secret_access_key="none",
            config=Config(retries={"total_max_attempts": 1}),
        )
        bearer = f"Bearer {secret}"
        self.bedrock.meta.events.register(
            "before-send.bedrock-runtime.*", lambda request, **_: request.headers.update(Authorization=bearer)
        )

    def close(self) -> None:
        for client in (self.openai, self.anthropic, self.gemini, self.bedrock):
            client.close()
        self.cohere._client_wrapper.httpx_client.httpx_client.close()

    def chat(self, model: str, text: str, stream: bool) -> Said:
        messages: Any = [{"role": "user", "content": text}]
        create = self.openai.chat.completions.create
        if not stream:
            whole = create(model=model, messages=messages)
            assert whole.usage is not None
            content = whole.choices[0].message.content or ""
            return content, whole.usage.prompt_tokens, whole.usage.completion_tokens
        chunks = list(
            create(model=model, messages=messages, stream=True, stream_options={"include_usage": True})
        )
        assert len({chunk.id for chunk in chunks}) == 1
        usage = chunks[-1].usage
        assert usage is not None
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        return said, usage.prompt_tokens, usage.completion_tokens

    def responses(self, model: str, text: str, stream: bool) -> Said:
        if stream:
            with self.openai.responses.stream(model=model, input=text) as events:
                final: Any = events.get_final_response()
        else:
            final = self.openai.responses.create(model=model, input=text)
        return final.output_text, final.usage.input_tokens, final.usage.output_tokens

    def messages(self, model: str, text: str, stream: bool) -> Said:
        asked: Any = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}]}
        if stream:
            with self.anthropic.messages.stream(**asked) as events:
                final = events.get_final_message()
        else:
            final = self.anthropic.messages.create(**asked)
        block: Any = final.content[0]
        return block.text, final.usage.input_tokens, final.usage.output_tokens

    def generate(self, model: str, text: str, stream: bool) -> Said:
        if stream:
            chunks = list(self.gemini.models.generate_content_stream(model=model, contents=text))
        else:
            chunks = [self.gemini.models.generate_content(model=model, contents=text)]
        usage: Any = chunks[-1].usage_metadata
        said = "".join(chunk.text or "" for chunk in chunks)
        return said, usage.prompt_token_count, usage.candidates_token_count

    def cohere_chat(self, model: str, text: str, stream: bool) -> Said:
        messages: Any = [{"role": "user", "content": text}]
        if not stream:
            whole: Any = self.cohere.chat(model=model, messages=messages)
            tokens = whole.usage.tokens
            return whole.message.content[0].text, int(tokens.input_tokens), int(tokens.output_tokens)
        said, tokens = "", None
        for event in self.cohere.chat_stream(model=model, messages=messages):
            any_event: Any = event
            if event.type == "content-delta":
                said += any_event.delta.message.content.text
            if event.type == "message-end":
                tokens = any_event.delta.usage.tokens
        assert tokens is not None
        return said, int(tokens.input_tokens), int(tokens.output_tokens)

    def converse(self, model: str, text: str, stream: bool) -> Said:
        asked: Any = {"modelId": model, "messages": [{"role": "user", "content": [{"text": text}]}]}
        if not stream:
            whole = self.bedrock.converse(**asked)
            usage = whole["usage"]
            return (
                whole["output"]["message"]["content"][0]["text"],
                usage["inputTokens"],
                usage["outputTokens"],
            )
        said, usage = "", {}
        for event in self.bedrock.converse_stream(**asked)["stream"]:
            said += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
            usage = event.get("metadata", {}).get("usage", usage)
        return said, usage["inputTokens"], usage["outputTokens"]


@pytest.fixture(scope="module")
def clients(gateway: Gateway, key: Key) -> Iterator[Clients]:
    made = Clients(gateway, key)
    yield made
    made.close()


CALLS: dict[str, Callable[[Clients, str, str, bool], Said]] = {
    "chat": Clients.chat,
    "responses": Clients.responses,
    "messages": Clients.messages,
    "generate_content": Clients.generate,
    "cohere_chat": Clients.cohere_chat,
    "converse": Clients.converse,
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stored", ["whole", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_sdks_take_replays(
    clients: Clients, provider: MockProvider, name: str, stored: str, dialect: str
) -> None:
    call, text = CALLS[name], f"{name} {stored} {dialect} says this"
    first = call(clients, f"by-{dialect}", text, stored == "stream")
    assert (text in first[0], first[1:]) == (True, (7, 9)), first
    mark = provider.mark()
    for stream in (False, True):
        assert call(clients, f"by-{dialect}", text, stream) == first
    assert provider.requests(since=mark) == []


def test_tool_calls(clients: Clients, provider: MockProvider) -> None:
    def ask(stream: bool) -> tuple[str, str]:
        create: Any = clients.openai.chat.completions.create
        asked = {
            "model": "by-openai",
            "messages": [{"role": "user", "content": "call the tool"}],
            "tools": [TOOL],
        }
        if not stream:
            call = create(**asked).choices[0].message.tool_calls[0]
            return call.function.name, call.function.arguments
        with clients.openai.chat.completions.stream(**asked) as events:
            for _ in events:
                pass
            final: Any = events.get_final_completion()
        call = final.choices[0].message.tool_calls[0]
        return call.function.name, call.function.arguments

    first = ask(True)
    assert first[0] == "weather"
    mark = provider.mark()
    assert (ask(False), ask(True)) == (first, first)
    assert provider.requests(since=mark) == []


def test_the_bytes_of_a_stream_are_the_same(gateway: Gateway, key: Key) -> None:
    body = {"model": "by-openai", "messages": [{"role": "user", "content": "bytes"}], "stream": True}
    one, two = (
        gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer).raise_for_status()
        for _ in range(2)
    )
    assert one.content == two.content
    assert [answer.headers["x-ailink-cache"] for answer in (one, two)] == ["miss", "hit"]
    assert two.headers["content-type"] == "text/event-stream"


def test_paced_replays_come_event_by_event(gateway: Gateway, key: Key) -> None:
    body = {"model": "slow", "messages": [{"role": "user", "content": "one two three four"}], "stream": True}
    first = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer).raise_for_status()
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=key.bearer) as replay:
        pieces = list(replay.iter_raw())
    assert replay.headers["x-ailink-cache"] == "hit"
    assert b"".join(pieces) == first.content
    assert len(pieces) >= 4
