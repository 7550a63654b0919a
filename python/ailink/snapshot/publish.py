"""Numbers snapshots, sends secrets before the snapshot that names them, keeps what is in force."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import msgspec

from ailink.snapshot.compile import Compiled
from ailink.snapshot.model import Snapshot, SubjectRow


class PublishError(Exception):
    """The data plane refused the snapshot; the former one is in force."""


class Plane(Protocol):
    """The data plane, as far as it is published to."""

    def publish(self, snapshot: bytes) -> int:
        """In force on every thread when it returns. Raises ValueError."""

    def apply_subjects(self, upserts: bytes, removals: bytes) -> int:
        """Lists of SubjectRow, and of kind and id. Raises ValueError."""

    def push_credentials(self, rows: bytes) -> None:
        """MessagePack map of slot id to secret."""


class Publisher:
    """One per data plane. Versions count from 1 and grow with every snapshot that was taken."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._lock = asyncio.Lock()
        self._version = 0
        self._current: Compiled | None = None
        self._stale: frozenset[str] = frozenset()
        """Slots of the snapshot before the current one: requests that began on it may still retry."""

    @property
    def current(self) -> Compiled:
        """What is in force. Raises RuntimeError before the first `publish`."""
        if self._current is None:
            raise RuntimeError("nothing is published yet")
        return self._current

    async def publish(self, compiled: Compiled) -> int:
        """Puts a snapshot in force and returns its version. Raises PublishError."""
        async with self._lock:
            version = self._version + 1
            snapshot = msgspec.structs.replace(compiled.snapshot, version=version)
            before = {} if self._current is None else self._current.secrets
            forgotten = dict.fromkeys(self._stale - compiled.secrets.keys() - before.keys(), b"")
            try:
                await asyncio.to_thread(
                    self._send, snapshot, {**forgotten, **compiled.secrets}, compiled.subjects
                )
            except ValueError as error:
                await asyncio.to_thread(self._push, {**dict.fromkeys(compiled.secrets, b""), **before})
                raise PublishError(f"the data plane refused the configuration: {error}") from error
            self._version = version
            self._stale = frozenset(before)
            self._current = msgspec.structs.replace(compiled, snapshot=snapshot)
            return version

    def _send(self, snapshot: Snapshot, secrets: Mapping[str, bytes], subjects: list[SubjectRow]) -> None:
        # Secrets first: a slot without a value would send requests without their key.
        self._push(secrets)
        self._plane.publish(msgspec.msgpack.encode(snapshot))
        before = [] if self._current is None else [(row.kind, row.id) for row in self._current.subjects]
        names = {(row.kind, row.id) for row in subjects}
        gone = [name for name in before if name not in names]
        if subjects or gone:
            self._plane.apply_subjects(msgspec.msgpack.encode(subjects), msgspec.msgpack.encode(gone))

    def _push(self, secrets: Mapping[str, bytes]) -> None:
        self._plane.push_credentials(msgspec.msgpack.encode(dict(secrets)))
