"""Text completions at models that only hold conversations, and counts of tokens by whoever can count."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model

TALKERS = ["claude", "google", "bedrock", "cohere", "responses", "chat"]
COUNTERS = ["gpt", "claude", "google", "vertex"]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(script: str, dialect: str = "openai") -> dict[str, Any]:
        return make_deployment(provider, script, dialect=dialect)

    config = make_config(
        make_model("gpt", at("usage=41:1")),
        make_model("claude", at("echo;usage=42:1", "anthropic")),
        make_model("google", at("echo;usage=43:1", "gemini")),
        make_model("vertex", {**at("usage=44:1", "gemini"), "provider": "vertex-like"}),
        make_model("bedrock", at("echo", "bedrock")),
        make_model("cohere", at("echo", "cohere")),
        make_model("responses", {**make_deployment(provider.url, "echo"), "provider": "responses-like"}),
        make_model("chat", {**at("echo"), "provider": "chat-like"}),
        make_model("busy", at("status=429;error_message=slow down", "anthropic")),
        make_model("inside", at("error_at_event=2;error_type=overloaded_error", "anthropic")),
        providers={
            "vertex-like": {
                "dialect": "gemini",
                "base_url": provider.url,
                "operations": {"vertex_count_tokens": "/v1/models/{model}:countTokens"},
            },
            "responses-like": {
                "dialect": "openai",
                "base_url": f"{provider.url}/v1",
                "operations": {"responses": "/responses"},
            },
            "chat-like": {
                "dialect": "openai",
                "base_url": f"{provider.url}/v1",
                "operations": {"chat": "/chat/completions"},
            },
        },
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(scope="module")
def gpt(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", TALKERS)
def test_a_prompt_is_completed_by_a_conversation(gpt: openai.OpenAI, model: str) -> None:
    whole = gpt.completions.create(model=model, prompt="one two three", max_tokens=50)
    assert (whole.object, whole.choices[0].text, whole.choices[0].finish_reason) == (
        "text_completion",
        "one two three",
        "stop",
    )
    assert whole.usage is not None
    assert whole.usage.completion_tokens > 0
    stream = gpt.completions.create(
        model=model, prompt="one two three", stream=True, stream_options={"include_usage": True}
    )
    events = list(stream)
    text = "".join(event.choices[0].text for event in events if event.choices)
    finishes = [event.choices[0].finish_reason for event in events if event.choices]
    assert (text, [reason for reason in finishes if reason]) == ("one two three", ["stop"])
    assert events[-1].usage is not None
    assert events[-1].usage.prompt_tokens > 0


def test_what_a_conversation_cannot_do_is_refused(gpt: openai.OpenAI) -> None:
    for body, parameter in [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
    ]:
        sent: Any = body
        with pytest.raises(openai.BadRequestError) as refused:
            gpt.completions.create(model="claude", **sent)
        assert refused.value.param == parameter


def test_failures_are_told_in_openais_words(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError, match="slow down"):
        gpt.completions.create(model="busy", prompt="x")
    with pytest.raises(openai.APIError):
        list(gpt.completions.create(model="inside", prompt="x y z", stream=True))


@pytest.mark.parametrize("model", COUNTERS)
def test_the_provider_counts(gateway: Gateway, key: Key, gpt: openai.OpenAI, model: str) -> None:
    told = 41 + COUNTERS.index(model)
    with anthropic.Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0) as claude:
        counted = claude.messages.count_tokens(
            model=model, system="Be brief.", messages=[{"role": "user", "content": "hello"}]
        )
        assert counted.input_tokens == told
    google = genai.Client(api_key=key.secret, http_options=types.HttpOptions(base_url=gateway.url))
    assert google.models.count_tokens(model=model, contents="hello").total_tokens == told
    responses = gpt.responses.input_tokens.count(model=model, input="hello", instructions="Be brief.")
    assert responses.input_tokens == told


@pytest.mark.parametrize("model", ["bedrock", "cohere", "chat"])
def test_without_a_counter_there_is_an_estimate(gateway: Gateway, key: Key, model: str) -> None:
    contents = [{"role": "user", "parts": [{"text": "x" * 40}]}]
    messages = [{"role": "user", "content": "x" * 40}]
    for path, body, member in [
        ("/v1/messages/count_tokens", {"model": model, "messages": messages}, "input_tokens"),
        ("/v1/responses/input_tokens", {"model": model, "input": messages}, "input_tokens"),
        (f"/v1beta/models/{model}:countTokens", {"contents": contents}, "totalTokens"),
    ]:
        answer = gateway.http.post(path, json=body, headers=key.bearer)
        assert (answer.status_code, answer.json()[member]) == (200, 13), answer.text
        assert answer.headers["x-ailink-estimated"] == "tokens"
