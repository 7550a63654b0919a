"""Files of tenants: sealed, in pieces, in the database of all nodes.

The key of the pieces comes from the pepper, which outlives a change of the encryption key: nothing is sealed
anew then.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator, Callable

from ailink import _core
from ailink.secrets.keyring import Keyring
from ailink.store import files
from ailink.store.database import Database
from ailink.store.files import File

PIECE = 1024 * 1024
NONCE = 12


class Damaged(Exception):
    """A piece of a file is missing, or was changed."""


class FileVault:
    def __init__(self, database: Database, keyring: Keyring, now_us: Callable[[], int]) -> None:
        self._database = database
        self._now_us = now_us
        self._key = hmac.new(keyring.pepper, b"files of tenants", hashlib.sha256).digest()

    async def keep(self, record: File, content: bytes) -> None:
        pieces = await asyncio.to_thread(self._sealed, record.id, content)
        await files.insert(self._database, record, pieces)

    async def read(self, record: File) -> bytes:
        """Raises `Damaged`."""
        parts = [part async for part in self._parts(record)]
        content = b"".join(parts)
        if len(content) != record.bytes:
            raise Damaged(f"{record.id} is {len(content)} bytes long instead of {record.bytes}")
        return content

    async def _parts(self, record: File) -> AsyncIterator[bytes]:
        for number in range(-(-record.bytes // PIECE)):
            sealed = await files.piece(self._database, record.id, number)
            opened = None if sealed is None else self._opened(record.id, number, sealed)
            if opened is None:
                raise Damaged(f"piece {number} of {record.id} cannot be read")
            yield opened

    def _sealed(self, file_id: str, content: bytes) -> list[str]:
        starts = range(0, len(content), PIECE)
        return [self._seal(file_id, number, content[at : at + PIECE]) for number, at in enumerate(starts)]

    def _seal(self, file_id: str, number: int, part: bytes) -> str:
        nonce = os.urandom(NONCE)
        sealed = _core.aead_seal(self._key, nonce, part, f"{file_id}:{number}".encode())
        return base64.b64encode(nonce + sealed).decode()

    def _opened(self, file_id: str, number: int, text: str) -> bytes | None:
        raw = base64.b64decode(text)
        return _core.aead_open(self._key, raw[:NONCE], raw[NONCE:], f"{file_id}:{number}".encode())


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(16)}"
