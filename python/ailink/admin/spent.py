"""What somebody has spent, over all nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ailink.admin.services import Services
from ailink.ledger.reader import LedgerError
from ailink.snapshot.model import SubjectKind


class _Named(Protocol):
    @property
    def id(self) -> str: ...


async def spent(services: Services, kind: SubjectKind, records: Sequence[_Named]) -> dict[str, int]:
    """Id → pico-USD: what this node knows, or what the ledger of all nodes has if that is more. Rows come
    there within a second.
    """
    ids = [record.id for record in records]
    if not ids:
        return {}
    own = services.plane.spend(ids) if kind == "key" else services.plane.subject_spend(kind, ids)
    try:
        common = await services.ledger.over_nodes(kind, ids)
    except LedgerError:
        common = {}
    return {one: max(pico, common.get(one, 0)) for one, pico in zip(ids, own, strict=True)}
