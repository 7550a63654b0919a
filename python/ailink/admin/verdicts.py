"""What guardrails and policies said of requests, as callers of the API see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ailink.admin.services import Services
from ailink.ledger import verdicts
from ailink.ledger.verdicts import Verdict

Kind = Literal["guardrail", "policy"]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict. `label` is what was found, or all a policy did; `side` input, output or a policy's phase;
    `place` where it was found, or the policy's version. `shadow`: it had no effect.
    """

    kind: Kind
    name: str
    label: str
    action: str
    shadow: bool
    side: str
    place: str
    matches: int


def said(verdict: Verdict) -> Said:
    return Said(
        kind="policy" if verdict.policy else "guardrail",
        name=verdict.rule,
        label=verdict.label,
        action=verdict.action,
        shadow=bool(verdict.shadow),
        side=verdict.side,
        place=verdict.place,
        matches=verdict.matches,
    )


async def said_of(services: Services, request_ids: Sequence[bytes]) -> dict[bytes, list[Said]]:
    """By request, those without one left out. Raises `LedgerError`."""
    found = await verdicts.of_requests(services.ledger, request_ids)
    return {request_id: [said(verdict) for verdict in rows] for request_id, rows in found.items()}
