"""From what a handler returns to the bytes of the answer."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from ailink.admin.call import Tagged
from ailink.admin.errors import ErrorEnvelope
from ailink.ledger.money import Usd
from ailink.shell.route import Content

JSON = "application/json"


def _amount(value: object) -> Any:
    if isinstance(value, Usd):
        return msgspec.Raw(value.text().encode())
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


ENCODER = msgspec.json.Encoder(enc_hook=_amount)


def amount_schema(kind: type) -> dict[str, Any]:
    """The JSON schema of the types that `ENCODER` knows beyond msgspec's."""
    if kind is Usd:
        return {"type": "number", "description": "US dollars, an exact decimal."}
    raise NotImplementedError(f"{kind.__name__} has no JSON schema")


def answer(value: Any, status: int = 200) -> Response:
    """The value as JSON, or the content as it is."""
    if isinstance(value, Tagged):
        response = answer(value.value, status)
        response.headers["etag"] = value.etag
        return response
    if isinstance(value, Content):
        headers = None if value.policy is None else {"content-security-policy": value.policy}
        return Response(value.body, media_type=value.media_type, headers=headers)
    return Response(ENCODER.encode(value), status_code=status, media_type=JSON)


def refusal(status: int, envelope: ErrorEnvelope) -> Response:
    """An error in the OpenAI envelope."""
    return Response(msgspec.json.encode(envelope), status_code=status, media_type=JSON)
