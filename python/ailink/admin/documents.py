"""Asks the processes that read documents. One that takes too long is ended; the next document has another."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Final

import msgspec

from ailink.admin.errors import ApiError
from ailink.guard.documents import LENGTH, Read

# The data plane waits ten seconds.
SECONDS: Final = 8.0
WORKERS: Final = 2


class Document(msgspec.Struct, frozen=True, kw_only=True):
    data: bytes


class Reader:
    """No process runs before the first document."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._places = asyncio.Semaphore(WORKERS)
        self._idle: list[asyncio.subprocess.Process] = []

    async def read(self, document: Document) -> Read:
        """Raises ApiError when it takes too long: what the document holds is not known then."""
        try:
            async with asyncio.timeout(self._seconds), self._places:
                return await self._asked(document.data)
        except TimeoutError:
            text = "The document could not be read in time."
            raise ApiError(504, text, type="api_error", code="unreadable") from None
        except (OSError, EOFError, msgspec.DecodeError) as error:
            text = f"The document could not be read: {error!r}."
            raise ApiError(502, text, type="api_error", code="unreadable") from None

    async def _asked(self, data: bytes) -> Read:
        worker = self._idle.pop() if self._idle else await _started()
        done = False
        try:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(LENGTH.pack(len(data)))
            worker.stdin.write(data)
            await worker.stdin.drain()
            (length,) = LENGTH.unpack(await worker.stdout.readexactly(LENGTH.size))
            answer = msgspec.msgpack.decode(await worker.stdout.readexactly(length), type=Read)
            done = True
        finally:
            if done:
                self._idle.append(worker)
            else:
                await _ended(worker)
        return answer

    async def stop(self) -> None:
        """Ends the processes."""
        while self._idle:
            await _ended(self._idle.pop())


async def _started() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ailink.guard.documents",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # What reads strangers' documents knows no secrets.
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
    )


async def _ended(worker: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        worker.kill()
    await worker.wait()
