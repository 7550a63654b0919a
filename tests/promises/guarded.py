"""What P10 asks of: places of every dialect where a text grows over events, recorded streams, and a gateway
before an upstream that replays them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.dialects import DIALECTS as SPOKEN
from tests.dialects import Ask
from tests.harness import Gateway, Key, events_of, frames
from tests.promises.replay import Answer, Replay
from tests.promises.wire import Http1, Http2, encoded

MARK = "\ue000"
"""Stands in a template where the text goes."""
ROWS = {
    "chat": "openai",
    "completions": "openai",
    "responses": "responses",
    "messages": "anthropic",
    "gemini": "gemini",
    "cohere": "cohere",
    "converse": "bedrock",
}
"""Dialects of callers, and the dialect of a deployment that speaks the same."""
ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "rust/core/src/dialect/translate/tests/recorded"


def asked(dialect: str, model: str) -> tuple[str, bytes]:
    """Path and body of a request for a stream."""
    if dialect == "completions":
        return "/v1/completions", encoded({"model": model, "prompt": "hi", "stream": True})
    spoken = SPOKEN[dialect]
    return spoken.path(model, True), encoded(spoken.write(Ask("hi", stream=True), model))


def recorded(dialect: str) -> bytes:
    """A stream as a provider sent it: thoughts, text, sources, two calls of tools."""
    if dialect == "completions":
        return (Path(__file__).parent / "streams" / "guarded" / "completions.sse").read_bytes()
    if dialect != "converse":
        return (RECORDED / f"{dialect}.sse").read_bytes()
    lines = (RECORDED / "converse.frames").read_bytes().splitlines()
    return b"".join(
        frames.event(kind.decode(), said) for kind, _, said in (row.partition(b" ") for row in lines)
    )


def told(dialect: str, body: bytes) -> Iterator[tuple[str, Any]]:
    """Kind and content of the events of a stream."""
    if dialect == "converse":
        yield from frames.events_of(body)
        return
    for event in events_of(body):
        if not event.done:
            yield event.name, event.json()


class Place(NamedTuple):
    """Where a text grows: the event that adds a piece, with `MARK` where the piece stands."""

    dialect: str
    name: str
    kind: str
    template: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{self.dialect}-{self.name}".replace(" ", "-")

    def event(self, text: str) -> bytes:
        data = json.dumps(self.template, ensure_ascii=False).replace(MARK, json.dumps(text)[1:-1])
        if self.dialect == "converse":
            return frames.event(self.kind, data.encode())
        name = f"event: {self.kind}\n" if self.kind else ""
        return f"{name}data: {data}\n\n".encode()

    def stream(self, parts: Iterable[str]) -> bytes:
        """A stream that says the text in these parts; a second choice grows beside a first one."""
        beside = [CHAT[0].event("@")] if self.name == "second choice" else []
        events = [one for part in parts for one in (self.event(part), *beside)]
        return b"".join([*OPENED.get(self.dialect, ()), *events, *CLOSED[self.dialect]])

    def said(self, body: bytes) -> str:
        """The text as a client puts it together."""
        return "".join(piece(self.template, data) or "" for _, data in told(self.dialect, body))


def piece(template: Any, data: Any) -> str | None:
    """What stands at the mark, if all else is as in the template."""
    if template == MARK:
        return data if isinstance(data, str) else None
    if isinstance(template, Mapping):
        if not isinstance(data, Mapping) or not set(template) <= set(data):
            return None
        return one(piece(value, data[name]) for name, value in template.items())
    if isinstance(template, list):
        if not isinstance(data, list) or len(data) < len(template):
            return None
        return one(piece(value, data[at]) for at, value in enumerate(template))
    return "" if template == data else None


def one(pieces: Iterable[str | None]) -> str | None:
    found = list(pieces)
    return None if None in found else "".join(text or "" for text in found)


def _chat(name: str, delta: Mapping[str, Any], index: int = 0) -> Place:
    return Place("chat", name, "", {"choices": [{"index": index, "delta": delta}]})


def _responses(name: str, kind: str, **more: Any) -> Place:
    return Place("responses", name, kind, {"type": kind, "output_index": 0, **more, "delta": MARK})


def _messages(name: str, kind: str, member: str) -> Place:
    delta = {"type": kind, member: MARK}
    event = "content_block_delta"
    return Place("messages", name, event, {"type": event, "index": 0, "delta": delta})


def _gemini(name: str, part: Mapping[str, Any], index: int = 0) -> Place:
    content = {"role": "model", "parts": [part]}
    return Place("gemini", name, "", {"candidates": [{"content": content, "index": index}]})


def _cohere(name: str, kind: str, message: Mapping[str, Any], **more: Any) -> Place:
    return Place("cohere", name, kind, {"type": kind, **more, "delta": {"message": message}})


def _converse(name: str, delta: Mapping[str, Any]) -> Place:
    return Place("converse", name, "contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})


CHAT = [
    _chat("text", {"content": MARK}),
    _chat("second choice", {"content": MARK}, 1),
    _chat("reasoning", {"reasoning_content": MARK}),
    _chat("refusal", {"refusal": MARK}),
    _chat("arguments", {"tool_calls": [{"index": 2, "function": {"arguments": MARK}}]}),
]
_CALL = {"tool_calls": {"function": {"arguments": MARK}}}
PLACES = [
    *CHAT,
    Place("completions", "text", "", {"choices": [{"text": MARK, "index": 0}]}),
    _responses("text", "response.output_text.delta", content_index=0, item_id="a"),
    _responses("refusal", "response.refusal.delta", content_index=0, item_id="a"),
    _responses("summary", "response.reasoning_summary_text.delta", summary_index=0),
    _responses("arguments", "response.function_call_arguments.delta"),
    _messages("text", "text_delta", "text"),
    _messages("thinking", "thinking_delta", "thinking"),
    _messages("arguments", "input_json_delta", "partial_json"),
    _gemini("text", {"text": MARK}),
    _gemini("thought", {"text": MARK, "thought": True}, 1),
    _cohere("text", "content-delta", {"content": {"text": MARK}}, index=0),
    _cohere("plan", "tool-plan-delta", {"tool_plan": MARK}),
    _cohere("arguments", "tool-call-delta", _CALL, index=0),
    _converse("text", {"text": MARK}),
    _converse("reasoning", {"reasoningContent": {"text": MARK}}),
    _converse("arguments", {"toolUse": {"input": MARK}}),
]


def _sse(kind: str, data: Any) -> bytes:
    return (f"event: {kind}\n" if kind else "").encode() + b"data: " + encoded(data) + b"\n\n"


_STARTED = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 1}}
OPENED = {"messages": [_sse("message_start", {"type": "message_start", "message": _STARTED})]}
_STOPPED = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn"},
    "usage": {"output_tokens": 3},
}
_ENDED = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
_USED = {"usage": {"inputTokens": 1, "outputTokens": 3, "totalTokens": 4}}
CLOSED = {
    "chat": [b"data: [DONE]\n\n"],
    "completions": [b"data: [DONE]\n\n"],
    "responses": [
        _sse("response.completed", {"type": "response.completed", "response": {"status": "completed"}})
    ],
    "messages": [_sse("message_delta", _STOPPED), _sse("message_stop", {"type": "message_stop"})],
    "gemini": [_sse("", {"candidates": [{"content": {"parts": []}, "index": 0, "finishReason": "STOP"}]})],
    "cohere": [_sse("message-end", _ENDED)],
    "converse": [
        frames.event("messageStop", b'{"stopReason":"end_turn"}'),
        frames.event("metadata", encoded(_USED)),
    ],
}


class Guarded(NamedTuple):
    """A gateway with guardrails before a replaying upstream."""

    gateway: Gateway
    replay: Replay
    key: Key

    async def open(self) -> Http1 | Http2:
        return await Http1.open(self.gateway.port)

    async def ask(
        self, client: Http1 | Http2, caller: str, model: str, pieces: list[bytes], *, speaks: str = ""
    ) -> bytes:
        """What a caller of a dialect gets of these pieces of a stream; `speaks`: the provider's dialect."""
        path, body = asked(caller, model)
        kind = frames.CONTENT_TYPE if (speaks or caller) == "converse" else "text/event-stream"
        header = self.replay.add(Answer(pieces, content_type=kind))
        await client.post(path, body, {**self.key.bearer, **header})
        status = await client.head()
        answer = await client.rest()
        assert status == 200, answer
        return answer
