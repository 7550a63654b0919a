"""Responses and conversations that the data plane keeps for all nodes, where they share a PostgreSQL.

The key that seals them comes from the pepper, which outlives a change of the encryption key: nothing is
sealed anew then.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, Protocol, cast

import msgspec

from ailink import _core
from ailink.admin.errors import ApiError
from ailink.secrets.keyring import Keyring
from ailink.store import stored
from ailink.store.change_log import PROCESS
from ailink.store.database import Database, DatabaseError, Queries, UnavailableError

NONCE = 12
# Of the connections to the database so many are for this at a time: the others are for those who administer.
AT_A_TIME = 4
# A question ends within this, and a little more for what is large.
PATIENCE_S = 2.0
BYTES_PER_S = 16 << 20
# A process that was not heard of for so long makes nothing any more.
MAKER_US = 30_000_000
# What a change is about, where it is no response.
_KINDS = {"events": "events", "conversation": "conversation"}
# Larger than this is sealed in a thread.
LARGE = 256 * 1024

Op = Literal[
    "response",
    "end",
    "lose",
    "events",
    "conversation",
    "append",
    "remove_response",
    "remove_conversation",
    "remove_item",
]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    document: bytes


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `making`: a response that this process is at; `mark` names what is appended; `expires`:
    seconds since 1970.
    """

    op: Op
    owner: str
    id: str
    document: bytes = b""
    making: bool = False
    items: list[Item] = []
    mark: str = ""
    item: str = ""
    expires: int = 0


class Writes(msgspec.Struct, frozen=True, kw_only=True):
    """Done together or not at all."""

    writes: list[Write]


class Which(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["response", "events", "conversation", "items"]
    owner: str
    id: str


class Nobody(msgspec.Struct, frozen=True):
    """Nothing has to be said."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """`made`: another process that is alive is at it."""

    document: bytes
    made: bool
    items: list[bytes] = []


class _Shared(Protocol):
    """The part of the PostgreSQL store that is used here."""

    def apart(self) -> AbstractAsyncContextManager[Queries]: ...


class StoredResponses:
    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._key = hmac.new(keyring.pepper, b"stored responses", hashlib.sha256).digest()
        self._places = asyncio.Semaphore(AT_A_TIME)

    async def write(self, asked: Writes) -> int:
        """How many objects the last of them has changed. Raises `ApiError`."""
        size = sum(len(one.document) + sum(len(item.document) for item in one.items) for one in asked.writes)

        def seal() -> list[Write]:
            return [self._sealed(one) for one in asked.writes]

        sealed = seal() if size < LARGE else await asyncio.to_thread(seal)
        changed = 0
        async with self._queries(PATIENCE_S + size / BYTES_PER_S) as queries:
            for one in sealed:
                changed = await _apply(queries, one)
        return changed

    async def read(self, which: Which) -> Found | None:
        """Raises `ApiError`."""
        kind = "conversation" if which.kind == "items" else which.kind
        rows = []
        async with self._queries(PATIENCE_S) as queries:
            row = await stored.get(queries, which.owner, kind, which.id)
            if row is not None and which.kind == "items":
                rows = await stored.items(queries, which.owner, which.id)
        if row is None:
            return None
        items = [self._open(("item", which.owner, which.id, item["id"]), item["document"]) for item in rows]
        return Found(
            document=self._open((kind, which.owner, which.id), row["document"]),
            made=row["state"] == "making" and bool(row["alive"]) and row["maker"] != PROCESS,
            items=items,
        )

    async def renew(self, _: Nobody) -> list[str]:
        """This process is alive: the responses that it is still to make."""
        async with self._queries(PATIENCE_S) as queries:
            await stored.renew(queries, PROCESS, MAKER_US)
            return await stored.made_by(queries, PROCESS)

    async def forget_old(self) -> None:
        if self._database.dialect != "postgresql":
            return
        more = True
        while more:
            async with self._queries(PATIENCE_S) as queries:
                more = await stored.forget(queries) > 0

    @asynccontextmanager
    async def _queries(self, seconds: float) -> AsyncIterator[Queries]:
        if self._database.dialect != "postgresql":
            raise ApiError(500, "No nodes share this store.", type="api_error", code="internal_error")
        database = cast(_Shared, self._database)
        try:
            async with asyncio.timeout(seconds), self._places, database.apart() as queries:
                yield queries
        except TimeoutError:
            raise UnavailableError("no answer in time") from None
        except UnavailableError:
            raise
        except DatabaseError as error:
            # It would be refused again.
            raise ApiError(422, str(error), type="api_error", code="invalid_request") from error

    def _sealed(self, one: Write) -> Write:
        items = [
            Item(id=item.id, document=self._seal(("item", one.owner, one.id, item.id), item.document))
            for item in one.items
        ]
        document = self._seal((_KINDS.get(one.op, "response"), one.owner, one.id), one.document)
        return msgspec.structs.replace(one, document=document, items=items)

    def _seal(self, place: tuple[str, ...], text: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + _core.aead_seal(self._key, nonce, text, "\n".join(place).encode())

    def _open(self, place: tuple[str, ...], sealed: bytes) -> bytes:
        text = _core.aead_open(self._key, sealed[:NONCE], sealed[NONCE:], "\n".join(place).encode())
        if text is None:
            raise DatabaseError(
                f"a stored {place[0]} cannot be read: it was changed, or sealed by another key"
            )
        return text


async def _apply(queries: Queries, one: Write) -> int:
    key, expires_us = (one.owner, one.id), one.expires * 1_000_000
    match one.op:
        case "response" | "conversation":
            maker = PROCESS if one.making else None
            if maker is not None:
                # Nobody is to find it before its maker is known to be alive.
                await stored.renew(queries, maker, MAKER_US)
            await stored.put(queries, (one.owner, one.op, one.id), one.document, maker, expires_us)
            return 1
        case "end" | "lose":
            return await stored.end(queries, *key, one.document, expires_us, lost=one.op == "lose")
        case "events":
            # What was removed at another node does not come back.
            if not await stored.is_there(queries, one.owner, "response", one.id):
                return 0
            await stored.put(queries, (one.owner, "events", one.id), one.document, None, expires_us)
            return 1
        case "append":
            items = [(item.id, item.document) for item in one.items]
            return await stored.append(queries, key, one.mark, items, expires_us)
        case "remove_response":
            return await stored.remove_response(queries, *key)
        case "remove_conversation":
            return await stored.remove_conversation(queries, *key)
        case "remove_item":
            return await stored.remove_item(queries, *key, one.item)
