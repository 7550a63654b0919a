"""The official Google Gen AI SDK, unchanged, against the gateway and a provider of Google's format."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until

WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="The weather of a place",
            parameters_json_schema={
                "type": "object",
                "required": ["place"],
                "properties": {"place": {"type": "string"}},
            },
        )
    ]
)


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, dialect="gemini", **settings)

    price = {"input_per_million": 1, "output_per_million": 10, "cache_read_per_million": 0.1}
    config = make_config(
        make_model("gemini-2.5-flash", at(model="gemini-2.5-flash-001", price=price)),
        make_model("echo", at("echo")),
        make_model("counted", at("usage=100:50;cached=30;reasoning=20", price=price)),
        make_model("thinks", at("think=hm;usage=10:20;reasoning=5;calls=2")),
        make_model("cites", at("cite=https://example.com/a")),
        make_model("fails-inside", at("error_at_event=2;status=503")),
        make_model("breaks", at("reset_at_event=2")),
        make_model("unfinished", at("body=truncated")),
        make_model("embedder", at(model="gemini-embedding-001"), mode="embedding"),
        make_model("tiny", at("split=1;events=8")),
        *(make_model(f"status-{status}", at(f"status={status}")) for status in (400, 404, 429, 503)),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="gemini-sdk")


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> genai.Client:
    return genai.Client(api_key=key.secret, http_options=types.HttpOptions(base_url=gateway.url))


def test_content_is_generated_and_paid_for(gateway: Gateway, client: genai.Client) -> None:
    answer = client.models.generate_content(model="counted", contents="hello")
    assert answer.text
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count) == (100, 30)
    assert (usage.cached_content_token_count, usage.thoughts_token_count) == (30, 20)
    headers = answer.sdk_http_response.headers
    # 70 at 1, 30 at 0.1 and 50 at 10 dollars per million.
    assert headers["x-ailink-cost"] == "0.000573"
    (row,) = gateway.attempts_of(headers["x-ailink-request-id"])
    assert (row["prompt_tokens"], row["completion_tokens"]) == (70, 50)


def test_the_body_reaches_the_provider_untouched(client: genai.Client, provider: MockProvider) -> None:
    mark = provider.mark()
    client.models.generate_content(
        model="gemini-2.5-flash",
        contents="hello",
        config=types.GenerateContentConfig(
            system_instruction="be brief",
            temperature=0.5,
            safety_settings=[
                types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_ONLY_HIGH")
            ],
            thinking_config=types.ThinkingConfig(thinking_budget=0),
        ),
    )
    (seen,) = provider.requests(since=mark)
    assert seen.path == "/v1beta/models/gemini-2.5-flash-001:generateContent"
    sent = seen.json()
    assert sent["safetySettings"][0]["threshold"] == "BLOCK_ONLY_HIGH"
    # So the SDK writes it.
    assert sent["generationConfig"]["thinkingConfig"] == {"thinking_budget": 0}


@pytest.mark.parametrize("model", ["echo", "tiny"])
def test_streams(client: genai.Client, model: str) -> None:
    chunks = list(client.models.generate_content_stream(model=model, contents="one two three"))
    text = "".join(chunk.text or "" for chunk in chunks)
    assert text == "one two three" if model == "echo" else len(text.split()) == 8
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.total_token_count


def test_a_stream_is_paid_for(gateway: Gateway, client: genai.Client) -> None:
    chunks = list(client.models.generate_content_stream(model="counted", contents="hello"))
    request_id = chunks[0].sdk_http_response.headers["x-ailink-request-id"]
    (row,) = gateway.attempts_of(request_id)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (70, 50)


def test_without_sse_a_stream_is_one_array(gateway: Gateway, key: Key) -> None:
    for model in ("echo", "tiny"):
        answer = gateway.http.post(
            f"/v1beta/models/{model}:streamGenerateContent",
            params={"key": key.secret},
            json={"contents": [{"role": "user", "parts": [{"text": "one two"}]}]},
        )
        assert answer.headers["content-type"] == "application/json"
        chunks = json.loads(answer.text)
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
        assert len(chunks) > 2
    broken = gateway.http.post(
        "/v1beta/models/fails-inside:streamGenerateContent",
        headers={"x-goog-api-key": key.secret},
        json={"contents": [{"parts": [{"text": "x"}]}]},
    )
    assert json.loads(broken.text)[-1]["error"]["status"] == "UNAVAILABLE"


def test_tools_and_thoughts(client: genai.Client) -> None:
    config = types.GenerateContentConfig(
        tools=[WEATHER],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=types.ThinkingConfig(include_thoughts=True),
    )
    answer = client.models.generate_content(model="thinks", contents="call the tool", config=config)
    parts = answer.candidates[0].content.parts
    assert parts[0].thought
    assert parts[0].text == "hm"
    assert [call.name for call in answer.function_calls] == ["weather", "weather"]
    assert parts[1].thought_signature == b"mock signature"
    streamed = list(
        client.models.generate_content_stream(model="thinks", contents="call the tool", config=config)
    )
    calls = [call for chunk in streamed for call in chunk.function_calls or []]
    assert [call.args for call in calls] == [{"place": "mock"}] * 2


def test_structured_output(client: genai.Client) -> None:
    class Place(BaseModel):
        name: str
        people: int

    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Place)
    answer = client.models.generate_content(model="gemini-2.5-flash", contents="a place", config=config)
    assert answer.parsed == Place(name="mock", people=1)


def test_grounding_is_kept(client: genai.Client) -> None:
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    answer = client.models.generate_content(model="cites", contents="x", config=config)
    assert answer.candidates[0].grounding_metadata.grounding_chunks[0].web.uri == "https://example.com/a"


def test_tokens_are_counted_for_nothing(gateway: Gateway, client: genai.Client) -> None:
    counted = client.models.count_tokens(model="gemini-2.5-flash", contents="hello")
    assert counted.total_tokens
    assert counted.sdk_http_response.headers["x-ailink-cost"] == "0"


def test_embeddings(client: genai.Client, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = client.models.embed_content(
        model="embedder", contents=["a", "b"], config=types.EmbedContentConfig(output_dimensionality=8)
    )
    assert [len(embedding.values) for embedding in answer.embeddings] == [8, 8]
    (seen,) = provider.requests(since=mark)
    assert seen.path.startswith("/v1beta/models/gemini-embedding-001:")
    assert {request["model"] for request in seen.json()["requests"]} == {"models/gemini-embedding-001"}


def test_models_are_listed(client: genai.Client) -> None:
    names = {model.name: model for model in client.models.list(config={"query_base": True})}
    assert "generateContent" in names["models/echo"].supported_actions
    assert "embedContent" in client.models.get(model="embedder").supported_actions
    with pytest.raises(errors.ClientError) as missing:
        client.models.get(model="nothing")
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")],
)
def test_errors_of_the_provider(client: genai.Client, status: int, name: str) -> None:
    with pytest.raises(errors.APIError) as raised:
        client.models.generate_content(model=f"status-{status}", contents="x")
    assert (raised.value.code, raised.value.status) == (status, name)


def test_errors_of_the_gateway(gateway: Gateway, client: genai.Client) -> None:
    with pytest.raises(errors.ClientError, match="Did you mean 'echo'") as unknown:
        client.models.generate_content(model="ecko", contents="x")
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    stranger = genai.Client(api_key="sk-wrong", http_options=types.HttpOptions(base_url=gateway.url))
    with pytest.raises(errors.ClientError) as refused:
        stranger.models.generate_content(model="echo", contents="x")
    assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("model", ["fails-inside", "breaks", "unfinished"])
def test_streams_that_break_say_so(client: genai.Client, model: str) -> None:
    with pytest.raises(errors.APIError):
        list(client.models.generate_content_stream(model=model, contents="x"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "'contents'"),
        ({"contents": "x"}, "expected an array"),
        ({"contents": [], "generationConfig": 1}, "'generationConfig'"),
        ({"contents": [], "generationConfig": {"maxOutputTokens": "x"}}, "whole number"),
    ],
)
def test_bad_requests(gateway: Gateway, key: Key, body: dict[str, Any], words: str) -> None:
    answer = gateway.http.post(
        "/v1beta/models/echo:generateContent", headers={"x-goog-api-key": key.secret}, json=body
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert words in error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/echo:generateContent",
        "/gemini/v1beta/models/echo:generateContent",
        "/v1/projects/p/locations/eu/publishers/google/models/echo:generateContent",
        "/v1beta1/projects/p/locations/eu/publishers/google/models/echo:generateContent",
    ],
)
def test_other_paths(gateway: Gateway, key: Key, path: str) -> None:
    answer = gateway.http.post(path, headers=key.bearer, json={"contents": [{"parts": [{"text": "hi"}]}]})
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": "hi"}]


def test_a_client_that_leaves_ends_the_request(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    with gateway.http.stream(
        "POST",
        "/v1beta/models/echo:streamGenerateContent",
        params={"alt": "sse", "mock": "gap=50ms"},
        headers={"x-goog-api-key": key.secret},
        json={"contents": [{"parts": [{"text": "a b c d e f g h"}]}]},
    ) as answer:
        next(answer.iter_raw())
    until(lambda: provider.requests(since=mark)[0].end is not None, "the provider's end")
