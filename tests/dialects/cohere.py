"""Cohere's chat, version 2."""

import json
from typing import Any

import httpx
from tests.dialects.chat import function_tools
from tests.dialects.common import (
    PNG,
    RESULTS,
    SCHEMA,
    Ask,
    Asked,
    Call,
    Told,
    arguments,
    data_url,
    from_data_url,
)
from tests.harness import events_of

FINISH = {"COMPLETE": "stop", "TOOL_CALL": "tools", "MAX_TOKENS": "length", "ERROR": "error"}


class Cohere:
    name = "cohere"
    deployment: dict[str, Any] = {"provider": "mock_cohere", "model": "command-a"}

    def path(self, model: str, stream: bool) -> str:
        return "/v2/chat"

    def write(self, ask: Ask, model: str) -> Any:
        content: list[Any] = [{"type": "text", "text": ask.text}]
        if ask.image:
            content.append({"type": "image_url", "image_url": {"url": data_url(("image/png", PNG))}})
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": content}]}
        body["stream"] = ask.stream
        if ask.tools:
            body["tools"] = function_tools()
        if ask.schema:
            body["response_format"] = {"type": "json_object", "json_schema": SCHEMA}
        if ask.think:
            body["thinking"] = {"type": "enabled", "token_budget": 1024}
        if ask.history:
            body["messages"].append(ask.history.turn)
            body["messages"] += [
                {"role": "tool", "tool_call_id": call.id, "content": result}
                for call, result in zip(ask.history.calls, RESULTS, strict=True)
            ]
        return body

    def read(self, body: Any) -> Told:
        message = body["message"]
        assert message["role"] == "assistant"
        told = Told(text=message.get("tool_plan") or "", turn=message)
        for part in message.get("content") or ():
            told.text += part.get("text", "")
            told.thought += part.get("thinking", "")
        told.calls = [
            Call(call["id"], call["function"]["name"], arguments(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        ]
        for citation in message.get("citations") or ():
            told.sources += [source["document"]["url"] for source in citation["sources"]]
        told.finish = FINISH[body["finish_reason"]]
        self._usage(told, body)
        return told

    def read_stream(self, body: bytes) -> Told:
        told, calls = Told(), dict[int, dict[str, Any]]()
        for event in events_of(body):
            data = event.json()
            assert data["type"] == event.name
            message = data.get("delta", {}).get("message", {})
            match event.name:
                case "content-delta":
                    told.text += message["content"].get("text", "")
                    told.thought += message["content"].get("thinking", "")
                case "tool-plan-delta":
                    told.text += message["tool_plan"]
                case "tool-call-start":
                    call = message["tool_calls"]
                    calls[data["index"]] = {"id": call["id"], **call["function"]}
                case "tool-call-delta":
                    calls[data["index"]]["arguments"] += message["tool_calls"]["function"]["arguments"]
                    told.fragments += 1
                case "citation-start":
                    told.sources += [one["document"]["url"] for one in message["citations"]["sources"]]
                case "message-end":
                    told.ended = True
                    told.finish = FINISH[data["delta"]["finish_reason"]]
                    told.error = data["delta"].get("error")
                    self._usage(told, data["delta"])
        told.calls = [
            Call(call["id"], call["name"], arguments(call["arguments"] or "{}"))
            for call in calls.values()
            if not told.error
        ]
        return told

    def read_error(self, answer: httpx.Response) -> str:
        assert set(answer.json()) == {"id", "message"}
        return str(answer.json()["message"])

    def asked(self, body: Any) -> Asked:
        asked = Asked(thinks=body.get("thinking", {}).get("type") == "enabled")
        asked.tools = {
            tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())
        }
        asked.schema = body.get("response_format", {}).get("json_schema")
        for message in body["messages"]:
            content = message.get("content")
            if message["role"] == "tool":
                asked.results.append((message["tool_call_id"], content))
                continue
            for call in message.get("tool_calls") or ():
                function = call["function"]
                asked.calls.append(Call(call["id"], function["name"], json.loads(function["arguments"])))
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
                if part["type"] == "text":
                    asked.texts.append(part["text"])
                elif part["type"] == "image_url":
                    asked.images.append(from_data_url(part["image_url"]["url"]))
        return asked

    def _usage(self, told: Told, body: Any) -> None:
        if usage := body.get("usage"):
            units = usage["billed_units"]
            cached = int(usage.get("cached_tokens", 0))
            told.usage = (int(units["input_tokens"]), int(units["output_tokens"]), cached)
