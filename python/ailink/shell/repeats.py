"""`Idempotency-Key`: a repeat of a POST gets the first answer, and nothing happens twice.

The row that remembers a key is written in the transaction of the effect. The answer is added after it; when
that was lost, a repeat is told that the request was done. Answers are sealed, because they may hold a key
that is shown once. A repeat that comes while the first is being worked on waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ailink.admin.call import Caller, Repeat
from ailink.admin.errors import ApiError, bad_request, conflict
from ailink.secrets.envelope import Place
from ailink.secrets.keyring import Keyring
from ailink.store.database import Database

HEADER = "idempotency-key"
REPLAYED = "idempotent-replayed"
LONGEST = 255
# How long an answer is remembered.
REMEMBERED_US = 24 * 3_600 * 1_000_000

_GET = "SELECT request, status, answer FROM idempotency WHERE id = ? AND created_us > ?"
_ANSWER = "UPDATE idempotency SET status = ?, answer = ? WHERE id = ?"
_EXPIRE = "DELETE FROM idempotency WHERE created_us <= ?"


class Repeats:
    """One per process. `now_us` is the clock."""

    def __init__(self, database: Database, keyring: Keyring, now_us: Callable[[], int]) -> None:
        self._database = database
        self._keyring = keyring
        self._now_us = now_us
        self._running: dict[str, asyncio.Lock] = {}

    async def run(
        self,
        request: Request,
        caller: Caller,
        body: bytes,
        work: Callable[[Caller], Awaitable[Response]],
    ) -> Response:
        """Does the work once per key; without the header, as often as it is asked. Raises `ApiError`."""
        key = request.headers.get(HEADER)
        if key is None or request.method != "POST":
            return await work(caller)
        if not 0 < len(key) <= LONGEST:
            raise bad_request(f"a key has 1 to {LONGEST} characters", param="Idempotency-Key")
        place = [caller.key_id, request.method, request.url.path, key]
        repeat = Repeat(
            id=hashlib.sha256(msgspec.json.encode(place)).hexdigest(),
            request=hashlib.sha256(request.url.query.encode() + b"\n" + body).hexdigest(),
        )
        lock = self._running.setdefault(repeat.id, asyncio.Lock())
        try:
            async with lock:
                return await self._once(repeat, caller, work)
        finally:
            if not lock.locked():
                self._running.pop(repeat.id, None)

    async def _once(
        self, repeat: Repeat, caller: Caller, work: Callable[[Caller], Awaitable[Response]]
    ) -> Response:
        known = await self._known(repeat)
        if known is not None:
            return known
        response = await work(msgspec.structs.replace(caller, repeat=repeat))
        if response.status_code < 300:
            sealed = self._keyring.seal(bytes(response.body), _place(repeat.id))
            await self._database.execute(_ANSWER, (response.status_code, sealed, repeat.id))
        return response

    async def _known(self, repeat: Repeat) -> Response | None:
        oldest = self._now_us() - REMEMBERED_US
        row = await self._database.fetchrow(_GET, (repeat.id, oldest))
        if row is None:
            await self._database.execute(_EXPIRE, (oldest,))
            return None
        if row["request"] != repeat.request:
            raise ApiError(
                422,
                "This Idempotency-Key was used for another request.",
                type="invalid_request_error",
                code="idempotency_mismatch",
                param="Idempotency-Key",
            )
        if row["status"] == 0:
            raise conflict("the request was done already; its answer was lost", "idempotency_conflict")
        body = self._keyring.unseal(row["answer"], _place(repeat.id))
        return Response(
            body, status_code=row["status"], media_type="application/json", headers={REPLAYED: "true"}
        )


def _place(repeat_id: str) -> Place:
    return Place("", "idempotency", repeat_id, "answer")
