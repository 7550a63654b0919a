"""Google's generateContent."""

from typing import Any

import httpx
from tests.dialects.common import PNG, RESULTS, SCHEMA, TOOLS, Ask, Asked, Call, Told
from tests.harness import events_of

FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "filter"}


class Gemini:
    name = "gemini"
    deployment: dict[str, Any] = {"provider": "mock_gemini", "model": "gemini-2.5-pro"}

    def path(self, model: str, stream: bool) -> str:
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{verb}"

    def write(self, ask: Ask, model: str) -> Any:
        parts: list[Any] = [{"text": ask.text}]
        if ask.image:
            parts.append({"inlineData": {"mimeType": "image/png", "data": PNG}})
        config: dict[str, Any] = {}
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        if ask.tools:
            functions = [{"name": name, "parametersJsonSchema": schema} for name, schema in TOOLS.items()]
            body["tools"] = [{"functionDeclarations": functions}]
        if ask.schema:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
        if ask.think:
            config["thinkingConfig"] = {"thinkingBudget": 1024, "includeThoughts": True}
        if ask.history:
            body["contents"].append(ask.history.turn)
            results = []
            for call, result in zip(ask.history.calls, RESULTS, strict=True):
                response = {"name": call.name, "response": {"result": result}}
                results.append({"functionResponse": response | ({"id": call.id} if call.id else {})})
            body["contents"].append({"role": "user", "parts": results})
        return body

    def read(self, body: Any) -> Told:
        told = Told(turn=body["candidates"][0]["content"])
        self._chunk(told, body)
        return told

    def read_stream(self, body: bytes) -> Told:
        told = Told()
        for event in events_of(body):
            assert event.name == "message"
            chunk = event.json()
            if "error" in chunk:
                assert set(chunk["error"]) >= {"code", "message", "status"}
                told.error = chunk["error"]["message"]
                continue
            self._chunk(told, chunk)
        told.ended = bool(told.finish)
        return told

    def _chunk(self, told: Told, body: Any) -> None:
        for candidate in body.get("candidates", ()):
            assert candidate["content"]["role"] == "model"
            for part in candidate["content"]["parts"]:
                if call := part.get("functionCall"):
                    told.calls.append(Call(call.get("id", ""), call["name"], call["args"]))
                    told.fragments += 1
                elif part.get("thought"):
                    told.thought += part["text"]
                else:
                    told.text += part["text"]
                told.proofs += [part["thoughtSignature"]] if "thoughtSignature" in part else []
            if reason := candidate.get("finishReason"):
                told.finish = "tools" if told.calls else FINISH[reason]
            for chunk in candidate.get("groundingMetadata", {}).get("groundingChunks", ()):
                told.sources.append(chunk["web"]["uri"])
        if usage := body.get("usageMetadata"):
            output = usage["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0)
            told.usage = (usage["promptTokenCount"], output, usage.get("cachedContentTokenCount", 0))

    def read_error(self, answer: httpx.Response) -> str:
        error = answer.json()["error"]
        assert error["code"] == answer.status_code
        assert error["status"].isupper()
        return str(error["message"])

    def asked(self, body: Any) -> Asked:
        config = body.get("generationConfig", {})
        asked = Asked(thinks="thinkingConfig" in config, schema=config.get("responseJsonSchema"))
        functions = [one for tool in body.get("tools", ()) for one in tool["functionDeclarations"]]
        asked.tools = {one["name"]: one["parametersJsonSchema"] for one in functions}
        ids: list[str] = []
        for part in (part for content in body["contents"] for part in content["parts"]):
            if call := part.get("functionCall"):
                ids.append(call.get("id") or call["name"])
                asked.calls.append(Call(ids[-1], call["name"], call["args"]))
            elif response := part.get("functionResponse"):
                asked.results.append((response.get("id") or response["name"], response["response"]["result"]))
            elif blob := part.get("inlineData"):
                asked.images.append((blob["mimeType"], blob["data"]))
            elif not part.get("thought"):
                asked.texts.append(part["text"])
            asked.proofs += [part["thoughtSignature"]] if "thoughtSignature" in part else []
        return asked
