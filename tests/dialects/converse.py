"""Amazon Bedrock's Converse."""

import json
from typing import Any

import httpx
from botocore.eventstream import EventStreamBuffer
from tests.dialects.common import PNG, RESULTS, SCHEMA, TOOLS, Ask, Asked, Call, Told, arguments
from tests.harness import AWS_KEY

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
FINISH = {
    "end_turn": "stop",
    "tool_use": "tools",
    "max_tokens": "length",
    "content_filtered": "filter",
}


class Converse:
    name = "converse"
    deployment: dict[str, Any] = {
        "provider": "bedrock",
        "model": CLAUDE,
        "region": "us-east-1",
        "api_key": AWS_KEY,
    }

    def path(self, model: str, stream: bool) -> str:
        return f"/model/{model}/converse{'-stream' if stream else ''}"

    def write(self, ask: Ask, model: str) -> Any:
        content: list[Any] = [{"text": ask.text}]
        if ask.image:
            content.append({"image": {"format": "png", "source": {"bytes": PNG}}})
        body: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
        body["inferenceConfig"] = {"maxTokens": 8000}
        if ask.tools:
            specs = [
                {"toolSpec": {"name": name, "inputSchema": {"json": schema}}}
                for name, schema in TOOLS.items()
            ]
            body["toolConfig"] = {"tools": specs}
        if ask.schema:
            structure = {"jsonSchema": {"name": "answer", "schema": json.dumps(SCHEMA)}}
            body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}
        if ask.think:
            thinking = {"type": "enabled", "budget_tokens": 1024}
            body["additionalModelRequestFields"] = {"thinking": thinking}
        if ask.history:
            body["messages"].append(ask.history.turn)
            results = [
                {"toolResult": {"toolUseId": call.id, "content": [{"text": result}]}}
                for call, result in zip(ask.history.calls, RESULTS, strict=True)
            ]
            body["messages"].append({"role": "user", "content": results})
        return body

    def read(self, body: Any) -> Told:
        told = Told(turn=body["output"]["message"])
        for block in told.turn["content"]:
            ((kind, value),) = block.items()
            match kind:
                case "text":
                    told.text += value
                case "citationsContent":
                    told.text += "".join(piece["text"] for piece in value["content"])
                    told.sources += [one["location"]["web"]["url"] for one in value["citations"]]
                case "toolUse":
                    told.calls.append(Call(value["toolUseId"], value["name"], value["input"]))
                case "reasoningContent":
                    self._reasoning(told, value.get("reasoningText", value))
        told.finish = FINISH[body["stopReason"]]
        self._usage(told, body["usage"])
        return told

    def read_stream(self, body: bytes) -> Told:
        told, calls = Told(), dict[int, Any]()
        buffer = EventStreamBuffer()
        buffer.add_data(body)
        for event in buffer:
            data = json.loads(event.payload)
            kind = event.headers.get(":event-type")
            told.ended = kind == "metadata"
            if event.headers[":message-type"] != "event":
                assert event.headers[":exception-type"].endswith("Exception")
                told.error = data["message"]
            elif kind == "contentBlockStart":
                calls[data["contentBlockIndex"]] = {**data["start"]["toolUse"], "json": ""}
            elif kind == "contentBlockDelta":
                self._delta(told, calls.get(data["contentBlockIndex"]), data["delta"])
            elif kind == "messageStop":
                told.finish = FINISH[data["stopReason"]]
            elif kind == "metadata" and "usage" in data:
                self._usage(told, data["usage"])
        told.calls = [
            Call(call["toolUseId"], call["name"], arguments(call["json"] or "{}"))
            for call in calls.values()
            if not told.error
        ]
        return told

    def _delta(self, told: Told, call: Any, delta: Any) -> None:
        ((kind, value),) = delta.items()
        match kind:
            case "text":
                told.text += value
            case "toolUse":
                call["json"] += value["input"]
                told.fragments += 1
            case "reasoningContent":
                self._reasoning(told, value)
            case "citation":
                told.sources.append(value["location"]["web"]["url"])

    def _reasoning(self, told: Told, value: Any) -> None:
        told.thought += value.get("text", "")
        proof = value.get("signature") or value.get("redactedContent")
        told.proofs += [proof] if proof else []

    def read_error(self, answer: httpx.Response) -> str:
        assert answer.headers["x-amzn-errortype"].endswith("Exception")
        return str(answer.json()["message"])

    def asked(self, body: Any) -> Asked:
        asked = Asked(thinks="thinking" in body.get("additionalModelRequestFields", {}))
        specs = [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", ())]
        asked.tools = {spec["name"]: spec["inputSchema"]["json"] for spec in specs}
        if wanted := body.get("outputConfig", {}).get("textFormat"):
            asked.schema = json.loads(wanted["structure"]["jsonSchema"]["schema"])
        for block in (block for message in body["messages"] for block in message["content"]):
            ((kind, value),) = block.items()
            match kind:
                case "text":
                    asked.texts.append(value)
                case "image":
                    asked.images.append((f"image/{value['format']}", value["source"]["bytes"]))
                case "toolUse":
                    asked.calls.append(Call(value["toolUseId"], value["name"], value["input"]))
                case "toolResult":
                    asked.results.append((value["toolUseId"], value["content"][0]["text"]))
                case "reasoningContent":
                    asked.proofs.append(value["reasoningText"]["signature"])
        return asked

    def _usage(self, told: Told, usage: Any) -> None:
        cached, written = usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]
        told.usage = (usage["inputTokens"] + cached + written, usage["outputTokens"], cached)
        assert usage["totalTokens"] == sum(told.usage[:2])
