"""`/guardrails/verdicts`: what guardrails found and policies did, from the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.durations import instant
from ailink.admin.errors import bad_request
from ailink.admin.key_fields import KeyName
from ailink.admin.services import Services
from ailink.admin.spend_handlers import key_id_of, unavailable
from ailink.admin.verdicts import Kind, Said, said
from ailink.ledger import verdicts
from ailink.ledger.reader import REQUEST_ID, LedgerError
from ailink.ledger.verdicts import Wanted


class VerdictsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    request_id: str | None = None
    kind: Kind | None = None
    name: Annotated[Annotated[str, Meta(max_length=256)] | None, Meta(description="Of its rule.")] = None
    shadow: bool | None = None
    api_key: KeyName | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


class VerdictView(Said, frozen=True, kw_only=True):
    time: datetime
    request_id: str
    model: str
    api_key: str | None


class VerdictsView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[VerdictView]


async def find(services: Services, call: Call[Nothing, VerdictsQuery]) -> VerdictsView:
    """Newest first; those of requests that were refused, too."""
    query = call.query
    match = None if query.request_id is None else REQUEST_ID.fullmatch(query.request_id.lower())
    if query.request_id is not None and match is None:
        raise bad_request(
            "expected what `x-ailink-request-id` said: req_ and 32 hex digits", param="request_id"
        )
    wanted = Wanted(
        request_id=None if match is None else bytes.fromhex(match[1]),
        policy=None if query.kind is None else query.kind == "policy",
        rule=query.name,
        shadow=query.shadow,
        key=None if query.api_key is None else await key_id_of(services, query.api_key),
    )
    try:
        found = await verdicts.latest(services.ledger, wanted, query.limit)
    except LedgerError as error:
        raise unavailable(error) from error
    tokens = await services.keys.tokens({verdict.key for verdict in found if verdict.key})
    return VerdictsView(
        data=[
            VerdictView(
                **msgspec.structs.asdict(said(verdict)),
                time=instant(verdict.at_us),
                request_id=f"req_{verdict.request_id.hex()}",
                model=verdict.model,
                api_key=tokens.get(verdict.key, verdict.key) or None,
            )
            for verdict in found
        ]
    )
