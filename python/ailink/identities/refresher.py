"""Keeps tokens fresh in the background and pushes them into the data plane's slots.

A token is renewed five minutes before it ends, or at half its life when that is short. When renewing fails,
the last good one stays in use until it ends; then the slot is emptied, and requests that need it are refused
without being sent.
"""

import asyncio
import importlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from ailink.background import end, goes_on
from ailink.config.identity import KINDS, Identity
from ailink.identities.token import IdentityError, Token

log = logging.getLogger(__name__)

Fetch = Callable[[Identity], Token]

AHEAD_SECONDS: Final = 300.0
UNTOLD_SECONDS: Final = 600.0
"""How long a token is kept whose end is not known."""
SHORTEST_SECONDS: Final = 5.0
FIRST_RETRY_SECONDS: Final = 2.0
LONGEST_RETRY_SECONDS: Final = 120.0
START_SECONDS: Final = 10.0
"""How long a start or a reload waits for the first tokens."""
FORGET_SECONDS: Final = 120.0
"""Requests that began before an identity went may still need its token."""

EXTRAS: Final = {"aws": "aws", "google": "gcp", "azure": "azure"}


class State(msgspec.Struct, kw_only=True):
    """How one identity is doing, as the readiness details show it."""

    cloud: str
    state: Literal["pending", "fresh", "failing", "expired"] = "pending"
    expires: float | None = None
    error: str | None = None


class Refresher:
    """One per process. `push` takes slot id → value; `clean` takes secrets out of text."""

    def __init__(
        self,
        push: Callable[[dict[str, bytes]], None],
        clean: Callable[[str], str],
        hide: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._push = push
        self._clean = clean
        self._hide = hide
        self._now = now
        self._identities: dict[str, Identity] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._states: dict[str, State] = {}
        self._forgetting: set[asyncio.Task[None]] = set()

    def status(self) -> dict[str, State]:
        """Slot id → how it is doing."""
        return dict(self._states)

    async def use(self, identities: Mapping[str, Identity]) -> None:
        """Keeps these fresh from now on, and no others; waits a while for first tokens."""
        for slot in [slot for slot, known in self._identities.items() if identities.get(slot) != known]:
            self._tasks.pop(slot).cancel()
            del self._identities[slot], self._states[slot]
            if slot not in identities:
                self._forget(slot)
        arrived = []
        for slot, identity in identities.items():
            if slot not in self._identities:
                first = asyncio.Event()
                arrived.append(asyncio.create_task(first.wait()))
                self._identities[slot] = identity
                self._states[slot] = State(cloud=cloud_of(identity))
                self._tasks[slot] = asyncio.create_task(self._keep(slot, identity, first))
        if arrived:
            _, late = await asyncio.wait(arrived, timeout=START_SECONDS)
            for task in late:
                task.cancel()

    async def stop(self) -> None:
        """Ends all tasks."""
        await end([*self._tasks.values(), *self._forgetting])

    def _forget(self, slot: str) -> None:
        async def later() -> None:
            await asyncio.sleep(FORGET_SECONDS)
            if slot not in self._identities:
                self._push({slot: b""})

        task = asyncio.create_task(later())
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _keep(self, slot: str, identity: Identity, first: asyncio.Event) -> None:
        state = self._states[slot]
        retry = FIRST_RETRY_SECONDS
        while goes_on():
            try:
                fetch = source(cloud_of(identity))
                token = await asyncio.to_thread(fetch, identity)
            except IdentityError as error:
                pause = self._failed(slot, state, error, retry)
                retry = min(retry * 2, LONGEST_RETRY_SECONDS)
            else:
                for part in token.value.decode().split(":"):
                    self._hide(part)
                self._push({slot: token.value})
                if state.state != "fresh":
                    log.info("%s: %s has a token", slot, state.cloud)
                state.state, state.expires, state.error = "fresh", token.expires, None
                retry = FIRST_RETRY_SECONDS
                pause = self._pause(token)
            first.set()
            await asyncio.sleep(pause)

    def _failed(self, slot: str, state: State, error: IdentityError, retry: float) -> float:
        """Notes a failure; how long to wait."""
        reason = self._clean(str(error))[:500]
        left = None if state.expires is None else state.expires - self._now()
        had = state.state in ("fresh", "failing")
        if had and (left is None or left > 0):
            state.state, state.error = "failing", reason
            log.warning("%s: the token is not renewed, the last one stays in use: %s", slot, reason)
            return retry if left is None else min(retry, max(left, 0.1))
        if had:
            self._push({slot: b""})
            log.error("%s: the last token has expired: %s", slot, reason)
        else:
            log.error("%s: no token: %s", slot, reason)
        state.state = "expired" if had or state.state == "expired" else "pending"
        state.error = reason
        return retry

    def _pause(self, token: Token) -> float:
        if token.expires is None:
            return UNTOLD_SECONDS
        left = token.expires - self._now()
        return max(left - AHEAD_SECONDS if left > 2 * AHEAD_SECONDS else left / 2, SHORTEST_SECONDS)


def cloud_of(identity: Identity) -> str:
    """Whose identity it is."""
    return next((kind for kind in KINDS if getattr(identity, kind) is not None), "azure")


def source(cloud: str) -> Fetch:
    """The function that makes tokens of a cloud. Raises IdentityError without the extra that it needs."""
    try:
        fetch: Fetch = importlib.import_module(f"ailink.identities.{cloud}").fetch
    except ImportError as error:
        raise IdentityError(
            f"identities of {cloud} need another package: pip install 'ailink[{EXTRAS[cloud]}]'"
        ) from error
    return fetch
