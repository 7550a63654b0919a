"""OpenAI's chat completions."""

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

FINISH = {"stop": "stop", "tool_calls": "tools", "length": "length", "content_filter": "filter"}


def function_tools() -> list[Any]:
    return [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in TOOLS.items()
    ]


class Chat:
    name = "chat"
    deployment: dict[str, Any] = {"provider": "openai_compatible"}

    def path(self, model: str, stream: bool) -> str:
        return "/v1/chat/completions"

    def write(self, ask: Ask, model: str) -> Any:
        said: Any = ask.text
        if ask.image:
            image = {"type": "image_url", "image_url": {"url": data_url(("image/png", PNG))}}
            said = [{"type": "text", "text": ask.text}, image]
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": said}]}
        if ask.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if ask.tools:
            body["tools"] = function_tools()
        if ask.schema:
            schema = {"name": "answer", "schema": SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if ask.think:
            body["reasoning_effort"] = "low"
        if ask.history:
            body["messages"].append(ask.history.turn)
            body["messages"] += [
                {"role": "tool", "tool_call_id": call.id, "content": result}
                for call, result in zip(ask.history.calls, RESULTS, strict=True)
            ]
        return body

    def read(self, body: Any) -> Told:
        assert body["object"] == "chat.completion"
        (choice,) = body["choices"]
        message = choice["message"]
        told = Told(
            text=message["content"] or "", thought=message.get("reasoning_content") or "", turn=message
        )
        self._proofs(told, message)
        told.calls = [
            Call(call["id"], call["function"]["name"], arguments(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        ]
        told.sources = [one["url_citation"]["url"] for one in message.get("annotations") or ()]
        told.finish = FINISH[choice["finish_reason"]]
        self._usage(told, body)
        return told

    def read_stream(self, body: bytes) -> Told:
        told, calls = Told(), dict[int, dict[str, Any]]()
        events = events_of(body)
        told.ended = bool(events) and events[-1].done
        for chunk in (event.json() for event in events if not event.done):
            if "error" in chunk:
                told.error = chunk["error"]["message"]
                continue
            assert chunk["object"] == "chat.completion.chunk"
            for choice in chunk["choices"]:
                delta = choice["delta"]
                told.text += delta.get("content") or ""
                told.thought += delta.get("reasoning_content") or ""
                told.sources += [one["url_citation"]["url"] for one in delta.get("annotations") or ()]
                self._proofs(told, delta)
                for piece in delta.get("tool_calls") or ():
                    call = calls.setdefault(piece["index"], {"arguments": ""})
                    call |= {"id": piece["id"], "name": piece["function"]["name"]} if "id" in piece else {}
                    call["arguments"] += piece["function"].get("arguments") or ""
                    told.fragments += bool(piece["function"].get("arguments"))
                if choice["finish_reason"]:
                    told.finish = FINISH[choice["finish_reason"]]
            self._usage(told, chunk)
        told.calls = [
            Call(calls[at]["id"], calls[at]["name"], arguments(calls[at]["arguments"]))
            for at in sorted(calls)
        ]
        return told

    def read_error(self, answer: httpx.Response) -> str:
        error = answer.json()["error"]
        assert {"message", "type", "param", "code"} <= set(error)
        return str(error["message"])

    def asked(self, body: Any) -> Asked:
        asked = Asked(thinks="reasoning_effort" in body)
        asked.tools = {
            tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())
        }
        asked.schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
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
                else:
                    asked.images.append(from_data_url(part["image_url"]["url"]))
        return asked

    def _proofs(self, told: Told, message: Any) -> None:
        for block in message.get("thinking_blocks") or ():
            told.proofs.append(block.get("signature") or block.get("data"))
        for call in message.get("tool_calls") or ():
            if extra := call.get("extra_content"):
                told.proofs.append(extra["google"]["thought_signature"])

    def _usage(self, told: Told, body: Any) -> None:
        if usage := body.get("usage"):
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            told.usage = (usage["prompt_tokens"], usage["completion_tokens"], cached)
