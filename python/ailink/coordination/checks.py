"""Health checks of several nodes: one makes them, the others hear what it found, within two seconds.

Without Redis each node checks for itself until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

from ailink.background import end, goes_on
from ailink.coordination import link

log = logging.getLogger(__name__)

EVERY_S = 1.0
# Who checks says so again each second; another node takes over when it has not for so long.
TERM_MS = 4_000
KEEP_MS = 60_000
CHECKER = f"{link.BASE}:checker"
FINDINGS = f"{link.BASE}:findings"


class CheckPlane(Protocol):
    """The part of the data plane that this module uses."""

    def set_checking(self, checking: bool) -> None: ...
    def health_findings(self) -> bytes: ...
    def take_findings(self, findings: bytes) -> None: ...


class SharedChecks:
    """`wanted`: whether the configuration has health checks at all. Make it in the event loop."""

    def __init__(self, plane: CheckPlane, url: str, wanted: Callable[[], bool]) -> None:
        self._plane = plane
        self._client = link.connect(url)
        self._wanted = wanted
        self._name = secrets.token_hex(8).encode()
        self._checks = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Checks nothing until it is decided who does."""
        self._plane.set_checking(False)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Lets another node take over at once."""
        if self._task is not None:
            await end([self._task])
        with contextlib.suppress(*link.TROUBLE):
            if self._checks and await self._client.get(CHECKER) == self._name:
                await self._client.delete(CHECKER)
        with contextlib.suppress(*link.TROUBLE):
            await self._client.aclose()

    async def _run(self) -> None:
        while goes_on():
            if self._wanted():
                try:
                    await self._once()
                except link.TROUBLE as error:
                    if not self._checks:
                        log.warning("health checks are not shared: %s", error)
                    self._checks = True
                    self._plane.set_checking(True)
            await asyncio.sleep(EVERY_S)

    async def _once(self) -> None:
        """Settles who checks, and tells or hears what was found."""
        self._checks = await self._is_checker()
        self._plane.set_checking(self._checks)
        if self._checks:
            await self._client.set(FINDINGS, self._plane.health_findings(), px=KEEP_MS)
        elif found := await self._client.get(FINDINGS):
            with contextlib.suppress(ValueError):  # of another version
                self._plane.take_findings(found)

    async def _is_checker(self) -> bool:
        if await self._client.set(CHECKER, self._name, nx=True, px=TERM_MS):
            return True
        if await self._client.get(CHECKER) != self._name:
            return False
        return bool(await self._client.pexpire(CHECKER, TERM_MS))
