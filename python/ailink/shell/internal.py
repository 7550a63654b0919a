"""What the data plane asks the shell. Only it reaches these paths: the endpoint table gives them to nobody,
and the front takes `x-ailink-*` off what clients send.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ailink.admin.documents import Document
from ailink.admin.errors import ApiError
from ailink.admin.services import Services
from ailink.admin.stored_responses import Nobody, Writes
from ailink.admin.stored_responses import Which as Kept
from ailink.admin.vault import Question
from ailink.approvals.shapes import Claim, Done, Entry, Which
from ailink.secrets.envelope import EnvelopeError
from ailink.shell.encode import refusal
from ailink.store.database import DatabaseError

log = logging.getLogger(__name__)

ROLE = "plane"


def internal_routes(services: Services) -> list[Route]:
    desk = services.desk
    asked: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Awaitable[Any]]]] = {
        "approvals/enter": (Entry, desk.enter),
        "approvals/look": (Which, desk.look),
        "approvals/claim": (Claim, desk.claim),
        "approvals/done": (Done, desk.done),
        "vault/exchange": (Question, services.vault.exchange),
        "documents/read": (Document, services.documents.read),
        "stored/write": (Writes, services.stored.write),
        "stored/read": (Kept, services.stored.read),
        "stored/renew": (Nobody, services.stored.renew),
    }
    return [
        Route(f"/internal/{what}", _endpoint(kind, answer), methods=["POST"])
        for what, (kind, answer) in asked.items()
    ]


def _endpoint(
    kind: type[msgspec.Struct], answer: Callable[[Any], Awaitable[Any]]
) -> Callable[[Request], Awaitable[Response]]:
    decoder = msgspec.msgpack.Decoder(kind)

    async def endpoint(request: Request) -> Response:
        if request.headers.getlist("x-ailink-role") != [ROLE]:
            return Response(status_code=404)
        try:
            told = await answer(decoder.decode(await request.body()))
        except ApiError as error:
            return refusal(error.status, error.envelope)
        except (DatabaseError, EnvelopeError, msgspec.DecodeError) as error:
            log.error("%s failed: %s", request.url.path, error)
            failed = ApiError(503, "The store cannot be used.", type="api_error", code="store_unavailable")
            return refusal(failed.status, failed.envelope)
        return Response(msgspec.msgpack.encode(told), media_type="application/msgpack")

    return endpoint
