"""The official OpenAI SDK, unchanged, against the running gateway."""

import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    make_config,
    make_deployment,
    make_model,
    until,
)

STATUSES = (400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 529)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {
            "type": "object",
            "required": ["place"],
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
HELLO: Any = [{"role": "user", "content": "hello"}]
ASK_FOR_TOOL: Any = [{"role": "user", "content": "please call the tool"}]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    timeouts = {"connect": "2s", "first_byte": "300ms", "idle": "300ms", "total": "5s"}
    config = make_config(
        make_model("gpt-4o", make_deployment(provider, model="gpt-4o"), aliases=["openai/gpt-4o"]),
        make_model("echo", make_deployment(provider, "echo")),
        make_model("told", make_deployment(provider, "usage=always;events=3")),
        make_model("untold", make_deployment(provider, "usage=none;events=3")),
        make_model("slow", make_deployment(provider, "latency=60s")),
        make_model("silent", make_deployment(provider, "drop=stall", timeouts=timeouts)),
        make_model("stalls", make_deployment(provider, "stall_at_event=2", timeouts=timeouts)),
        make_model("breaks", make_deployment(provider, "reset_at_event=2")),
        make_model("fails-inside", make_deployment(provider, "error_at_event=2")),
        make_model("gone", make_deployment("http://127.0.0.1:9", timeouts={"connect": "1s"})),
        make_model("flaky", make_deployment(provider, "fail_first=1;id=openai-sdk")),
        make_model("whisper", make_deployment(provider, "text=all that was said")),
        *(
            make_model(f"status-{status}", make_deployment(provider, f"status={status};retry_after=7"))
            for status in STATUSES
        ),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="openai-sdk")


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def async_client(gateway: Gateway, key: Key) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as made:
        yield made


# ── chat ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_chat(client: OpenAI, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, temperature=0.5, seed=7)
    assert answer.model == "gpt-4o"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 64
    [seen] = provider.requests(mark)
    # What the gateway does not know passes through; the caller's key does not.
    assert seen.json() == {"messages": HELLO, "model": "gpt-4o", "temperature": 0.5, "seed": 7}
    assert key.secret not in str(seen)


def test_an_alias(client: OpenAI) -> None:
    assert client.chat.completions.create(model="openai/gpt-4o", messages=HELLO).choices


def test_unicode_comes_back_as_sent(client: OpenAI) -> None:
    text = 'naïve café — 日本語 🦀 \u202eRTL\u202c "quoted" back\\slash\ttab\nline \u0001'
    messages: Any = [{"role": "user", "content": text}]
    answer = client.chat.completions.create(model="echo", messages=messages)
    assert answer.choices[0].message.content == text
    stream = client.chat.completions.create(model="echo", messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == text


def test_n(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, n=3, max_completion_tokens=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    stream = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, n=3, max_completion_tokens=5, stream=True
    )
    words = [0, 0, 0]
    for chunk in stream:
        for choice in chunk.choices:
            words[choice.index] += bool(choice.delta.content)
    assert words == [5, 5, 5]


def test_stream_hides_the_usage_nobody_asked_for(client: OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    # The gateway itself did ask, for its accounts.
    assert provider.requests(mark)[0].json()["stream_options"] == {"include_usage": True}


def test_stream_with_usage(client: OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 64
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert provider.requests(mark)[0].json()["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "options", [{"include_usage": False}, {"include_usage": False, "include_obfuscation": False}, {}, None]
)
def test_stream_options_are_kept(
    gateway: Gateway, key: Key, provider: MockProvider, options: dict[str, bool] | None
) -> None:
    mark = provider.mark()
    body = chat("gpt-4o", stream=True, stream_options=options)
    answer = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
    events = events_of(answer.content)
    assert events[-1].done
    assert all(event.json()["choices"] for event in events[:-1])
    # Byte for byte what the provider sent: `"usage":null` stays where it put it.
    assert all('"usage":null' in event.data for event in events[:-1])
    assert provider.requests(mark)[0].json()["stream_options"] == {**(options or {}), "include_usage": True}


@pytest.mark.parametrize("model", ["told", "untold"])
@pytest.mark.parametrize("asked", [True, False])
def test_streams_of_providers_that_do_as_they_like(client: OpenAI, model: str, asked: bool) -> None:
    options: Any = {"include_usage": True} if asked else openai.omit
    chunks = list(
        client.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options=options)
    )
    told = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(told) == (1 if model == "told" and asked else 0)


def test_a_stream_says_it_is_one(gateway: Gateway, key: Key) -> None:
    body = chat("gpt-4o", stream=True)
    answer = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert "content-length" not in answer.headers


def test_the_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content


def test_tools(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=ASK_FOR_TOOL, tools=[WEATHER])
    assert answer.choices[0].finish_reason == "tool_calls"
    [called] = answer.choices[0].message.tool_calls or []
    assert called.type == "function"
    assert (called.function.name, json.loads(called.function.arguments)) == ("weather", {"place": "mock"})
    messages: Any = [
        *ASK_FOR_TOOL,
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": called.id, "content": "sunny"},
        {"role": "user", "content": "thanks"},
    ]
    assert client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER]).choices


def test_tools_streamed(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, tools=[WEATHER], tool_choice="required", stream=True
    )
    name, arguments, finish = "", "", None
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        finish = chunk.choices[0].finish_reason or finish
    assert (name, json.loads(arguments), finish) == ("weather", {"place": "mock"}, "tool_calls")


def test_legacy_completions(client: OpenAI, provider: MockProvider) -> None:
    answer = client.completions.create(model="gpt-4o", prompt="once upon a time", max_tokens=8)
    assert answer.choices[0].finish_reason == "length"
    mark = provider.mark()
    chunks = list(client.completions.create(model="gpt-4o", prompt="once", max_tokens=8, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert provider.requests(mark)[0].json()["stream_options"] == {"include_usage": True}


def test_a_stream_left_early(gateway: Gateway, client: OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    with client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True) as stream:
        next(iter(stream))
    until(lambda: provider.requests(mark)[0].end, "the provider knows the end")
    assert gateway.is_ready()


# ── embeddings ──────────────────────────────────────────────────────────────────────────────────────────────


def test_embeddings_in_both_encodings(client: OpenAI) -> None:
    coded = client.embeddings.create(model="gpt-4o", input=["a", "b"], dimensions=8)
    plain = client.embeddings.create(model="gpt-4o", input=["a", "b"], dimensions=8, encoding_format="float")
    assert [len(item.embedding) for item in coded.data] == [8, 8]
    for one, other in zip(coded.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
    assert plain.usage.total_tokens > 0


def test_base64_embeddings_pass_as_text(client: OpenAI) -> None:
    answer = client.embeddings.with_raw_response.create(
        model="gpt-4o", input="a", dimensions=4, encoding_format="base64"
    )
    raw = json.loads(answer.http_response.content)["data"][0]["embedding"]
    assert len(struct.unpack("<4f", base64.b64decode(raw))) == 4


def test_token_arrays(client: OpenAI) -> None:
    assert len(client.embeddings.create(model="gpt-4o", input=[1, 2, 3], dimensions=2).data) == 1
    assert len(client.embeddings.create(model="gpt-4o", input=[[1], [2]], dimensions=2).data) == 2


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_key(gateway: Gateway) -> None:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-nobody-knows-this", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.status_code == 401
    assert caught.value.code == "invalid_api_key"
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id
    assert "sk-nobody" not in caught.value.message


def test_unknown_model_names_the_nearest(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-40", messages=HELLO)
    error = caught.value
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")
    assert "'gpt-4o'" in error.message


def test_a_model_of_others(gateway: Gateway) -> None:
    limited = gateway.mint(models=["echo"])
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=limited.secret, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
        assert caught.value.code == "model_access_denied"
        # The hint of an unknown model does not tell of models that the key may not use.
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="gpt-40", messages=HELLO)
        assert "gpt-4o'" not in unknown.value.message


def test_rate_limit(gateway: Gateway) -> None:
    limited = gateway.mint(rpm_limit=1)
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=limited.secret, max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
    # A slot of the sliding window is a sixtieth of it.
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 61
    assert caught.value.code == "rate_limit_exceeded"


CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_the_provider(client: OpenAI, status: int, stream: bool) -> None:
    kind = CLASSES.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model=f"status-{status}", messages=HELLO, stream=stream)
    error = caught.value
    assert error.status_code == status
    assert error.response.headers["content-type"].startswith("application/json")
    assert error.response.headers["x-request-id"].startswith("req_")
    assert error.response.headers["retry-after"] == "7"
    assert isinstance(error.body, dict)
    assert error.body["message"]


def test_the_sdk_retries_by_itself(client: OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    patient = client.with_options(max_retries=2)
    assert patient.chat.completions.create(model="flaky", messages=HELLO).choices
    assert [seen.status for seen in provider.requests(mark)] == [500, 200]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": HELLO}, "model"),
        ({"model": "gpt-4o"}, "messages"),
        ({"model": "gpt-4o", "messages": "hello"}, "messages"),
        ({"model": 7, "messages": HELLO}, "model"),
        ({"model": "gpt-4o", "messages": HELLO, "stream": "yes"}, "stream"),
        ({"model": "gpt-4o", "messages": HELLO, "max_tokens": -1}, "max_tokens"),
        ({"model": "gpt-4o", "messages": HELLO, "n": "2"}, "n"),
    ],
)
def test_bad_requests_name_the_parameter(client: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.param == param
    assert param in caught.value.message


def test_no_connection_to_the_provider(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="gone", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_connect_failed")


def test_a_provider_that_does_not_answer(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="silent", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")


def test_the_time_out_of_the_client(client: OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=2).chat.completions.create(model="slow", messages=HELLO)
    # The gateway does not go on asking for an answer that nobody waits for.
    until(lambda: provider.requests(mark)[0].end == "client_gone", "the upstream request is given up")


@pytest.mark.parametrize("model", ["breaks", "stalls", "fails-inside"])
def test_a_stream_that_breaks_off(client: OpenAI, model: str) -> None:
    received: list[str] = []

    def read() -> None:
        for chunk in client.chat.completions.create(model=model, messages=HELLO, stream=True):
            received.extend(choice.delta.content for choice in chunk.choices if choice.delta.content)

    with pytest.raises(openai.APIError) as caught:
        read()
    assert len(received) == 2
    assert caught.value.message


# ── raw response, headers ───────────────────────────────────────────────────────────────────────────────────


def test_raw_response(gateway: Gateway, client: OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    headers = answer.headers
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-request-id"] == headers["x-ailink-request-id"]
    assert headers["x-ailink-model"] == "gpt-4o"
    assert headers["x-ailink-provider"] == "mock"
    assert headers["x-ailink-deployment"]
    assert headers["x-ailink-attempts"] == "1"
    assert float(headers["x-ailink-cost"]) == 0
    assert int(headers["x-ailink-overhead"]) >= 0
    parsed = answer.parse()
    assert parsed._request_id == headers["x-request-id"]
    [row] = gateway.attempts_of(headers["x-request-id"])
    assert (row["completion_tokens"], row["source"]) == (64, "reported")
    # The mock sends its provider's own headers with all but its plainest answers.
    told = client.chat.completions.with_raw_response.create(model="echo", messages=HELLO).headers
    assert told["openai-version"] == "2020-10-01"


def test_streaming_response(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=HELLO, stream=True
    ) as answer:
        assert answer.headers["x-ailink-deployment"]
        lines = list(answer.iter_lines())
    assert [line for line in lines if line][-1] == "data: [DONE]"


def test_clients_cannot_forge_our_headers(client: OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = client.chat.completions.with_raw_response.create(
        model="gpt-4o",
        messages=HELLO,
        extra_headers={
            "x-ailink-attempt": "7",
            "x-ailink-role": "admin",
            "x-request-id": "mine",
            "cookie": "a=b",
        },
    )
    assert answer.headers["x-request-id"].startswith("req_")
    seen = provider.requests(mark)[0].headers
    assert seen["x-ailink-attempt"] != "7"
    assert not {"x-ailink-role", "cookie", "x-stainless-lang"} & set(seen)


def test_extra_headers_that_matter_upstream(client: OpenAI, provider: MockProvider) -> None:
    mark = provider.mark()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.chat.completions.create(
        model="gpt-4o", messages=HELLO, extra_headers={"openai-beta": "x=1", "traceparent": parent}
    )
    seen = provider.requests(mark)[0].headers
    assert (seen["openai-beta"], seen["traceparent"]) == ("x=1", parent)


# ── models, images, audio, moderations ──────────────────────────────────────────────────────────────────────


def test_models(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"gpt-4o", "openai/gpt-4o", "whisper"} <= set(listed)
    assert listed["gpt-4o"].object == "model"
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    assert client.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_images(client: OpenAI) -> None:
    answer = client.images.generate(model="gpt-4o", prompt="a pixel", n=2, response_format="b64_json")
    assert [base64.b64decode(image.b64_json or "")[:4] for image in answer.data or []] == [b"\x89PNG"] * 2
    assert (client.images.generate(model="gpt-4o", prompt="a pixel").data or [])[0].url


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_image_uploads_arrive_untouched(client: OpenAI) -> None:
    picture, mask = bytes(range(256)) * 40, b"\r\n--boundary--\r\n" * 9
    answer = client.images.edit(model="gpt-4o", image=("a.png", picture), mask=("b.png", mask), prompt="x")
    files = answer.model_dump()["mock_files"]
    assert files["image"] == {"name": "a.png", "bytes": len(picture), "sha256": sha256(picture)}
    assert files["mask"]["sha256"] == sha256(mask)
    answer = client.images.create_variation(model="gpt-4o", image=("c.png", picture))
    assert answer.model_dump()["mock_files"]["image"]["sha256"] == sha256(picture)


def test_speech(client: OpenAI) -> None:
    for form, magic, kind in (("mp3", b"ID3", "audio/mpeg"), ("wav", b"RIFF", "audio/wav")):
        with client.audio.speech.with_streaming_response.create(
            model="gpt-4o",
            voice="alloy",
            input="hello",
            response_format=form,  # type: ignore[arg-type]
        ) as answer:
            data = answer.read()
        assert answer.headers["content-type"] == kind
        # The mock's bytes depend on their position only.
        noise = bytes((index * 31 >> 3) & 255 for index in range(len(data) - len(magic)))
        assert data == magic + noise


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_transcription(client: OpenAI, provider: MockProvider, size: int) -> None:
    sound = hashlib.shake_128(b"sound").digest(size)
    mark = provider.mark()
    answer = client.audio.transcriptions.create(model="whisper", file=("a.wav", sound), language="en")
    assert answer.text == "all that was said"
    file = answer.model_dump()["mock_file"]
    assert file == {"name": "a.wav", "bytes": size, "sha256": sha256(sound)}
    assert provider.requests(mark)[0].headers["content-type"].startswith("multipart/form-data; boundary=")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_transcription_formats(client: OpenAI) -> None:
    for form, start in (("text", "all that"), ("srt", "1\n00:00"), ("vtt", "WEBVTT")):
        answer: Any = client.audio.transcriptions.create(
            model="whisper",
            file=("a.wav", b"x"),
            response_format=form,  # type: ignore[call-overload]
        )
        assert str(answer).startswith(start)
    assert client.audio.translations.create(model="whisper", file=("a.wav", b"x")).text


def test_moderations(client: OpenAI) -> None:
    answer = client.moderations.create(model="gpt-4o", input=["peace", "violence"])
    assert [result.flagged for result in answer.results] == [False, True]


# ── Azure, async ────────────────────────────────────────────────────────────────────────────────────────────


def test_azure(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    with AzureOpenAI(
        azure_endpoint=gateway.url, api_key=key.secret, api_version="2024-10-21", max_retries=0
    ) as azure:
        answer = azure.chat.completions.create(model="gpt-4o", messages=HELLO)
        assert answer.choices[0].message.content
        chunks = list(azure.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert azure.embeddings.create(model="gpt-4o", input="a", dimensions=2).data
        text = azure.audio.transcriptions.create(model="whisper", file=("a.wav", b"abc"))
        assert text.text == "all that was said"
        assert azure.images.generate(model="gpt-4o", prompt="x").data
        with pytest.raises(openai.NotFoundError):
            azure.chat.completions.create(model="gpt-40", messages=HELLO)
    seen = provider.requests(mark)
    assert {one.path for one in seen} >= {"/v1/chat/completions", "/v1/audio/transcriptions"}
    assert {one.json()["model"] for one in seen if one.path == "/v1/chat/completions"} == {"gpt-4o"}


async def test_async(async_client: AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content
    stream = await async_client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
    assert len([word for word in words if word]) == 64
    with pytest.raises(openai.NotFoundError):
        await async_client.chat.completions.create(model="nothing", messages=HELLO)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
