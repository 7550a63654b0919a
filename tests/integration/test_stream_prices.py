"""Cost of streams, and of answers in other formats than the caller's, by the shipped prices.

Expected amounts are written out here, in US dollars per million tokens: they do not come from the code they
judge. Where they are taken from, with the date, is told by the shipped price data.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from tests.harness import Gateway, Key, make_config, make_model
from tests.harness.listening import Call, Listening, Reply

M = Decimal(10) ** -6
HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"messages": HELLO, "stream": True}


class Case(NamedTuple):
    provider: str
    model: str
    path: str
    body: dict[str, Any]
    told: Any
    """The provider's answer: events of a stream, or one object."""
    cost: Decimal
    headers: dict[str, str] = {}


def chat_stream(usage: Any, **more: Any) -> list[Any]:
    begun = {"choices": [{"index": 0, "delta": {"content": "x"}}]}
    over = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [{"id": "x", **part, **more} for part in (begun, over, {"choices": [], "usage": usage})]


SONNET = {
    "input_tokens": 100,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 3000,
    "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
}
SONNET_STREAM = [
    {
        "type": "message_start",
        "message": {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": SONNET},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {**SONNET, "output_tokens": 50}},
    {"type": "message_stop"},
]
SONNET_COST = (100 * 3 + 1000 * Decimal("0.30") + 2000 * Decimal("3.75") + 1000 * 6 + 50 * 15) * M
RESPONSE = {
    "id": "r",
    "object": "response",
    "status": "completed",
    "output": [],
    "service_tier": "priority",
    "usage": {
        "input_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 400},
        "output_tokens": 300,
        "output_tokens_details": {"reasoning_tokens": 200},
        "total_tokens": 1300,
    },
}
RESPONSE_COST = (600 * Decimal("2.50") + 400 * Decimal("0.25") + 300 * 20) * M
GEMINI = {
    "candidates": [{"index": 0, "content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 250_000,
        "cachedContentTokenCount": 100_000,
        "candidatesTokenCount": 600,
        "thoughtsTokenCount": 400,
        "totalTokenCount": 251_000,
    },
}
GEMINI_COST = (150_000 * Decimal("2.50") + 100_000 * Decimal("0.25") + 1000 * 15) * M
# As Vertex AI says that it was flexible, and as the Gemini API does in the head of its answers.
FLASH = {
    "candidates": GEMINI["candidates"],
    "usageMetadata": {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 400,
        "candidatesTokenCount": 100,
        "totalTokenCount": 1100,
    },
}
FLEX = {**FLASH, "usageMetadata": {**FLASH["usageMetadata"], "trafficType": "ON_DEMAND_FLEX"}}
FLEX_COST = (600 * Decimal("0.15") + 400 * Decimal("0.03") + 100 * Decimal("1.25")) * M
FAST_COST = (600 * Decimal("0.54") + 400 * Decimal("0.054") + 100 * Decimal("4.50")) * M
FAST = {"x-gemini-service-tier": "priority"}
STREAMED = "/v1beta/models/{name}:streamGenerateContent?alt=sse"
CONTENTS = {"contents": [{"parts": [{"text": "hello"}]}]}
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}},
    "stopReason": "end_turn",
    "usage": {
        "inputTokens": 100,
        "outputTokens": 50,
        "totalTokens": 3150,
        "cacheReadInputTokens": 1000,
        "cacheWriteInputTokens": 2000,
    },
}
CONVERSE_COST = (100 * 3 + 1000 * Decimal("0.30") + 2000 * Decimal("3.75") + 50 * 15) * M

CASES = {
    "flex, cached, reasoning": Case(
        "openai",
        "gpt-5",
        "/v1/chat/completions",
        CHAT,
        chat_stream(
            {
                "prompt_tokens": 1000,
                "completion_tokens": 300,
                "prompt_tokens_details": {"cached_tokens": 400},
                "completion_tokens_details": {"reasoning_tokens": 200},
            },
            service_tier="flex",
        ),
        (600 * Decimal("0.625") + 400 * Decimal("0.0625") + 300 * 5) * M,
    ),
    "sound": Case(
        "openai",
        "gpt-audio",
        "/v1/chat/completions",
        CHAT,
        chat_stream(
            {
                "prompt_tokens": 1100,
                "completion_tokens": 450,
                "prompt_tokens_details": {"audio_tokens": 1000},
                "completion_tokens_details": {"audio_tokens": 400},
            }
        ),
        (100 * Decimal("2.50") + 50 * 10 + 1000 * 32 + 400 * 64) * M,
    ),
    "a response, priority": Case("openai", "gpt-5", "/v1/responses", {"input": "x"}, RESPONSE, RESPONSE_COST),
    "a response's stream, priority": Case(
        "openai",
        "gpt-5",
        "/v1/responses",
        {"input": "x", "stream": True},
        [
            {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "usage": None}},
            {"type": "response.completed", "response": RESPONSE},
        ],
        RESPONSE_COST,
    ),
    "cache writes": Case(
        "anthropic",
        "claude-sonnet-4-5",
        "/v1/messages",
        {"messages": HELLO, "max_tokens": 9, "stream": True},
        SONNET_STREAM,
        SONNET_COST,
    ),
    "cache writes, asked for as chat": Case(
        "anthropic", "claude-sonnet-4-5", "/v1/chat/completions", CHAT, SONNET_STREAM, SONNET_COST
    ),
    "above 200k, cached, thoughts": Case(
        "gemini",
        "gemini-2.5-pro",
        "/v1beta/models/{name}:streamGenerateContent?alt=sse",
        {"contents": [{"parts": [{"text": "hello"}]}]},
        [GEMINI],
        GEMINI_COST,
    ),
    "above 200k, cached, thoughts, asked for as chat": Case(
        "gemini", "gemini-2.5-pro", "/v1/chat/completions", CHAT, [GEMINI], GEMINI_COST
    ),
    "flex, told in the usage": Case("gemini", "gemini-2.5-flash", STREAMED, CONTENTS, [FLEX], FLEX_COST),
    "flex, told in the usage, asked for as chat": Case(
        "gemini", "gemini-2.5-flash", "/v1/chat/completions", CHAT, [FLEX], FLEX_COST
    ),
    "priority, told in the head": Case(
        "gemini", "gemini-2.5-flash", STREAMED, CONTENTS, [FLASH], FAST_COST, FAST
    ),
    "priority, told in the head, asked for as chat": Case(
        "gemini", "gemini-2.5-flash", "/v1/chat/completions", CHAT, [FLASH], FAST_COST, FAST
    ),
    "converse": Case(
        "bedrock",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "/model/{name}/converse",
        {"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
        CONVERSE,
        CONVERSE_COST,
    ),
    "converse, asked for as chat": Case(
        "bedrock",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "/v1/chat/completions",
        {"messages": HELLO},
        CONVERSE,
        CONVERSE_COST,
    ),
    "what Cohere bills": Case(
        "cohere",
        "command-a-03-2025",
        "/v2/chat",
        {"messages": HELLO},
        {
            "id": "c",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": "x"}]},
            "usage": {
                "billed_units": {"input_tokens": 100, "output_tokens": 20},
                "tokens": {"input_tokens": 500, "output_tokens": 20},
            },
        },
        (100 * Decimal("2.50") + 20 * 10) * M,
    ),
}


class Setup(NamedTuple):
    gateway: Gateway
    key: Key


class Told(Listening):
    def answer(self, call: Call) -> Reply:
        case = list(CASES.values())[int(call.path.split("/")[1])]
        told = case.told
        if isinstance(told, dict):
            return Reply(content=told)
        named = [("type" in event, event) for event in told]
        lines = [f"event: {event['type']}\n" if has else "" for has, event in named]
        text = "".join(
            f"{line}data: {json.dumps(event)}\n\n" for line, event in zip(lines, told, strict=True)
        )
        end = "data: [DONE]\n\n" if "choices" in told[0] else ""
        return Reply(content=text + end, headers={"content-type": "text/event-stream", **case.headers})


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with Told() as told:
        models = []
        for number, case in enumerate(CASES.values()):
            place = {
                "provider": case.provider,
                "model": case.model,
                "api_key": "k-provider",
                "base_url": f"{told.url}/{number}",
            }
            region = {"region": "us-east-1"} if case.provider == "bedrock" else {}
            models.append(make_model(f"m{number}", place | region))
        with Gateway(tmp_path_factory.mktemp("gateway"), make_config(*models)) as gateway:
            yield Setup(gateway, gateway.mint())


@pytest.mark.parametrize("title", CASES)
def test_cost(setup: Setup, title: str) -> None:
    case, name = CASES[title], f"m{list(CASES).index(title)}"
    body = case.body if "{name}" in case.path else {"model": name, **case.body}
    answer = setup.gateway.http.post(case.path.format(name=name), headers=setup.key.bearer, json=body)
    assert answer.status_code == 200, answer.text
    (row,) = setup.gateway.attempts_of(answer.headers["x-request-id"])
    assert Decimal(row["spend"]) == case.cost
