"""The ledger of all nodes, asked as the node's own is: the same questions, from PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

from ailink.ledger.reader import LedgerSource
from ailink.ledger.ship import Shipper
from ailink.store.database import DatabaseError

# A report may be about what was spent a moment ago; beyond that the caller gets what there is.
CATCH_UP_S = 3.0
_MADE = "SELECT applied_s FROM migrations WHERE id = 1"


class Rows(Protocol):
    """The part of the PostgreSQL store that is used here."""

    async def fetch_rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[object, ...]]: ...


class SharedLedger:
    """Called from threads, as the data plane is; works on the event loop it was made in."""

    dialect: Literal["sqlite", "postgresql"] = "postgresql"

    def __init__(self, plane: LedgerSource, database: Rows, shipper: Shipper) -> None:
        self._plane = plane
        self._database = database
        self.shipper = shipper
        self._loop = asyncio.get_running_loop()

    def flush(self, timeout_s: float) -> None:
        """Waits until what was settled on this node so far is there. RuntimeError: not in time."""
        self._plane.flush(timeout_s)
        sending = asyncio.run_coroutine_threadsafe(self.shipper.once(), self._loop)
        try:
            sending.result(CATCH_UP_S)
        except (DatabaseError, TimeoutError) as error:
            raise RuntimeError("the ledger is behind") from error

    def ledger_query(self, sql: str, params: bytes, timeout_ms: int) -> bytes:
        """Runs one SELECT. Raises TimeoutError, RuntimeError."""
        values = msgspec.msgpack.decode(params, type=list[Any])
        asking = asyncio.run_coroutine_threadsafe(self._ask(sql, values), self._loop)
        try:
            return asking.result(timeout_ms / 1_000)
        except DatabaseError as error:
            raise RuntimeError(str(error)) from error

    async def _ask(self, sql: str, values: Sequence[Any]) -> bytes:
        rows = await self._database.fetch_rows(sql, values)
        return msgspec.msgpack.encode([[_plain(value) for value in row] for row in rows])


async def open_ledger(
    plane: LedgerSource, database: Any, node: int, ends: AsyncExitStack
) -> SharedLedger | None:
    """The ledger of all nodes, where the store is PostgreSQL. Until `ends` is closed, what this node spends
    is sent there.

    Raises RuntimeError when the node's own ledger cannot be read.
    """
    if database.dialect != "postgresql":
        return None
    packed = msgspec.msgpack.encode([])
    answer = await asyncio.to_thread(plane.ledger_query, _MADE, packed, 5_000)
    made_s: int = msgspec.msgpack.decode(answer)[0][0]
    # Numbers of attempts are unique in one ledger.db: another file at the same node is another sender.
    shipper = Shipper(plane, database, node << 32 | made_s)
    shipper.start()
    ends.push_async_callback(shipper.stop)
    return SharedLedger(plane, database, shipper)


def _plain(value: Any) -> Any:
    # sum() of whole numbers is NUMERIC there.
    return int(value) if isinstance(value, Decimal) else value
