"""The official Anthropic SDK, unchanged, against the running gateway."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    events_of,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)

STATUSES = (400, 401, 403, 404, 413, 429, 500, 529)
HELLO: Any = [{"role": "user", "content": "hello"}]
ASK_FOR_TOOL: Any = [{"role": "user", "content": "please call the tool"}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a place",
    "input_schema": {
        "type": "object",
        "required": ["place"],
        "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
    },
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    timeouts = {"connect": "2s", "first_byte": "300ms", "idle": "300ms", "total": "5s"}

    def at(script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, dialect="anthropic", **settings)

    config = make_config(
        make_model("claude", at(model="claude-sonnet-4-5")),
        make_model("echo", at("echo")),
        make_model("untold", at("usage=none;events=3")),
        make_model("cached", at("usage=10:20;cached=300;cache_write=40")),
        make_model("slow", at("latency=60s")),
        make_model("silent", at("drop=stall", timeouts=timeouts)),
        make_model("stalls", at("stall_at_event=2", timeouts=timeouts)),
        make_model("breaks", at("reset_at_event=2")),
        make_model("fails-inside", at("error_at_event=2;error_type=overloaded_error")),
        make_model("flaky", at("fail_first=1;id=anthropic-sdk")),
        make_model("openai-only", make_deployment(provider)),
        *(make_model(f"status-{status}", at(f"status={status};retry_after=7")) for status in STATUSES),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="anthropic-sdk")


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[Anthropic]:
    with Anthropic(base_url=gateway.url, api_key=key.secret, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def async_client(gateway: Gateway, key: Key) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=gateway.url, api_key=key.secret, max_retries=0) as made:
        yield made


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────


def test_messages(client: Anthropic, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    answer = client.messages.create(
        model="claude", max_tokens=16, messages=HELLO, system="be brief", stop_sequences=["x"]
    )
    assert answer.type == "message"
    assert answer.content[0].type == "text"
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 16
    [seen] = provider.requests(mark)
    assert seen.path == "/v1/messages"
    assert seen.json() == {
        "max_tokens": 16, "messages": HELLO, "model": "claude-sonnet-4-5", "stop_sequences": ["x"],
        "system": "be brief",
    }  # fmt: skip
    assert key.secret not in str(seen)
    # The SDK's own version of the API, not our default.
    assert seen.headers["anthropic-version"] == client.default_headers["anthropic-version"]


def test_unicode_comes_back_as_sent(client: Anthropic) -> None:
    text = 'naïve café — 日本語 🦀 \u202eRTL\u202c "quoted" back\\slash\ttab\nline'
    answer = client.messages.create(
        model="echo", max_tokens=99, messages=[{"role": "user", "content": [{"type": "text", "text": text}]}]
    )
    assert answer.content[0].type == "text"
    assert answer.content[0].text == text


def test_stream_helper(client: Anthropic) -> None:
    with client.messages.stream(model="claude", max_tokens=20, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.content[0].type == "text"
    assert final.content[0].text == text
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 20)


def test_raw_events_in_their_order(client: Anthropic) -> None:
    kinds = [
        event.type
        for event in client.messages.create(model="claude", max_tokens=2, messages=HELLO, stream=True)
    ]
    assert kinds == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def test_events_pass_byte_for_byte(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    answer = gateway.http.post("/v1/messages", json=message("claude", stream=True), headers=key.bearer)
    names = [event.name for event in events_of(answer.content)]
    assert (names[0], names[2], names[-1]) == ("message_start", "ping", "message_stop")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_cached_tokens(gateway: Gateway, client: Anthropic) -> None:
    answer = client.messages.create(model="cached", max_tokens=64, messages=HELLO)
    assert answer.usage.cache_read_input_tokens == 300
    assert answer.usage.cache_creation_input_tokens == 40
    [row] = gateway.attempts_of(request_id(answer))
    assert row["source"] == "reported"
    assert (row["prompt_tokens"], row["completion_tokens"]) == (10, 20)
    assert (row["cache_read_input_tokens"], row["cache_creation_input_tokens"]) == (300, 40)


def test_streamed_usage_is_accounted(gateway: Gateway, client: Anthropic) -> None:
    stream = client.messages.with_raw_response.create(
        model="cached", max_tokens=64, messages=HELLO, stream=True
    )
    for _ in stream.parse():
        pass
    [row] = gateway.attempts_of(stream.headers["x-request-id"])
    assert (row["source"], row["prompt_tokens"], row["completion_tokens"]) == ("reported", 10, 20)
    assert (row["cache_read_input_tokens"], row["cache_creation_input_tokens"]) == (300, 40)


def test_usage_that_is_not_told_is_estimated(gateway: Gateway, client: Anthropic) -> None:
    stream = client.messages.with_raw_response.create(
        model="untold", max_tokens=64, messages=HELLO, stream=True
    )
    for _ in stream.parse():
        pass
    [row] = gateway.attempts_of(stream.headers["x-request-id"])
    assert (row["source"], row["completion_tokens"]) == ("estimated", 3)


def test_tools(client: Anthropic) -> None:
    answer = client.messages.create(model="claude", max_tokens=64, messages=ASK_FOR_TOOL, tools=[WEATHER])
    assert answer.stop_reason == "tool_use"
    [block] = answer.content
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("weather", {"place": "mock"})
    messages: Any = [
        *ASK_FOR_TOOL,
        {"role": "assistant", "content": [block.model_dump(include={"type", "id", "name", "input"})]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}]},
    ]
    assert client.messages.create(model="claude", max_tokens=64, messages=messages, tools=[WEATHER]).content


def test_tools_streamed(client: Anthropic) -> None:
    with client.messages.stream(
        model="claude", max_tokens=64, messages=HELLO, tools=[WEATHER], tool_choice={"type": "any"}
    ) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert json.loads("".join(parts)) == {"place": "mock"}
    assert final.content[0].type == "tool_use"
    assert final.content[0].input == {"place": "mock"}


def test_count_tokens(gateway: Gateway, client: Anthropic, provider: MockProvider) -> None:
    mark = provider.mark()
    answer = client.messages.count_tokens(model="claude", messages=HELLO)
    assert answer.input_tokens > 0
    [seen] = provider.requests(mark)
    assert seen.path == "/v1/messages/count_tokens"
    assert seen.json()["model"] == "claude-sonnet-4-5"


def test_beta_headers(client: Anthropic, provider: MockProvider) -> None:
    mark = provider.mark()
    client.beta.messages.create(model="claude", max_tokens=5, messages=HELLO, betas=["one-2025-01-01"])
    [seen] = provider.requests(mark)
    assert seen.headers["anthropic-beta"] == "one-2025-01-01"


def test_the_path_with_prefix(gateway: Gateway, key: Key) -> None:
    with Anthropic(base_url=f"{gateway.url}/anthropic", auth_token=key.secret, max_retries=0) as client:
        assert client.messages.create(model="claude", max_tokens=5, messages=HELLO).content


def test_models(client: Anthropic) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"claude", "echo"} <= set(listed)
    assert listed["claude"].type == "model"
    assert client.models.retrieve("claude").id == "claude"


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_key(gateway: Gateway) -> None:
    with Anthropic(base_url=gateway.url, api_key="sk-nobody-knows-this", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            stranger.messages.create(model="claude", max_tokens=5, messages=HELLO)
    check_shape(caught.value, 401, "authentication_error")
    with Anthropic(base_url=gateway.url, api_key="sk-nobody-knows-this", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            stranger.models.list()
    check_shape(caught.value, 401, "authentication_error")


def test_unknown_model_names_the_nearest(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="cluade", max_tokens=5, messages=HELLO)
    check_shape(caught.value, 404, "not_found_error")
    assert "'claude'" in caught.value.message
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("cluade")
    check_shape(caught.value, 404, "not_found_error")


def test_a_model_of_others(gateway: Gateway) -> None:
    limited = gateway.mint(models=["echo"])
    with Anthropic(base_url=gateway.url, api_key=limited.secret, max_retries=0) as client:
        with pytest.raises(anthropic.PermissionDeniedError) as caught:
            client.messages.create(model="claude", max_tokens=5, messages=HELLO)
    check_shape(caught.value, 403, "permission_error")


def test_rate_limit(gateway: Gateway) -> None:
    limited = gateway.mint(rpm_limit=1)
    with Anthropic(base_url=gateway.url, api_key=limited.secret, max_retries=0) as client:
        client.messages.create(model="claude", max_tokens=5, messages=HELLO)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model="claude", max_tokens=5, messages=HELLO)
    check_shape(caught.value, 429, "rate_limit_error")
    assert int(caught.value.response.headers["retry-after"]) >= 1


CLASSES: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    413: anthropic.APIStatusError,
    429: anthropic.RateLimitError,
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_the_provider(client: Anthropic, status: int, stream: bool) -> None:
    with pytest.raises(CLASSES.get(status, anthropic.APIStatusError)) as caught:
        client.messages.create(model=f"status-{status}", max_tokens=5, messages=HELLO, stream=stream)
    check_shape(caught.value, status)
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"max_tokens": 5, "messages": HELLO}, "model"),
        ({"model": "claude", "max_tokens": 5}, "messages"),
        ({"model": "claude", "max_tokens": 5, "messages": {}}, "messages"),
        ({"model": "claude", "max_tokens": "5", "messages": HELLO}, "max_tokens"),
        ({"model": ["claude"], "max_tokens": 5, "messages": HELLO}, "model"),
    ],
)
def test_bad_requests_name_the_parameter(client: Anthropic, body: dict[str, Any], word: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.post("/v1/messages", body=body, cast_to=object)
    check_shape(caught.value, 400, "invalid_request_error")
    assert word in caught.value.message


def test_a_model_of_the_other_dialect(client: Anthropic) -> None:
    answer = client.messages.create(model="openai-only", max_tokens=5, messages=HELLO)
    assert (answer.type, answer.stop_reason) == ("message", "max_tokens")


def test_a_provider_that_does_not_answer(client: Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="silent", max_tokens=5, messages=HELLO)
    check_shape(caught.value, 504, "timeout_error")


def test_the_time_out_of_the_client(client: Anthropic, provider: MockProvider) -> None:
    mark = provider.mark()
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=2).messages.create(model="slow", max_tokens=5, messages=HELLO)
    until(lambda: provider.requests(mark)[0].end == "client_gone", "the upstream request is given up")


def test_the_sdk_retries_by_itself(client: Anthropic, provider: MockProvider) -> None:
    mark = provider.mark()
    patient = client.with_options(max_retries=2)
    assert patient.messages.create(model="flaky", max_tokens=5, messages=HELLO).content
    assert [seen.status for seen in provider.requests(mark)] == [500, 200]


@pytest.mark.parametrize("model", ["breaks", "stalls", "fails-inside"])
def test_a_stream_that_breaks_off(client: Anthropic, model: str) -> None:
    received: list[str] = []

    def read() -> None:
        stream = client.messages.create(model=model, max_tokens=64, messages=HELLO, stream=True)
        received.extend(event.type for event in stream)

    with pytest.raises(anthropic.APIStatusError) as caught:
        read()
    assert received.count("content_block_delta") == 2
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["message"]


# ── raw response, async ─────────────────────────────────────────────────────────────────────────────────────


def test_raw_response(client: Anthropic) -> None:
    answer = client.messages.with_raw_response.create(model="claude", max_tokens=5, messages=HELLO)
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-ailink-provider"] == "mock_anthropic"
    assert answer.headers["x-ailink-model"] == "claude"
    # `request-id` is where this SDK looks: it must be ours, which the ledger knows.
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.parse()._request_id == answer.headers["x-request-id"]


async def test_async(async_client: AsyncAnthropic) -> None:
    answer = await async_client.messages.create(model="claude", max_tokens=5, messages=HELLO)
    assert answer.content
    async with async_client.messages.stream(model="claude", max_tokens=5, messages=HELLO) as stream:
        words = [text async for text in stream.text_stream]
    assert len(words) == 5
    with pytest.raises(anthropic.NotFoundError):
        await async_client.messages.create(model="nothing", max_tokens=5, messages=HELLO)


def request_id(answer: Any) -> str:
    found = answer._request_id
    assert isinstance(found, str)
    return found


def check_shape(error: anthropic.APIStatusError, status: int, kind: str | None = None) -> None:
    """The dialect's error envelope and a request id in header and body."""
    assert error.status_code == status
    body: Any = error.body
    assert body["type"] == "error"
    assert body["error"]["message"]
    assert kind in {None, body["error"]["type"]}
    assert error.response.headers["x-request-id"].startswith("req_")
    assert body["request_id"]
