"""Reads what the data plane reports: rare changes of state, never money. Every event becomes a log line and a
count.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from ailink.observe.metrics import ShellMetrics

log = logging.getLogger(__name__)

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Listener = Callable[[dict[str, Any]], None]


class EventSource(Protocol):
    """The part of the data plane that this module uses."""

    def event_fd(self) -> int:
        """Readable when events wait; not blocking."""

    def take_events(self) -> bytes:
        """MessagePack list of maps with `kind`, and often `level`, `message`, `dropped`."""


class EventReader:
    """Wakes up with the plane's eventfd, on the event loop.

    `listeners` get every event after it was logged.
    """

    def __init__(
        self, source: EventSource, metrics: ShellMetrics, listeners: Sequence[Listener] = ()
    ) -> None:
        self._source = source
        self._metrics = metrics
        self._listeners = listeners
        self._decoder = msgspec.msgpack.Decoder(list[dict[str, Any]])

    def start(self) -> None:
        """Begins to read, on the running loop."""
        asyncio.get_running_loop().add_reader(self._source.event_fd(), self.read)

    def stop(self) -> None:
        """Reads what is left and stops."""
        asyncio.get_running_loop().remove_reader(self._source.event_fd())
        self.read()

    def read(self) -> None:
        """Takes all waiting events."""
        # First: an event that arrives between the two calls makes the descriptor readable again.
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._source.event_fd())
        for event in self._decoder.decode(self._source.take_events()):
            self._report(event)

    def _report(self, event: dict[str, Any]) -> None:
        fields = dict(event)
        kind = str(fields.pop("kind", "unknown"))
        level = LEVELS.get(str(fields.pop("level", "")), logging.INFO)
        message = str(fields.pop("message", "")) or kind
        lost = fields.get("dropped", 0)
        self._metrics.event(kind, lost if isinstance(lost, int) else 0)
        log.log(level, "%s", message, extra={"fields": {"kind": kind, **fields}})
        for listener in self._listeners:
            listener(event)
