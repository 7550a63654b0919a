"""Keeps what the data plane tells about mirrored requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ailink.store import mirrors
from ailink.store.database import Database

MOST_WAITING = 20_000
KEEP_US = 30 * 86_400 * 1_000_000


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    mirror: str
    mirror_id: str
    status: int
    mirror_status: int
    deployment: str | None
    mirror_deployment: str | None
    length: int | None
    mirror_length: int | None
    agreement: float | None


class MirrorPairs:
    """Collects pairs as they are told and writes them in batches."""

    def __init__(self, now_us: int) -> None:
        self._waiting: list[mirrors.MirrorPair] = []
        self._forgot_us = now_us

    def listen(self, event: Mapping[str, Any], now_us: int) -> None:
        """Takes an event of the data plane; others than mirrored requests pass."""
        if event.get("kind") != "mirrored" or len(self._waiting) >= MOST_WAITING:
            return
        told = msgspec.json.decode(str(event.get("message", "")), type=_Told)
        fields = msgspec.structs.asdict(told)
        agreement = fields.pop("agreement")
        self._waiting.append(
            mirrors.MirrorPair(
                request_id=str(event.get("request_id", "")),
                at_us=now_us,
                agreement=None if agreement is None else round(agreement * 1_000),
                **fields,
            )
        )

    async def write(self, database: Database, now_us: int) -> None:
        """Writes what waits; once in a while forgets what is old."""
        batch, self._waiting = self._waiting, []
        if batch:
            await mirrors.put(database, batch)
        if now_us - self._forgot_us > 3_600 * 1_000_000:
            self._forgot_us = now_us
            await mirrors.forget(database, now_us - KEEP_US)
