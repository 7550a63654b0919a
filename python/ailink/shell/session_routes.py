"""Keys for a while, for realtime sessions of browsers and apps."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError, bad_request
from ailink.admin.services import Services
from ailink.batches.plane import Found, ask
from ailink.shell.policy import Policy
from ailink.shell.route import Route, route
from ailink.store import client_secrets, keys
from ailink.store.client_secrets import ClientSecret
from ailink.store.keys import KeyRecord

SECOND_US = 1_000_000
USUAL_S = 600
MOST = 1_000
"""Of one key, at a time."""


class ExpiresAfter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7_200)] = USUAL_S


class SessionOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the key is good for. All else is said in the session itself."""

    model: str
    type: Literal["realtime"] = "realtime"


class CreateClientSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    session: SessionOf
    expires_after: ExpiresAfter | None = None


class CreateSession(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The older form of the same."""

    model: str


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["realtime.session"] = "realtime.session"
    type: Literal["realtime"] = "realtime"
    model: str


class ClientSecretView(msgspec.Struct, frozen=True, kw_only=True):
    """`expires_at`: seconds since 1970; sessions that were opened by then go on."""

    value: str
    expires_at: int
    session: SessionView


class ValueView(msgspec.Struct, frozen=True, kw_only=True):
    value: str
    expires_at: int


class SessionWithSecret(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["realtime.session"] = "realtime.session"
    model: str
    client_secret: ValueView


async def _minted(services: Services, call: Call[Any, Nothing], model: str, seconds: int) -> ClientSecretView:
    """Raises `ApiError`."""
    record = await keys.by_id(services.database, call.caller.key_id)
    if record is None:
        raise bad_request("the master key gives none: ask with a virtual key", code="virtual_key_needed")
    asked = {
        "digest": bytes.fromhex(record.digest),
        "model": model,
        "operation": "realtime",
    }
    found = await ask(services.plane.batch_check, asked, Found)
    if found.error is not None:
        raise found.error.error()
    now = services.keys.now_us()
    if await client_secrets.count(services.database, record.id, now) >= MOST:
        text = f"The key has {MOST} client secrets that have not ended; wait until some have."
        raise ApiError(429, text, type="rate_limit_error", code="too_many_client_secrets")
    value = f"ek_{secrets.token_hex(24)}"
    digest = await asyncio.to_thread(services.keys.digest_of, value)
    await _keep(services, call, record, (digest, found.model, now + seconds * SECOND_US))
    view = SessionView(id=f"sess_{secrets.token_hex(12)}", model=model)
    return ClientSecretView(value=value, expires_at=now // SECOND_US + seconds, session=view)


async def _keep(
    services: Services, call: Call[Any, Nothing], record: KeyRecord, what: tuple[bytes, str, int]
) -> None:
    digest, model, expires_us = what
    async with services.changes.make(call.caller) as change:
        secret = ClientSecret(
            digest=digest.hex(),
            key_id=record.id,
            org_id=record.org_id,
            trace_id=call.caller.request_id,
            model=model,
            created_us=change.now_us,
            expires_us=expires_us,
        )
        await client_secrets.insert(change.queries, secret)
        change.touch([record.id])
        await change.audit(
            "client_secret.create", "virtual_key", record, {"model": model, "expires_us": expires_us}
        )


async def create_client_secret(
    services: Services, call: Call[CreateClientSecret, Nothing]
) -> ClientSecretView:
    """A key for a while: realtime sessions with this model, counted on the key that asks."""
    after = call.body.expires_after or ExpiresAfter()
    return await _minted(services, call, call.body.session.model, after.seconds)


async def create_session(services: Services, call: Call[CreateSession, Nothing]) -> SessionWithSecret:
    """The older form of `/v1/realtime/client_secrets`."""
    made = await _minted(services, call, call.body.model, USUAL_S)
    secret = ValueView(value=made.value, expires_at=made.expires_at)
    return SessionWithSecret(id=made.session.id, model=call.body.model, client_secret=secret)


# fmt: off
SESSION_ROUTES: tuple[Route, ...] = (
    route("POST", "/v1/realtime/client_secrets", Policy.KEY, create_client_secret,
          "A key for realtime sessions", tag="Realtime", body=CreateClientSecret, response=ClientSecretView),
    route("POST", "/openai/v1/realtime/client_secrets", Policy.KEY, create_client_secret,
          "A key for realtime sessions", tag="Realtime", body=CreateClientSecret, response=ClientSecretView),
    route("POST", "/v1/realtime/sessions", Policy.KEY, create_session, "A key for realtime sessions",
          tag="Realtime", body=CreateSession, response=SessionWithSecret),
)
# fmt: on
