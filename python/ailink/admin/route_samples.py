"""Keeps what learned routing needs: samples that the data plane tells, and an eye on routers being tried."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ailink.routers.shelf import Shelf, ShelfError
from ailink.store import routing
from ailink.store.database import Database

log = logging.getLogger(__name__)

MOST_WAITING = 20_000
KEEP_US = 90 * 86_400 * 1_000_000
# Feedback of each before a router that is being tried is judged, and how sure one must be (two-sided 99 %).
LEAST_FEEDBACK = 20
SURE = 2.58


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    auto: str
    version: str
    model: str
    vector: str
    dense: str


class Samples:
    """Collects samples as they are told and writes them in batches."""

    def __init__(self, now_us: int) -> None:
        self._waiting: list[routing.Sample] = []
        self._forgot_us = now_us
        self.lost = 0

    def listen(self, event: Mapping[str, Any], now_us: int) -> None:
        """Takes an event of the data plane; others than samples pass."""
        if event.get("kind") != "auto_route":
            return
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        told = msgspec.json.decode(str(event.get("message", "")), type=_Told)
        request_id = str(event.get("request_id", ""))
        self._waiting.append(
            routing.Sample(request_id=request_id, at_us=now_us, **msgspec.structs.asdict(told))
        )

    async def write(self, database: Database, now_us: int) -> None:
        """Writes what waits; once in a while forgets what is old."""
        batch, self._waiting = self._waiting, []
        if batch:
            await routing.put_samples(database, batch)
        if now_us - self._forgot_us > 3_600 * 1_000_000:
            self._forgot_us = now_us
            await routing.forget_samples(database, now_us - KEEP_US)


async def take_back(database: Database, data_dir: Path, routers: Mapping[str, str]) -> list[str]:
    """Takes routers back that are being tried and are worse than what they stand beside. `routers`: by model.
    Says what was taken back.
    """
    told = []
    for model, name in routers.items():
        try:
            shelf = Shelf(data_dir, name)
            state = shelf.state()
            if state.candidate is None:
                continue
            tallies = {
                tally.version: tally for tally in await routing.tallies(database, model, state.since_us)
            }
            tried = tallies.get(state.candidate)
            beside = tallies.get(state.incumbent or "rules")
            if tried is None or beside is None or not _worse(tried, beside):
                continue
            note = (
                f"{state.candidate} was taken back: feedback {tried.mean:.3f} of {tried.count} answers, "
                f"{beside.mean:.3f} of {beside.count} beside it"
            )
            shelf.put(msgspec.structs.replace(state, candidate=None, percent=0, note=note))
            log.warning("router %s: %s", name, note, extra={"fields": {"kind": "router_taken_back"}})
            told.append(note)
        except ShelfError as error:
            log.error("router %s: %s", name, error)
    return told


def _worse(tried: routing.Tally, beside: routing.Tally) -> bool:
    if min(tried.count, beside.count) < LEAST_FEEDBACK:
        return False
    spread = sum(
        max(tally.square - tally.mean**2, 1e-4) / tally.count for tally in (tried, beside)
    )  # fmt: skip
    return beside.mean - tried.mean > SURE * math.sqrt(spread)
