"""OpenAI's Responses."""

import json
from typing import Any

import httpx
from tests.dialects.common import (
    PNG,
    RESULTS,
    SCHEMA,
    TOOLS,
    Ask,
    Asked,
    Call,
    Told,
    arguments,
    data_url,
    from_data_url,
)
from tests.harness import events_of

REASONS = {"max_output_tokens": "length", "content_filter": "filter"}


class Responses:
    name = "responses"
    deployment: dict[str, Any] = {"provider": "mock_responses"}

    def path(self, model: str, stream: bool) -> str:
        return "/v1/responses"

    def write(self, ask: Ask, model: str) -> Any:
        content: list[Any] = [{"type": "input_text", "text": ask.text}]
        if ask.image:
            content.append({"type": "input_image", "image_url": data_url(("image/png", PNG))})
        body: dict[str, Any] = {
            "model": model,
            "input": [{"role": "user", "content": content}],
            "store": False,
        }
        if ask.stream:
            body["stream"] = True
        if ask.tools:
            body["tools"] = [
                {"type": "function", "name": name, "parameters": schema, "strict": False}
                for name, schema in TOOLS.items()
            ]
        if ask.schema:
            body["text"] = {
                "format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}
            }
        if ask.think:
            body |= {
                "reasoning": {"effort": "low", "summary": "auto"},
                "include": ["reasoning.encrypted_content"],
            }
        if ask.history:
            body["input"] += ask.history.turn
            body["input"] += [
                {"type": "function_call_output", "call_id": call.id, "output": result}
                for call, result in zip(ask.history.calls, RESULTS, strict=True)
            ]
        return body

    def read(self, body: Any) -> Told:
        assert body["object"] == "response"
        told = Told(turn=body["output"])
        for item in body["output"]:
            if item["type"] == "function_call":
                told.calls.append(Call(item["call_id"], item["name"], arguments(item["arguments"])))
            elif item["type"] == "reasoning":
                told.thought += "".join(part["text"] for part in item["summary"])
                told.proofs += [proof] if (proof := item.get("encrypted_content")) else []
            else:
                told.text += "".join(part["text"] for part in item["content"])
                told.sources += [one["url"] for part in item["content"] for one in part["annotations"]]
        self._end(told, body)
        return told

    def read_stream(self, body: bytes) -> Told:
        told = Told()
        whole = None
        for event in (event.json() for event in events_of(body)):
            kind = event["type"]
            told.ended = kind in {"response.completed", "response.incomplete"}
            if told.ended:
                whole = event["response"]
            elif kind == "response.failed":
                told.error = event["response"]["error"]["message"]
            elif kind == "error":
                told.error = event["message"]
            elif kind == "response.output_text.delta":
                told.text += event["delta"]
            elif kind == "response.reasoning_summary_text.delta":
                told.thought += event["delta"]
            elif kind == "response.function_call_arguments.delta":
                told.fragments += 1
            elif kind == "response.output_item.done":
                item = event["item"]
                if item["type"] == "function_call":
                    told.calls.append(Call(item["call_id"], item["name"], arguments(item["arguments"])))
                elif item["type"] == "reasoning" and item.get("encrypted_content"):
                    told.proofs.append(item["encrypted_content"])
            elif kind == "response.output_text.annotation.added":
                told.sources.append(event["annotation"]["url"])
        if whole:
            again = self.read(whole)
            assert (again.text, again.calls, again.proofs) == (told.text, told.calls, told.proofs)
            assert again.sources == told.sources
            self._end(told, whole)
        return told

    def read_error(self, answer: httpx.Response) -> str:
        return str(answer.json()["error"]["message"])

    def asked(self, body: Any) -> Asked:
        asked = Asked(thinks="effort" in body.get("reasoning", {}))
        asked.tools = {tool["name"]: tool["parameters"] for tool in body.get("tools", ())}
        asked.schema = body.get("text", {}).get("format", {}).get("schema")
        for item in body["input"]:
            kind = item.get("type", "message")
            if kind == "function_call":
                asked.calls.append(Call(item["call_id"], item["name"], json.loads(item["arguments"])))
            elif kind == "function_call_output":
                asked.results.append((item["call_id"], item["output"]))
            elif kind == "reasoning":
                asked.proofs.append(item["encrypted_content"])
            else:
                for part in item["content"]:
                    if part["type"] == "input_image":
                        asked.images.append(from_data_url(part["image_url"]))
                    else:
                        asked.texts.append(part["text"])
        return asked

    def _end(self, told: Told, body: Any) -> None:
        reason = (body["incomplete_details"] or {}).get("reason")
        assert body["status"] == ("incomplete" if reason else "completed")
        told.finish = REASONS[reason] if reason else "tools" if told.calls else "stop"
        if usage := body["usage"]:
            cached = usage["input_tokens_details"]["cached_tokens"]
            told.usage = (usage["input_tokens"], usage["output_tokens"], cached)
