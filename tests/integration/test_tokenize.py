"""Values that leave as tokens and come back as values, in every dialect, whole and streamed."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from botocore.eventstream import EventStreamBuffer
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    make_config,
    make_deployment,
    make_model,
)

MAIL, OTHER = "jane.doe@example.org", "x@example.com"
SAYS = f"write to {MAIL}, not to {OTHER}; {MAIL} it is"
TOLD = "write to <EMAIL_1>, not to <EMAIL_2>; <EMAIL_1> it is"
SCHEMA = {"type": "object", "properties": {"to": {"type": "string", "enum": [MAIL]}}, "required": ["to"]}
PROVIDERS = ["openai", "responses", "anthropic", "gemini", "cohere", "bedrock"]


class Dialect(NamedTuple):
    """How a caller asks: the path of a whole answer and of a stream, the body, and what an event adds."""

    whole: str
    stream: str
    body: Callable[[str, str], dict[str, Any]]
    tools: dict[str, Any]
    piece: Callable[[Any], Any]


def _openai(event: Any) -> Any:
    delta = event["choices"][0]["delta"] if event["choices"] else {}
    return delta.get("content") or "".join(
        call["function"].get("arguments", "") for call in delta.get("tool_calls", [])
    )


def _responses(event: Any) -> Any:
    kinds = ("response.output_text.delta", "response.function_call_arguments.delta")
    return event["delta"] if event["type"] in kinds else ""


def _anthropic(event: Any) -> Any:
    delta = event.get("delta", {})
    return delta.get("text") or delta.get("partial_json")


def _gemini(event: Any) -> Any:
    parts = event["candidates"][0]["content"].get("parts", [])
    return "".join(
        json.dumps(part["functionCall"]["args"]) if "functionCall" in part else part.get("text", "")
        for part in parts
    )


def _cohere(event: Any) -> Any:
    message = (event.get("delta") or {}).get("message", {})
    if event["type"] == "tool-call-delta":
        return message["tool_calls"]["function"]["arguments"]
    return message["content"]["text"] if event["type"] == "content-delta" else ""


def _bedrock(event: Any) -> Any:
    delta = event.get("delta", {})
    return delta.get("text") or delta.get("toolUse", {}).get("input")


FUNCTION = {"name": "send", "description": "sends", "parameters": SCHEMA}
DIALECTS = {
    "openai": Dialect(
        "/v1/chat/completions",
        "/v1/chat/completions",
        lambda model, text: chat(model, text),
        {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"},
        _openai,
    ),
    "responses": Dialect(
        "/v1/responses",
        "/v1/responses",
        lambda model, text: {"model": model, "input": text},
        {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"},
        _responses,
    ),
    "anthropic": Dialect(
        "/v1/messages",
        "/v1/messages",
        lambda model, text: {
            "model": model,
            "max_tokens": 99,
            "messages": [{"role": "user", "content": text}],
        },
        {
            "tools": [{"name": "send", "description": "sends", "input_schema": SCHEMA}],
            "tool_choice": {"type": "any"},
        },
        _anthropic,
    ),
    "gemini": Dialect(
        "/v1beta/models/{model}:generateContent",
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
        lambda _, text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        {
            "tools": [{"functionDeclarations": [FUNCTION]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        },
        _gemini,
    ),
    "cohere": Dialect(
        "/v2/chat",
        "/v2/chat",
        lambda model, text: chat(model, text),
        {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "REQUIRED"},
        _cohere,
    ),
    "bedrock": Dialect(
        "/model/{model}/converse",
        "/model/{model}/converse-stream",
        lambda _, text: {"messages": [{"role": "user", "content": [{"text": text}]}]},
        {
            "toolConfig": {
                "tools": [
                    {"toolSpec": {"name": "send", "description": "sends", "inputSchema": {"json": SCHEMA}}}
                ],
                "toolChoice": {"any": {}},
            }
        },
        _bedrock,
    ),
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        *(
            make_model(
                name,
                make_deployment(provider, "echo=1;events=60;split=5", dialect=name, model=name),
                guardrails=["pii"],
            )
            for name in PROVIDERS
        ),
        make_model("cached", make_deployment(provider, "echo=1"), guardrails=["pii"], cache={"mode": "on"}),
        make_model(
            "watched", make_deployment(provider, "echo=1"), guardrails=["watched"], cache={"mode": "on"}
        ),
        cache={"enabled": True, "mode": "opt_in"},
        guardrails=[
            {"name": "pii", "presets": ["pii"], "action": "tokenize"},
            {"name": "watched", "presets": ["pii"], "action": "tokenize", "mode": "shadow"},
        ],
    )
    with Gateway(tmp_path_factory.mktemp("tokenize"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, dialect: str, model: str, stream: bool, tools: bool) -> httpx.Response:
    way = DIALECTS[dialect]
    body = way.body(model, SAYS) | (way.tools if tools else {})
    if stream and dialect in ("openai", "responses", "anthropic", "cohere"):
        body["stream"] = True
    path = (way.stream if stream else way.whole).format(model=model)
    headers = {**key.bearer, "x-api-key": key.secret, "x-goog-api-key": key.secret}
    answer = gateway.http.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def put_together(dialect: str, raw: bytes) -> str:
    if dialect == "bedrock":
        buffer = EventStreamBuffer()
        buffer.add_data(raw)
        events = [json.loads(event.payload) for event in buffer]
    else:
        events = [event.json() for event in events_of(raw) if not event.done]
    return "".join(DIALECTS[dialect].piece(event) or "" for event in events)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("caller", DIALECTS)
def test_the_provider_reads_tokens_and_the_caller_values(
    gateway: Gateway, key: Key, provider: MockProvider, caller: str, stream: bool
) -> None:
    for model in {caller, "openai", "anthropic"}:
        mark = provider.mark()
        answer = ask(gateway, key, caller, model, stream, tools=False)
        text = put_together(caller, answer.content) if stream else json.dumps(answer.json())
        assert SAYS in text
        (seen,) = provider.requests(mark)
        assert seen.body is not None
        assert "example" not in seen.body
        assert TOLD in seen.body
        assert answer.headers["x-ailink-guardrails"] == "pii;input=tokenize"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("caller", DIALECTS)
def test_arguments_of_tools_get_their_values_back(
    gateway: Gateway, key: Key, provider: MockProvider, caller: str, stream: bool
) -> None:
    for model in {caller, "openai"}:
        mark = provider.mark()
        answer = ask(gateway, key, caller, model, stream, tools=True)
        (seen,) = provider.requests(mark)
        assert seen.body is not None
        assert "example" not in seen.body
        if stream:
            assert json.loads(put_together(caller, answer.content)) == {"to": MAIL}
        else:
            assert MAIL in answer.text
        assert "EMAIL_" not in answer.text


def test_what_a_value_says_does_not_matter_to_json(gateway: Gateway, key: Key) -> None:
    # A name that has to be escaped, in a text and in arguments inside a text.
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"to": MAIL})}}
    body = {
        "model": "openai",
        "messages": [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "ok"},
            {"role": "user", "content": f'say "{MAIL}"\n and <EMAIL_1>'},
        ],
    }
    answer = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer).json()
    # What the caller wrote like a token himself stays.
    assert answer["choices"][0]["message"]["content"] == f'say "{MAIL}"\n and <EMAIL_1>'


def test_equal_requests_but_for_their_values_share_an_answer(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    mark = provider.mark()
    for mail in ("one@example.org", "two@example.org"):
        body = chat("cached", f"hello {mail}")
        answer = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
        assert answer.json()["choices"][0]["message"]["content"] == f"hello {mail}", answer.headers
    assert answer.headers["x-ailink-cache"] == "hit"
    assert len(provider.requests(mark)) == 1


def test_in_shadow_nothing_changes(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    body = chat("watched", f"hello {MAIL}")
    gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer).raise_for_status()
    assert MAIL in str(provider.requests(mark)[0].body)


def test_what_is_kept_of_responses_has_values(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    body = {"model": "anthropic", "input": f"I am {MAIL}"}
    first = gateway.http.post("/v1/responses", json=body, headers=key.bearer).json()
    kept = gateway.http.get(f"/v1/responses/{first['id']}/input_items", headers=key.bearer).json()
    assert MAIL in json.dumps(kept)
    mark = provider.mark()
    body = {"model": "anthropic", "input": f"and {OTHER}?", "previous_response_id": first["id"]}
    second = gateway.http.post("/v1/responses", json=body, headers=key.bearer).json()
    (seen,) = provider.requests(mark)
    assert "example" not in str(seen.body)
    assert "<EMAIL_1>" in str(seen.body)
    assert OTHER in json.dumps(second["output"])


def test_nothing_of_a_value_stays_behind(gateway: Gateway, key: Key) -> None:
    mail = "canary.of.the.vault@example.org"
    body = chat("openai", f"hello {mail}")
    answer = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
    assert mail in answer.text
    gateway.attempts_of(answer.headers["x-request-id"])
    assert mail not in json.dumps(gateway.call("/guardrails/report"))
    assert mail not in gateway.log
    left = [file for file in gateway.data.rglob("*") if file.is_file() and mail.encode() in file.read_bytes()]
    assert left == []
