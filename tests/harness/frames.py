"""Frames of Amazon's event stream (`application/vnd.amazon.eventstream`), written and read."""

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from botocore.eventstream import EventStreamBuffer

CONTENT_TYPE = "application/vnd.amazon.eventstream"


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame."""
    told = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", len(told) + len(payload) + 16, len(told))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + told + payload
    return start + struct.pack(">I", zlib.crc32(start))


def event(kind: str, payload: bytes) -> bytes:
    """A frame with an event of this type."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, payload)


def events_of(body: bytes) -> Iterator[tuple[str, Any]]:
    """Kind and content of each frame; checksums are verified."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for told in buffer:
        kind = told.headers.get(":event-type") or told.headers[":exception-type"]
        yield str(kind), json.loads(told.payload)
