"""Beginnings of prompts that come again are marked for the provider to keep, and cost what it says."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from tests.harness import (
    AWS_KEY,
    Gateway,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)
from tests.harness.canned import CannedProvider, answer

MARK = {"type": "ephemeral"}
LONG = "Answer as a careful librarian would, and name your sources. " * 90
TOOLS = [{"name": "find", "description": "finds", "input_schema": {"type": "object", "properties": {}}}]
USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 300,
}
PRICE = {
    "input_per_million": 3,
    "output_per_million": 15,
    "cache_read_per_million": "0.3",
    "cache_write_per_million": "3.75",
}


def said(usage: dict[str, int]) -> bytes:
    return answer(
        json.dumps(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "content": [{"type": "text", "text": "Yes."}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": usage,
            }
        ).encode()
    )


def converse() -> bytes:
    message = {"role": "assistant", "content": [{"text": "Yes."}]}
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    body = {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": usage,
        "metrics": {"latencyMs": 1},
    }
    return answer(json.dumps(body).encode())


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    with CannedProvider() as running:
        for name in ("marked", "plain", "translated"):
            running.answers[name] = said(USAGE)
        running.answers["aws"] = converse()
        running.answers["invoke"] = said(USAGE)
        yield running


@pytest.fixture(scope="module")
def gateway(
    canned: CannedProvider, provider: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def at(name: str, *, dialect: str = "anthropic", **settings: Any) -> dict[str, Any]:
        return make_model(name, make_deployment(canned.base(name), dialect=dialect), **settings)

    config = make_config(
        at("marked", prompt_caching=True, price=PRICE),
        at("plain"),
        at("translated", prompt_caching=True),
        at("aws", dialect="bedrock", prompt_caching=True),
        make_model(
            "invoke",
            {
                "provider": "bedrock_anthropic",
                "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "region": "us-east-1",
                "api_key": AWS_KEY,
                "base_url": canned.base("invoke"),
                "price": PRICE,
            },
            prompt_caching=True,
        ),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


class Asker:
    """Sends to one model and tells what its provider got."""

    def __init__(self, gateway: Gateway, canned: CannedProvider) -> None:
        self.gateway, self.canned = gateway, canned
        self.key = gateway.mint()

    def __call__(self, path: str, body: dict[str, Any], name: str = "") -> Any:
        name = name or body["model"]
        self.gateway.http.post(path, json=body, headers=self.key.bearer).raise_for_status()
        return json.loads(self.canned.requests[name][-1].partition(b"\r\n\r\n")[2])


@pytest.fixture
def ask(gateway: Gateway, canned: CannedProvider) -> Asker:
    return Asker(gateway, canned)


def test_instructions_are_marked_when_they_come_again(ask):
    body = message("marked", "first", system=f"a {LONG}", tools=TOOLS)
    assert ask("/v1/messages", body)["system"] == body["system"]
    again = ask("/v1/messages", {**body, "messages": [{"role": "user", "content": "second"}]})
    assert again["system"] == [{"type": "text", "text": body["system"], "cache_control": MARK}]
    assert again["messages"] == [{"role": "user", "content": "second"}]
    assert again["tools"] == TOOLS
    blocks = {**body, "system": [{"type": "text", "text": f"b {LONG}"}]}
    ask("/v1/messages", blocks)
    assert ask("/v1/messages", blocks)["system"] == [{**blocks["system"][0], "cache_control": MARK}]


def test_a_conversation_that_goes_on_is_marked_at_its_end(ask):
    turns = [{"role": "user", "content": f"c {LONG}"}]
    first = ask("/v1/messages", {"model": "marked", "max_tokens": 9, "messages": turns})
    assert first["messages"] == turns
    turns += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "and then?"}]
    second = ask("/v1/messages", {"model": "marked", "max_tokens": 9, "messages": turns})
    marked = [{"type": "text", "text": "and then?", "cache_control": MARK}]
    assert second["messages"] == [*turns[:2], {"role": "user", "content": marked}]
    other = [{"role": "user", "content": f"d {LONG}"}, *turns[1:]]
    body = {"model": "marked", "max_tokens": 9, "messages": other}
    assert ask("/v1/messages", body)["messages"] == other


def test_what_does_not_pay_is_left_alone(ask):
    short = message("marked", "q", system="Be brief.")
    own = message("marked", "q", system=[{"type": "text", "text": f"e {LONG}", "cache_control": MARK}])
    for body in (short, own, message("plain", "q", system=f"f {LONG}")):
        for _ in range(2):
            sent = ask("/v1/messages", body)
            assert {name: sent[name] for name in ("system", "messages")} == {
                name: body[name] for name in ("system", "messages")
            }


def test_other_formats_are_marked_too(ask):
    body = chat("translated", "q")
    body["messages"].insert(0, {"role": "system", "content": f"g {LONG}"})
    ask("/v1/chat/completions", body)
    (block,) = ask("/v1/chat/completions", body)["system"]
    assert block["cache_control"] == MARK
    aws = {"system": [{"text": f"h {LONG}"}], "messages": [{"role": "user", "content": [{"text": "q"}]}]}
    ask("/bedrock/model/aws/converse", aws, "aws")
    again = ask("/bedrock/model/aws/converse", aws, "aws")
    assert again["system"] == [*aws["system"], {"cachePoint": {"type": "default"}}]


def test_nova_by_invoke_model_is_marked(ask):
    """Its body says what Converse says, and goes on as that."""
    turn = {"role": "user", "content": [{"text": "q"}]}
    body = {
        "schemaVersion": "messages-v1",
        "system": [{"text": f"j {LONG}"}],
        "messages": [turn],
        "inferenceConfig": {"maxTokens": 50},
    }
    mark = {"cachePoint": {"type": "default"}}
    assert ask("/bedrock/model/aws/invoke", body, "aws")["system"] == body["system"]
    assert ask("/bedrock/model/aws/invoke", body, "aws")["system"] == [*body["system"], mark]
    # What the caller marks himself is left as it is.
    own = {**body, "system": [{"text": f"k {LONG}"}, mark]}
    for _ in range(2):
        assert ask("/bedrock/model/aws/invoke", own, "aws")["system"] == own["system"]


@pytest.mark.parametrize("path", ["/v1/messages", "/bedrock/model/invoke/invoke", "/v1/chat/completions"])
def test_claude_by_invoke_model_is_marked(ask, path):
    instructions = f"i {path} {LONG}"
    if path == "/v1/chat/completions":
        body = chat("invoke", "q")
        body["messages"].insert(0, {"role": "system", "content": instructions})
    else:
        body = message("invoke", "q", system=instructions)
    if path.startswith("/bedrock"):
        body = {**{n: v for n, v in body.items() if n != "model"}, "anthropic_version": "bedrock-2023-05-31"}
    ask(path, body, "invoke")
    again = ask(path, body, "invoke")
    assert again["system"] == [{"type": "text", "text": instructions, "cache_control": MARK}]
    assert again["anthropic_version"] == "bedrock-2023-05-31"


def test_tokens_read_and_written_are_counted_apart(gateway, ask):
    def counted() -> dict[str, int]:
        text = gateway.http.get("/metrics", headers=gateway.admin).text
        lines = [line for line in text.splitlines() if line.startswith("ailink_tokens_total{")]
        found = dict.fromkeys(("input", "output", "cache_read", "cache_write"), 0)
        for line in lines:
            found[line.partition('type="')[2].partition('"')[0]] += int(line.rpartition(" ")[2])
        return found

    before = counted()
    ask("/v1/messages", message("marked", "counted"))
    until(lambda: counted()["cache_write"] > before["cache_write"], "it is settled")
    grown = {kind: count - before[kind] for kind, count in counted().items()}
    assert grown == {"input": 10, "output": 5, "cache_read": 2000, "cache_write": 300}


def test_what_was_read_and_written_costs_its_price(gateway, ask):
    ask("/v1/messages", message("marked", "the price"))
    (row,) = until(lambda: [row for row in gateway.spend_logs() if row["api_key"] == ask.key.token][:1])
    # 10 at 3 $, 5 at 15 $, 2,000 read at 0.30 $ and 300 written at 3.75 $ a million.
    expected = Decimal(10 * 3 + 5 * 15) + Decimal(2000) * Decimal("0.3") + Decimal(300) * Decimal("3.75")
    assert Decimal(row["spend"]) == expected / 1_000_000
