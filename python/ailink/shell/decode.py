"""From bytes to the struct a handler takes: bounded, without duplicate keys, with the path of the field at
fault in every error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from ailink.admin.errors import ApiError, bad_request
from ailink.admin.litellm_fields import Inert, without_inert
from ailink.config.problems import did_you_mean

BODY_BYTES = 1024 * 1024
QUERY_FIELDS = 100
CREDENTIAL = "key"

AT_PATH = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$", re.DOTALL)
FIELD = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")

T = TypeVar("T", bound=msgspec.Struct)


async def read_body(request: Request, most: int = BODY_BYTES) -> bytes:
    """The whole body.

    Raises `ApiError` (413) beyond `most` bytes, `ClientDisconnect` when the client leaves.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def decode_body(body: bytes, wanted: type[T], inert: Inert) -> T:
    """A JSON object as `wanted`. Raises `ApiError` (400)."""
    return _convert(without_inert(_json_object(body), inert), wanted, strict=True)


def decode_query(query: str, wanted: type[T], inert: Inert, *, credential: bool = False) -> T:
    """A query string as `wanted`; numbers and booleans may be text. `credential`: the front looked for the
    caller's key in it. Raises `ApiError` (400).
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS)
    except ValueError as error:  # UnicodeDecodeError is one
        raise bad_request("the query string is not valid") from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise bad_request(f"query parameter `{name}` is given twice", param=name)
        fields[name] = value
    known = [field.encode_name for field in msgspec.structs.fields(wanted)]
    if credential and CREDENTIAL not in known:
        fields.pop(CREDENTIAL, None)
    fields = dict(without_inert(fields, inert))
    for name in fields:
        # A filter that is not one would make a report of everything look like one of a part.
        if name not in known:
            raise _not_a_parameter(name, known)
    return _convert(fields, wanted, strict=False)


def _not_a_parameter(name: str, known: Sequence[str]) -> ApiError:
    takes = f"it takes {', '.join(f'`{one}`' for one in known)}" if known else "it takes none"
    text = f"`{name}` is not a query parameter of this path{did_you_mean(name, known)} ({takes})"
    return bad_request(text, param=name, code="unknown_parameter")


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(body)
        # msgspec keeps the last of two equal keys; what it accepted, the standard library reads once more to
        # find them.
        json.loads(body, object_pairs_hook=_unique)
    except ApiError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise bad_request(f"the body is not valid JSON: {reason}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise bad_request("the body must be a JSON object", code="invalid_json")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise bad_request(f"`{name}` is given twice", param=name, code="invalid_json")
    return found


def _convert(fields: Mapping[str, Any], wanted: type[T], *, strict: bool) -> T:
    try:
        return msgspec.convert(fields, wanted, strict=strict)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error


def _explained(text: str) -> ApiError:
    at = AT_PATH.match(text)
    path, what = (at["path"], at["what"]) if at else ("", text)
    field = FIELD.search(what)
    if field:
        path = f"{path}.{field['name']}" if path else field["name"]
        missing = "required" in what
        message = f"`{path}` is missing" if missing else f"`{path}` is not a field of this request"
        return bad_request(message, param=path, code="missing_parameter" if missing else "unknown_parameter")
    return bad_request(f"`{path}`: {what}" if path else what, param=path or None, code="invalid_parameter")


def _too_large(most: int) -> ApiError:
    return ApiError(
        413,
        f"the body is larger than {most} bytes",
        type="invalid_request_error",
        code="request_too_large",
    )
