"""An upstream that sends exactly the bytes it is told, in exactly the pieces it is told.

The mock provider renders its own answers; this one replays recorded ones. It runs in the test's event loop,
so that a test can let the next piece go when the one before has arrived, instead of guessing a time.
"""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Self

from tests.promises import wire
from tests.promises.eventually import eventually

End = Literal["end", "close", "reset", "stall"]
Gate = Callable[[int], Awaitable[None]]


class Answer(NamedTuple):
    """What one request gets: `pieces`, one per chunk, then the end.

    `end`: "end" as the framing wants it, "close" FIN instead, "reset" RST, "stall" silence. `chunked` False:
    the connection's end is the body's. `gate(i)` is awaited before piece i is sent.
    """

    pieces: Sequence[bytes]
    end: End = "end"
    chunked: bool = True
    gate: Gate | None = None
    content_type: str = "text/event-stream; charset=utf-8"


class Seen(NamedTuple):
    """A request."""

    head: str
    body: bytes


class Replay:
    """The server. `answers[id]` is what the request with `x-client-request-id: id` gets, a header that
    gateways pass on; `seen[id]` is that request.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.seen: dict[str, Seen] = {}
        self._answers: dict[str, Answer] = {}
        self._ids = itertools.count()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 22)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await eventually(lambda: not self._open, "connections ended")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, answer: Answer) -> dict[str, str]:
        """The header that asks for this answer."""
        name = f"replay-{next(self._ids)}"
        self._answers[name] = answer
        return {"x-client-request-id": name}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
                writer.close()
                await writer.wait_closed()
        finally:
            # Half closed by the gateway, or in the middle of an exchange.
            writer.close()
            self._open.discard(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection can take another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (row.partition(":") for row in head.split("\r\n"))
        }
        body = await reader.readexactly(int(fields["content-length"]))
        name = fields["x-client-request-id"]
        self.seen[name] = Seen(head, body)
        answer = self._answers.pop(name)
        framing = "transfer-encoding: chunked" if answer.chunked else "connection: close"
        start = f"HTTP/1.1 200 OK\r\ncontent-type: {answer.content_type}\r\n{framing}\r\n\r\n".encode()
        pieces = [
            b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece for piece in answer.pieces
        ]
        if answer.gate is None:
            writer.write(start + b"".join(pieces))
        else:
            writer.write(start)
            for number, piece in enumerate(pieces):
                await answer.gate(number)
                writer.write(piece)
        if answer.end == "end" and answer.chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        if answer.end == "stall":
            await reader.read()
        elif answer.end == "reset":
            wire.reset(writer)
        return answer.end == "end" and answer.chunked
