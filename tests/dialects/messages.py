"""Anthropic's messages."""

from typing import Any

import httpx
from tests.dialects.common import PNG, RESULTS, SCHEMA, TOOLS, Ask, Asked, Call, Told, arguments
from tests.harness import events_of

FINISH = {
    "end_turn": "stop",
    "tool_use": "tools",
    "max_tokens": "length",
    "refusal": "filter",
}


class Messages:
    name = "messages"
    deployment: dict[str, Any] = {"provider": "mock_anthropic", "model": "claude-sonnet-4-5"}

    def path(self, model: str, stream: bool) -> str:
        return "/v1/messages"

    def write(self, ask: Ask, model: str) -> Any:
        content: list[Any] = [{"type": "text", "text": ask.text}]
        if ask.image:
            source = {"type": "base64", "media_type": "image/png", "data": PNG}
            content.append({"type": "image", "source": source})
        body: dict[str, Any] = {"model": model, "max_tokens": 8000}
        body["messages"] = [{"role": "user", "content": content}]
        if ask.stream:
            body["stream"] = True
        if ask.tools:
            body["tools"] = [{"name": name, "input_schema": schema} for name, schema in TOOLS.items()]
        if ask.schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if ask.think:
            body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        if ask.history:
            body["messages"].append({"role": "assistant", "content": ask.history.turn})
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": result}
                for call, result in zip(ask.history.calls, RESULTS, strict=True)
            ]
            body["messages"].append({"role": "user", "content": results})
        return body

    def read(self, body: Any) -> Told:
        assert (body["type"], body["role"]) == ("message", "assistant")
        told = Told(turn=body["content"])
        for block in body["content"]:
            if block["type"] == "text":
                told.text += block["text"]
                told.sources += [one["url"] for one in block.get("citations") or ()]
            elif block["type"] == "tool_use":
                told.calls.append(Call(block["id"], block["name"], block["input"]))
            else:
                told.thought += block.get("thinking", "")
                told.proofs += [proof] if (proof := block.get("signature") or block.get("data")) else []
        told.finish = FINISH[body["stop_reason"]]
        self._usage(told, body["usage"])
        return told

    def read_stream(self, body: bytes) -> Told:
        told, blocks = Told(), list[dict[str, Any]]()
        usage: dict[str, int] = {}
        for event in events_of(body):
            data = event.json()
            assert data["type"] == event.name
            told.ended = event.name == "message_stop"
            if event.name == "message_start":
                usage |= data["message"]["usage"]
            elif event.name == "content_block_start":
                assert data["index"] == len(blocks)
                blocks.append({**data["content_block"], "json": ""})
                proof = data["content_block"].get("data")
                told.proofs += [proof] if proof else []
            elif event.name == "content_block_delta":
                assert data["index"] == len(blocks) - 1
                self._delta(told, blocks[-1], data["delta"])
            elif event.name == "message_delta":
                told.finish = FINISH[data["delta"]["stop_reason"]]
                usage |= data["usage"]
                self._usage(told, usage)
            elif event.name == "error":
                told.error = data["error"]["message"]
        told.calls = [
            Call(block["id"], block["name"], arguments(block["json"] or "{}"))
            for block in blocks
            if block["type"] == "tool_use" and not told.error
        ]
        return told

    def _delta(self, told: Told, block: dict[str, Any], delta: Any) -> None:
        match delta["type"]:
            case "text_delta":
                told.text += delta["text"]
            case "thinking_delta":
                told.thought += delta["thinking"]
            case "signature_delta":
                told.proofs.append(delta["signature"])
            case "citations_delta":
                told.sources.append(delta["citation"]["url"])
            case "input_json_delta":
                block["json"] += delta["partial_json"]
                told.fragments += 1

    def read_error(self, answer: httpx.Response) -> str:
        body = answer.json()
        assert body["type"] == "error"
        assert body["error"]["type"].endswith("_error")
        return str(body["error"]["message"])

    def asked(self, body: Any) -> Asked:
        asked = Asked(thinks=body.get("thinking", {}).get("type") == "enabled")
        asked.tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", ())}
        asked.schema = body.get("output_config", {}).get("format", {}).get("schema")
        for block in (block for message in body["messages"] for block in message["content"]):
            match block["type"]:
                case "text":
                    asked.texts.append(block["text"])
                case "image":
                    asked.images.append((block["source"]["media_type"], block["source"]["data"]))
                case "tool_use":
                    asked.calls.append(Call(block["id"], block["name"], block["input"]))
                case "tool_result":
                    content = block["content"]
                    text = content if isinstance(content, str) else content[0]["text"]
                    asked.results.append((block["tool_use_id"], text))
                case "thinking":
                    asked.proofs.append(block["signature"])
        return asked

    def _usage(self, told: Told, usage: Any) -> None:
        cached = usage.get("cache_read_input_tokens") or 0
        written = usage.get("cache_creation_input_tokens") or 0
        told.usage = (usage["input_tokens"] + cached + written, usage["output_tokens"], cached)
