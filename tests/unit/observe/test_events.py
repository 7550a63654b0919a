import asyncio
import logging
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ailink.observe.events import EventReader
from ailink.observe.metrics import ShellMetrics


class Source:
    """An eventfd and a list, as the data plane has them."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.waiting: list[dict[str, Any]] = []

    def push(self, **event: Any) -> None:
        self.waiting.append(event)
        os.eventfd_write(self.fd, 1)

    def event_fd(self) -> int:
        return self.fd

    def take_events(self) -> bytes:
        taken, self.waiting = self.waiting, []
        return msgspec.msgpack.encode(taken)


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    os.close(made.fd)


async def test_events_become_log_lines_and_counts(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    metrics = ShellMetrics("1")
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    reader = EventReader(source, metrics, [heard.put_nowait])
    reader.start()
    source.push(kind="deployment_down", level="warning", message="no answer", deployment="d1", dropped=2)
    first = await heard.get()
    assert first["deployment"] == "d1"
    source.push(kind="config")
    source.push(kind="config", level="strange")
    assert [(await heard.get())["kind"] for _ in range(2)] == ["config", "config"]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "no answer"),
        ("INFO", "config"),
        ("INFO", "config"),
    ]
    assert caplog.records[0].fields == {"kind": "deployment_down", "deployment": "d1", "dropped": 2}  # type: ignore[attr-defined]
    reader.stop()
    text = metrics.render().decode()
    assert 'ailink_shell_events_total{kind="config"} 2.0' in text
    assert "ailink_shell_events_lost_total 2.0" in text


async def test_what_waits_at_the_end_is_read(source: Source) -> None:
    heard: list[dict[str, Any]] = []
    reader = EventReader(source, ShellMetrics("1"), [heard.append])
    reader.start()
    source.push(kind="last")
    reader.stop()
    assert heard == [{"kind": "last"}]


def test_labels_are_bounded(source: Source) -> None:
    metrics = ShellMetrics("1")
    for number in range(1_000):
        metrics.event(f"kind{number}", 0)
    assert metrics.render().decode().count("ailink_shell_events_total{") <= 65
