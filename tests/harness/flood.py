"""Many equal requests at the same moment."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Raw(NamedTuple):
    status: int
    cache: str
    body: bytes


async def flood(
    port: int, secret: str, body: dict[str, Any], count: int, sent: Callable[[], Any] | None = None
) -> list[Raw]:
    """All connections stand before the first request is sent; `sent` is called when the last one is."""
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.0\r\nauthorization: Bearer {secret}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in opened:
        writer.write(head.encode() + content)
    await asyncio.gather(*(writer.drain() for _, writer in opened))
    if sent is not None:
        sent()
    answers = [await reader.read(-1) for reader, _ in opened]
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()
    return [raw(answer) for answer in answers]


def raw(answer: bytes) -> Raw:
    """HTTP/1.0: a body ends with its connection, so that none is in chunks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return Raw(int(lines[0].split()[1]), headers.get("x-ailink-cache", ""), body)
