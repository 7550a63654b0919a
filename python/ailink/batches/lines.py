"""The input file of a batch, line by line, and what becomes of its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.admin.errors import ApiError

MOST = 50_000
NAME_MOST = 512
SHOWN = 60

# What may be asked in a batch, and under which name keys are allowed it.
ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
    "/v1/moderations": "moderations",
    "/v1/images/generations": "images_generations",
}
LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class Asked(msgspec.Struct, frozen=True):
    """One request: the caller's name of it, its body as it came, and most tokens of its answer."""

    name: str
    body: str
    output: int | None


class Input(msgspec.Struct, frozen=True):
    model: str
    lines: Sequence[Asked]


class _Row(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw(b"null")


_ROW = msgspec.json.Decoder(_Row)


def refused(
    message: str, line: int | None = None, code: str = "invalid_request", param: str | None = None
) -> ApiError:
    text = message if line is None else f"line {line} of the file: {message}"
    return ApiError(400, text, type="invalid_request_error", code=code, param=param or "input_file_id")


def parse(content: bytes, endpoint: str) -> Input:
    """All lines, for one model. Raises `ApiError`, which names the first line at fault."""
    found: list[Asked] = []
    names: set[str] = set()
    model: str | None = None
    for number, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        if len(found) == MOST:
            raise refused(f"a batch has at most {MOST} requests", number)
        row = _row(text, number, endpoint)
        name, body = row.custom_id, _body(row, number)
        if name in names:
            raise refused(f"`custom_id` {name[:SHOWN]!r} is there twice", number, "duplicate_custom_id")
        asks = body.get("model")
        if not isinstance(asks, str) or not asks:
            raise refused("`body.model` must name a model", number, "model_missing")
        if model is not None and asks != model:
            raise refused(
                f"it asks for model {asks[:SHOWN]!r}, those before it for {model[:SHOWN]!r}: a batch has one",
                number,
                "mismatched_model",
            )
        model = asks
        names.add(name)
        found.append(Asked(name, bytes(row.body).decode(), _output(body)))
    if model is None:
        raise refused("the file has no requests", code="empty_file")
    return Input(model, found)


def _row(text: bytes, number: int, endpoint: str) -> _Row:
    try:
        row = _ROW.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise refused("it is not a JSON object", number, "invalid_json_line") from None
    if not isinstance(row.custom_id, str) or not 0 < len(row.custom_id) <= NAME_MOST:
        raise refused(
            f"`custom_id` must be a text of 1 to {NAME_MOST} characters", number, "missing_custom_id"
        )
    if row.method != "POST":
        raise refused("`method` must be POST", number, "invalid_method")
    if row.url != endpoint:
        raise refused(f"`url` must be {endpoint}, the endpoint of the batch", number, "invalid_url")
    return row


def _body(row: _Row, number: int) -> dict[str, Any]:
    try:
        body = json.loads(bytes(row.body), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise refused(f"`body` cannot be read: {error}"[:200], number, "invalid_json_line") from None
    if not isinstance(body, dict):
        raise refused("`body` must be an object", number, "invalid_json_line")
    if body.get("stream"):
        raise refused("`body.stream`: answers of a batch are not streamed", number, "stream_unsupported")
    if body.get("background") or body.get("previous_response_id") or body.get("conversation"):
        text = "`body`: a request of a batch cannot go on from another, nor be made in the background"
        raise refused(text, number, "parameter_unsupported")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _output(body: dict[str, Any]) -> int | None:
    told = [body[name] for name in LIMITS if isinstance(body.get(name), int) and body[name] > 0]
    choices = body.get("n")
    times = choices if isinstance(choices, int) and choices > 1 else 1
    return told[0] * times if told else None


def line_id(batch: str, number: int) -> str:
    return f"batch_req_{batch.removeprefix('batch_')}_{number}"


def answered(line: str, request_id: str, name: str, status: int, body: str) -> bytes:
    """A line of the file of answers, or of refusals. `request_id`: its row's in the ledger."""
    opening = msgspec.json.encode({"id": line, "custom_id": name})[:-1].decode()
    response = f'{{"status_code":{status},"request_id":"req_{request_id}","body":{body}}}'
    return f'{opening},"response":{response},"error":null}}\n'.encode()


def unanswered(line: str, name: str, code: str, message: str) -> bytes:
    """A line of the file of refusals, for a request without an answer."""
    row = {
        "id": line,
        "custom_id": name,
        "response": None,
        "error": {"code": code, "message": message},
    }
    return msgspec.json.encode(row) + b"\n"
