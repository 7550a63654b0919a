"""Alerts: what the data plane tells of limits that were passed, told on to people, with retries and a log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ailink.background import end
from ailink.config.alerts import AlertChannel, Alerts
from ailink.observe.channels import NotToldError, tell
from ailink.store.database import Database, DatabaseError

log = logging.getLogger(__name__)

KINDS = frozenset({"soft_limit"})
# Seconds before each further attempt.
WAITS = (1.0, 5.0, 30.0, 120.0, 600.0)
MOST_WAITING = 1_000
KEPT_US = 30 * 86_400 * 1_000_000

_INSERT = """
    INSERT INTO alert_delivery (id, channel, kind, message, status, attempts, created_us, updated_us)
    VALUES (?, ?, ?, ?, 'waiting', 0, ?, ?)
"""
_UPDATE = "UPDATE alert_delivery SET status = ?, attempts = ?, error = ?, updated_us = ? WHERE id = ?"
_LIST = """
    SELECT id, channel, kind, message, status, attempts, error, created_us, updated_us FROM alert_delivery
    ORDER BY created_us DESC, id LIMIT ?
"""
_EXPIRE = "DELETE FROM alert_delivery WHERE created_us < ?"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One alert to one channel. Times are µs since 1970."""

    id: str
    channel: str
    kind: str
    message: str
    status: str
    attempts: int
    error: str | None
    created_us: int
    updated_us: int


class AlertSender:
    """One per process. `waits` is for tests."""

    def __init__(
        self, database: Database, now_us: Callable[[], int], waits: tuple[float, ...] = WAITS
    ) -> None:
        self._database = database
        self._now_us = now_us
        self._waits = waits
        self._channels: dict[str, AlertChannel] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def configure(self, alerts: Alerts) -> None:
        """The channels from now on; what is under way goes where it was meant to go."""
        self._channels = {channel.name: channel for channel in alerts.channels}

    @property
    def channels(self) -> list[str]:
        return list(self._channels)

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event of the data plane."""
        if event.get("kind") not in KINDS:
            return
        alert = {name: value for name, value in event.items() if name not in ("level", "dropped")}
        self.send(alert)

    def send(self, alert: Mapping[str, Any], only: Sequence[str] | None = None) -> None:
        """Tells the channels, or those of these names; returns at once. `alert` has `kind` and `message`."""
        for channel in self._channels.values():
            if only is not None and channel.name not in only:
                continue
            if len(self._tasks) >= MOST_WAITING:
                log.error("an alert is lost: %d are waiting already", MOST_WAITING)
                return
            task = asyncio.get_running_loop().create_task(self._deliver(channel, alert))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def test(self, name: str) -> Delivery | None:
        """Sends a test at once, one attempt; None when there is no such channel."""
        channel = self._channels.get(name)
        if channel is None:
            return None
        alert = {"kind": "test", "message": f"This is a test of the channel '{name}'."}
        return await self._deliver(channel, alert, waits=())

    async def deliveries(self, limit: int) -> list[Delivery]:
        """The latest, newest first."""
        rows = await self._database.fetch(_LIST, (limit,))
        return [msgspec.convert(dict(row), Delivery) for row in rows]

    async def stop(self) -> None:
        """What is waiting is given up; the log says so."""
        await end(self._tasks)

    async def _deliver(
        self, channel: AlertChannel, alert: Mapping[str, Any], waits: tuple[float, ...] | None = None
    ) -> Delivery:
        now = self._now_us()
        delivery = Delivery(
            id=f"alert_{secrets.token_hex(12)}",
            channel=channel.name,
            kind=str(alert["kind"]),
            message=str(alert.get("message", "")),
            status="waiting",
            attempts=0,
            error=None,
            created_us=now,
            updated_us=now,
        )
        await self._note(_EXPIRE, (now - KEPT_US,))
        row = (delivery.id, delivery.channel, delivery.kind, delivery.message, now, now)
        await self._note(_INSERT, row)
        pauses = self._waits if waits is None else waits
        for attempt in range(1, len(pauses) + 2):
            error = await self._try(channel, delivery, alert)
            last = attempt > len(pauses)
            status = "sent" if error is None else "failed" if last else "waiting"
            now = self._now_us()
            delivery = msgspec.structs.replace(
                delivery, status=status, attempts=attempt, error=error, updated_us=now
            )
            await self._note(_UPDATE, (status, attempt, error, now, delivery.id))
            if error is None:
                break
            log.warning("alert to %s failed (attempt %d): %s", channel.name, attempt, error)
            if not last:
                await asyncio.sleep(pauses[attempt - 1])
        return delivery

    async def _try(self, channel: AlertChannel, delivery: Delivery, alert: Mapping[str, Any]) -> str | None:
        at_s = self._now_us() // 1_000_000
        try:
            await asyncio.to_thread(tell, channel, delivery.id, at_s, alert)
        except NotToldError as error:
            return str(error)
        return None

    async def _note(self, sql: str, params: tuple[Any, ...]) -> None:
        # The log follows the delivery; it does not hold it up.
        with contextlib.suppress(DatabaseError):
            await self._database.execute(sql, params)
