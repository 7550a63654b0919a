"""Providers and guardrails written in Python as an ASGI application, which the data plane calls.

Its private socket is its own: no client's request is ever forwarded there. `/NAME/chat/completions`, and
`/guardrails/NAME/PLACE`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from ailink.plugins import guard_app
from ailink.plugins.provider import ProviderError
from ailink.plugins.runner import Runner

log = logging.getLogger(__name__)

JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
FAILED = ProviderError(502, "The provider failed; the gateway's log says how.", code="plugin_failed")
UNKNOWN = ProviderError(404, "There is no such provider or call.", code="unknown_url")


class PluginApp:
    """`find`: the running provider of a name."""

    def __init__(self, find: Callable[[str], Runner | None]) -> None:
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return
        # The caller who leaves cancels the call.
        answering = asyncio.ensure_future(self._called(scope["path"], body, send))
        leaving = asyncio.ensure_future(_gone(receive))
        done, pending = await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if answering in done:
            answering.result()

    async def _called(self, path: str, body: bytes, send: Send) -> None:
        guardrail = guard_app.called(path)
        if guardrail is not None:
            await _whole(send, *await guard_app.answer(self._find, guardrail, body))
            return
        _, name, *rest = path.split("/")
        await _answer(self._find(name), name, "/".join(rest), body, send)


async def _body(receive: Receive) -> bytes | None:
    """The request's body; None when its sender is gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(runner: Runner | None, name: str, call: str, body: bytes, send: Send) -> None:
    began = False
    try:
        if runner is None or call not in {"chat/completions", "embeddings"}:
            raise UNKNOWN
        request = msgspec.json.decode(body, type=dict[str, Any])
        if call == "embeddings":
            await _whole(send, 200, await runner.call("embeddings", request))
        elif not request.get("stream"):
            await _whole(send, 200, completion(request, await runner.call("chat", request)))
        else:
            pieces = runner.stream(request)
            try:
                async for event in chunks(request, pieces):
                    if not began:
                        began = True
                        await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
                    await send(_event(event))
            finally:
                await pieces.aclose()  # type: ignore[attr-defined]
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
    except Exception as error:
        refused = error if isinstance(error, ProviderError) else FAILED
        if refused is FAILED:
            log.error("provider %s failed: %s: %s", name, type(error).__name__, error, exc_info=error)
        told = {
            "error": {"message": refused.message, "type": "plugin_error", "param": None, "code": refused.code}
        }
        if began:
            await send(_event(told))
            await send({"type": "http.response.body", "body": b""})
        else:
            await _whole(send, refused.status, told)


async def _whole(send: Send, status: int, answer: Any) -> None:
    body = msgspec.json.encode(answer)
    headers = [*JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _event(event: Mapping[str, Any]) -> Message:
    body = b"data: " + msgspec.json.encode(event) + b"\n\n"
    return {"type": "http.response.body", "body": body, "more_body": True}


def _head(request: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": request.get("model", ""),
    }


def completion(request: Mapping[str, Any], answer: Mapping[str, Any] | str) -> Mapping[str, Any]:
    """A whole answer, made of its text where that is all there is."""
    if not isinstance(answer, str):
        return {**_head(request, "chat.completion"), **answer}
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_head(request, "chat.completion"), "choices": [choice]}


async def chunks(request: Mapping[str, Any], pieces: AsyncIterator[Any]) -> AsyncIterator[Mapping[str, Any]]:
    """The pieces as chunks, with an end where the provider gives text only."""
    head = _head(request, "chat.completion.chunk")
    finished = False
    first = True
    async for piece in pieces:
        if isinstance(piece, str):
            delta = {"role": "assistant", "content": piece} if first else {"content": piece}
            yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        else:
            told = piece.get("choices") or ()
            finished = finished or any(choice.get("finish_reason") for choice in told)
            yield {**head, **piece}
        first = False
    if not finished:
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
