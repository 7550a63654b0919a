"""Buttons in Slack: who pressed one is believed because Slack signed it, lately, and only once.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ailink.admin.call import Caller
from ailink.admin.changes import INSERT_REPEAT
from ailink.admin.errors import ApiError, bad_request, conflict, forbidden, not_found
from ailink.admin.services import Services
from ailink.approvals.decisions import Decision
from ailink.identity.actor import actor_of_user
from ailink.shell.encode import refusal
from ailink.store.database import ConflictError, DatabaseError
from ailink.store.reach import EVERYWHERE
from ailink.store.tenancy import users

log = logging.getLogger(__name__)

SLACK = "/v1/approvals/slack"
# What is older was recorded by somebody.
FRESH_S = 300
LONGEST = 256 * 1024
DECISIONS = ("approve", "reject")


def slack_endpoint(services: Services) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await _pressed(services, request)
        except ApiError as error:
            return refusal(error.status, error.envelope)
        except DatabaseError as error:
            log.error("a button of Slack's failed: %s", error)
            return JSONResponse({"text": "The gateway's database is not available."}, status_code=503)

    return endpoint


async def _pressed(services: Services, request: Request) -> Response:
    slack = services.desk.rules.slack
    if slack is None:
        raise not_found("There is no Slack app under `approvals.slack`.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            raise bad_request("the body is too long")
    now_us = services.changes.now_us()
    signature = _verified(request, bytes(body), slack.signing_secret.reveal(), now_us // 1_000_000)
    slack_user, decision, approval_id = _read(bytes(body))
    user_id = slack.users.get(slack_user)
    user = None if user_id is None else await users.get(services.database, EVERYWHERE, user_id)
    if user is None or user.blocked:
        raise forbidden(f"The Slack user {slack_user} is nobody here.", code="not_a_reviewer")
    await _once(services, signature, now_us)
    actor = await actor_of_user(services.database, user, f"slack:{slack_user}")
    caller = Caller(
        role="key",
        key_id=actor.key_id,
        client_ip=request.headers.get("x-ailink-client-ip"),
        request_id=request.headers.get("x-ailink-request-id"),
        actor=actor,
    )
    record = await services.decisions.decide(caller, approval_id, Decision(kind=decision, via="slack"))
    return JSONResponse({"text": f"{record.id} is {record.status}.", "status": record.status})


def _verified(request: Request, body: bytes, secret: str, now_s: int) -> str:
    """The signature. Raises `ApiError` (401)."""
    refused = ApiError(
        401, "This was not signed by Slack.", type="authentication_error", code="invalid_signature"
    )
    stamps = request.headers.getlist("x-slack-request-timestamp")
    signatures = request.headers.getlist("x-slack-signature")
    if len(stamps) != 1 or len(signatures) != 1 or not (stamps[0].isascii() and stamps[0].isdecimal()):
        raise refused
    content = f"v0:{stamps[0]}:".encode() + body
    expected = "v0=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signatures[0].encode(errors="replace")):
        raise refused
    if len(stamps[0]) > 12 or abs(now_s - int(stamps[0])) > FRESH_S:
        raise refused
    return expected


def _read(body: bytes) -> tuple[str, str, str]:
    """Who pressed what. Raises `ApiError` (400)."""
    try:
        (payload,) = parse_qs(body.decode(), strict_parsing=True)["payload"]
        told: Any = json.loads(payload)
        (action,) = told["actions"]
        found = (told["user"]["id"], action["action_id"], action["value"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise bad_request("this is not what a button sends", param="payload") from error
    if not all(isinstance(part, str) for part in found) or found[1] not in DECISIONS:
        raise bad_request("this is not one of our buttons", param="payload")
    return found


async def _once(services: Services, signature: str, now_us: int) -> None:
    """Raises `ApiError` (409) for what was sent before, to whichever node."""
    row = hashlib.sha256(f"slack:{signature}".encode()).hexdigest()
    try:
        await services.database.execute(INSERT_REPEAT, (row, None, None, "slack", now_us))
    except ConflictError as error:
        raise conflict("this was sent before", "replayed") from error
