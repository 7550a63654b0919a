"""Google's clients on models of others, others' clients on Gemini: the official SDKs, unchanged."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model

SCHEMA: Any = {
    "type": "object",
    "required": ["place"],
    "properties": {"place": {"type": "string"}},
}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
CLAUDE_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}
GOOGLE_TOOL = types.Tool(
    function_declarations=[types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)]
)
ASK: Any = [{"role": "user", "content": "please call the tool"}]
NATIVE = {"openai": "gpt", "anthropic": "claude"}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def gemini(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, dialect="gemini", **settings)

    others = [
        make_model(f"{name}-{what}", make_deployment(provider, script, dialect=dialect))
        for dialect, name in NATIVE.items()
        for what, script in {
            "echo": "echo",
            "usage": "usage=100:50;cached=30",
            "split": "echo;split=1",
            "inside": "error_at_event=1;error_type=overloaded_error",
            "busy": "status=503",
        }.items()
    ]
    config = make_config(
        make_model("gemini-echo", gemini("echo", model="gemini-2.5-flash")),
        make_model("gemini-split", gemini("echo;split=1")),
        make_model("gemini-usage", gemini("usage=100:50;cached=30;reasoning=20")),
        make_model("gemini-thinks", gemini("think=hm;calls=2", model="gemini-3-flash")),
        make_model("gemini-json", gemini(model="gemini-2.5-pro")),
        make_model("gemini-cites", gemini("cite=https://example.com/a")),
        make_model("gemini-inside", gemini("error_at_event=1;status=503")),
        make_model("gemini-cut", gemini("close_at_event=2")),
        make_model("gemini-busy", gemini("status=429;error_message=slow down;retry_after=3")),
        make_model("gemini-filter", gemini("finish=SAFETY;events=1")),
        make_model("gemini-garbage", gemini("body=garbage")),
        make_model("gemini-html", gemini("body=html")),
        *others,
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(scope="module")
def google(gateway: Gateway, key: Key) -> genai.Client:
    return genai.Client(api_key=key.secret, http_options=types.HttpOptions(base_url=gateway.url))


@pytest.fixture(scope="module")
def gpt(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(gateway: Gateway, key: Key) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0) as client:
        yield client


# ── OpenAI's and Anthropic's clients on Gemini ──────────────────────────────────────


@pytest.mark.parametrize("model", ["gemini-echo", "gemini-split"])
def test_chat_on_gemini(gpt: openai.OpenAI, model: str) -> None:
    hello: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two"}]
    answer = gpt.chat.completions.create(model=model, messages=hello)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two", "stop")
    streamed = gpt.chat.completions.create(
        model=model, messages=hello, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(streamed)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens > 0


def test_usage_is_told_in_each_accounting(
    gateway: Gateway, gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    raw = gpt.chat.completions.with_raw_response.create(model="gemini-usage", messages=ASK)
    usage = raw.parse().usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (100, 50)
    assert usage.prompt_tokens_details.cached_tokens == 30
    assert usage.completion_tokens_details.reasoning_tokens == 20
    (row,) = gateway.attempts_of(raw.headers["x-ailink-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (70, 50)
    told = claude.messages.create(model="gemini-usage", max_tokens=9, messages=ASK).usage
    assert (told.input_tokens, told.cache_read_input_tokens, told.output_tokens) == (70, 30, 50)


def test_chat_tools_and_thoughts_on_gemini(gpt: openai.OpenAI, provider: MockProvider) -> None:
    answer = gpt.chat.completions.create(
        model="gemini-thinks", messages=ASK, tools=[TOOL], reasoning_effort="low"
    )
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.reasoning_content == "hm"
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [{"place": "mock"}] * 2
    assert len({call.id for call in message.tool_calls}) == 2
    mark = provider.mark()
    results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in message.tool_calls]
    history: Any = [*ASK, message.model_dump(exclude_none=True), *results]
    gpt.chat.completions.create(model="gemini-thinks", messages=history, tools=[TOOL])
    (seen,) = provider.requests(since=mark)
    _, model, user = seen.json()["contents"]
    calls = [part for part in model["parts"] if "functionCall" in part]
    assert calls[0]["thoughtSignature"] == "bW9jayBzaWduYXR1cmU="
    assert "thoughtSignature" not in calls[1]
    assert [part["functionResponse"]["name"] for part in user["parts"]] == ["weather", "weather"]


def test_chat_tools_streamed_from_gemini(gpt: openai.OpenAI) -> None:
    with gpt.chat.completions.stream(model="gemini-thinks", messages=ASK, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [{"place": "mock"}] * 2


def test_claude_tools_keep_googles_signature(claude: anthropic.Anthropic, provider: MockProvider) -> None:
    tools: Any = [CLAUDE_TOOL]
    with claude.messages.stream(model="gemini-thinks", max_tokens=99, messages=ASK, tools=tools) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    kinds = [block.type for block in answer.content]
    assert kinds == ["thinking", "tool_use", "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "fine"}
        for block in answer.content
        if block.type == "tool_use"
    ]
    mark = provider.mark()
    history: Any = [
        *ASK,
        {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
        {"role": "user", "content": results},
    ]
    claude.messages.create(model="gemini-thinks", max_tokens=99, messages=history, tools=tools)
    (seen,) = provider.requests(since=mark)
    calls = [part for part in seen.json()["contents"][1]["parts"] if "functionCall" in part]
    assert calls[0]["thoughtSignature"] == "bW9jayBzaWduYXR1cmU="


def test_structured_output_of_gemini(gpt: openai.OpenAI, provider: MockProvider) -> None:
    class Place(BaseModel):
        name: str
        people: int

    mark = provider.mark()
    answer = gpt.chat.completions.parse(model="gemini-json", messages=ASK, response_format=Place)
    assert answer.choices[0].message.parsed == Place(name="mock", people=1)
    (seen,) = provider.requests(since=mark)
    assert seen.json()["generationConfig"]["responseJsonSchema"]["properties"]["people"]["type"] == "integer"


def test_sources_become_annotations(gpt: openai.OpenAI) -> None:
    message = gpt.chat.completions.create(model="gemini-cites", messages=ASK).choices[0].message
    assert message.annotations[0].url_citation.url == "https://example.com/a"


def test_failures_of_gemini(gateway: Gateway, gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises(openai.RateLimitError, match="slow down"):
        gpt.chat.completions.create(model="gemini-busy", messages=ASK)
    with pytest.raises(openai.APIError):
        list(gpt.chat.completions.create(model="gemini-inside", messages=ASK, stream=True))
    with pytest.raises(openai.APIError):
        list(gpt.chat.completions.create(model="gemini-cut", messages=ASK, stream=True))
    for model in ("gemini-garbage", "gemini-html"):
        with pytest.raises(openai.InternalServerError) as spoilt:
            gpt.chat.completions.create(model=model, messages=ASK)
        assert spoilt.value.status_code == 502
    filtered = gpt.chat.completions.create(model="gemini-filter", messages=ASK)
    assert filtered.choices[0].finish_reason == "content_filter"
    refused = claude.messages.create(model="gemini-filter", max_tokens=9, messages=ASK)
    assert refused.stop_reason == "refusal"


def test_what_is_dropped_is_announced(gpt: openai.OpenAI) -> None:
    raw = gpt.chat.completions.with_raw_response.create(
        model="gemini-echo", messages=ASK, user="u", logit_bias={"1": 1}, extra_body={"unheard_of": 1}
    )
    assert set(raw.headers["x-ailink-dropped"].split(", ")) == {"user", "logit_bias", "unheard_of"}
    file: Any = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
    with pytest.raises(openai.BadRequestError, match="Google generateContent"):
        gpt.chat.completions.create(model="gemini-echo", messages=file)


# ── Google's client on the models of others ─────────────────────────────────────────


@pytest.mark.parametrize("name", NATIVE.values())
@pytest.mark.parametrize("what", ["echo", "split"])
def test_google_on_others(google: genai.Client, name: str, what: str) -> None:
    config = types.GenerateContentConfig(system_instruction="be brief", max_output_tokens=99)
    answer = google.models.generate_content(model=f"{name}-{what}", contents="one two", config=config)
    assert answer.text == "one two"
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    chunks = list(
        google.models.generate_content_stream(model=f"{name}-{what}", contents="one two", config=config)
    )
    assert "".join(chunk.text or "" for chunk in chunks) == "one two"
    assert chunks[-1].usage_metadata.prompt_token_count


@pytest.mark.parametrize("name", NATIVE.values())
def test_google_usage_of_others(google: genai.Client, name: str) -> None:
    usage = google.models.generate_content(model=f"{name}-usage", contents="x").usage_metadata
    prompt = 100 if name == "gpt" else 130
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (prompt, 30)
    assert (usage.candidates_token_count, usage.total_token_count) == (50, prompt + 50)


@pytest.mark.parametrize("name", NATIVE.values())
def test_google_tools_on_others(google: genai.Client, provider: MockProvider, name: str) -> None:
    off = types.AutomaticFunctionCallingConfig(disable=True)
    config = types.GenerateContentConfig(tools=[GOOGLE_TOOL], automatic_function_calling=off)
    model = f"{name}-usage"
    answer = google.models.generate_content(model=model, contents="call the tool", config=config)
    assert [call.args for call in answer.function_calls] == [{"place": "mock"}]
    streamed = list(
        google.models.generate_content_stream(model=model, contents="call the tool", config=config)
    )
    calls = [call for chunk in streamed for call in chunk.function_calls or []]
    assert [call.args for call in calls] == [{"place": "mock"}]
    mark = provider.mark()
    history = [
        types.Content(role="user", parts=[types.Part(text="call the tool")]),
        answer.candidates[0].content,
        types.Content(
            role="user",
            parts=[types.Part.from_function_response(name="weather", response={"result": "fine"})],
        ),
    ]
    google.models.generate_content(model=model, contents=history, config=config)
    (seen,) = provider.requests(since=mark)
    sent = seen.json()["messages"]
    if name == "gpt":
        assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]
    else:
        assert sent[2]["content"][0]["tool_use_id"] == sent[1]["content"][0]["id"]


@pytest.mark.parametrize("name", NATIVE.values())
def test_google_failures_of_others(google: genai.Client, name: str) -> None:
    with pytest.raises(errors.ServerError) as busy:
        google.models.generate_content(model=f"{name}-busy", contents="x")
    assert (busy.value.code, busy.value.status) == (503, "UNAVAILABLE")
    with pytest.raises(errors.APIError):
        list(google.models.generate_content_stream(model=f"{name}-inside", contents="x"))


def test_google_array_stream_of_others(gateway: Gateway, key: Key) -> None:
    answer = gateway.http.post(
        "/v1beta/models/claude-echo:streamGenerateContent",
        headers={"x-goog-api-key": key.secret},
        json={"contents": [{"parts": [{"text": "one two"}]}]},
    )
    chunks = json.loads(answer.text)
    said = [part.get("text", "") for c in chunks for part in c["candidates"][0]["content"]["parts"]]
    assert "".join(said) == "one two"
