"""Clients on bare sockets, with full control over how they read and how they leave. One request at a time.

`Http1` and `Http2` (prior knowledge, RFC 9113) look alike:

    async with await Http2.open(port) as client:
        await client.post("/v1/chat/completions", body, headers)
        assert await client.head() == 200
        while piece := await client.some(): ...      # Broken when the answer does not end as its framing says
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Protocol, Self

PATIENCE = 30.0


class Broken(Exception):
    """The connection or stream ended in the middle of an answer."""


class Unprocessed(Exception):
    """The server said that it will not look at this request (GOAWAY): it may be sent again elsewhere."""


class Client(Protocol):
    """What both have."""

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None: ...
    async def head(self) -> int: ...
    async def some(self) -> bytes: ...
    async def rest(self) -> bytes: ...
    def close(self) -> None: ...


async def _connect(port: int, receive_buffer: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    plain = socket.socket()
    plain.setblocking(False)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=plain, limit=1 << 20)


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with RST."""
    plain = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, receive_buffer: int = 0) -> Self:
        return cls(*await _connect(port, receive_buffer))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def close(self) -> None:
        """FIN. What was not read yet turns it into RST, as the kernel does for any client."""
        self.writer.close()

    def reset(self) -> None:
        """RST."""
        reset(self.writer)


class Http1(_Connection):
    """HTTP/1.1, kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.headers: dict[str, str] = {}
        self._left: int | None = 0
        """Bytes of the current chunk or body; None: chunk size comes next; -1: until the end of the
        connection.
        """
        self._chunked = False

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        fields = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await self.writer.drain()

    async def head(self) -> int:
        try:
            text = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Broken(f"before the head: {error}") from None
        line, *lines = text.decode("latin-1").split("\r\n")
        self.headers = {
            name.lower(): value.strip() for name, _, value in (row.partition(":") for row in lines if row)
        }
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "")
        self._left = None if self._chunked else int(self.headers.get("content-length", -1))
        return int(line.split(" ")[1])

    async def some(self) -> bytes:
        try:
            return await asyncio.wait_for(self._some(), PATIENCE)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Broken(str(error)) from None

    async def _some(self) -> bytes:
        if self._left is None:
            self._left = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if self._left == 0:
                while await self.reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return b""
        if self._left == 0:
            return b""
        data = await self.reader.read(1 << 16 if self._left < 0 else min(self._left, 1 << 16))
        if self._left > 0:
            if not data:
                raise Broken(f"{self._left} bytes missing")
            self._left -= len(data)
            if self._chunked and self._left == 0:
                assert await self.reader.readexactly(2) == b"\r\n"
                self._left = None
        return data

    async def rest(self) -> bytes:
        parts = []
        while piece := await self.some():
            parts.append(piece)
        return b"".join(parts)

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent: the server has neither announced that it will close nor
        closed.
        """
        return self.headers.get("connection", "").lower() != "close" and not self.reader.at_eof()


DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK, PADDED, PRIORITY = 1, 4, 1, 8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL = 8
# RFC 7541, appendix A: the statuses that have an index of their own.
INDEXED_STATUS = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
# RFC 7541, appendix B: the digits.
HUFFMAN = {f"{code:05b}": str(code) for code in range(3)} | {
    f"{code + 22:06b}": str(code) for code in range(3, 10)
}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _text(value: str) -> bytes:
    raw = value.encode("latin-1")
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    length, size = bytearray([127]), len(raw) - 127
    while size > 127:
        length.append(size % 128 | 128)
        size //= 128
    return bytes(length) + bytes([size]) + raw


def _status(block: bytes) -> int:
    """The status, which comes first; literal values of three digits, plain or Huffman-coded."""
    while block[0] & 0xE0 == 0x20:
        block = block[1:]
    if block[0] in INDEXED_STATUS:
        return INDEXED_STATUS[block[0]]
    assert block[0] in {0x08, 0x18, 0x48} | set(range(0x48, 0x4F)), block[:8].hex()
    raw = block[2 : 2 + (block[1] & 127)]
    if not block[1] & 128:
        return int(raw)
    bits, digits = "".join(f"{byte:08b}" for byte in raw), ""
    while len(digits) < 3:
        size = 5 if bits[:5] in HUFFMAN else 6
        digits, bits = digits + HUFFMAN[bits[:size]], bits[size:]
    return int(digits)


class Http2(_Connection):
    """HTTP/2, one stream at a time. With a small `window` the client lets only so much of all bodies come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._stream = -1
        self._over = False
        self._credit = [65_535, 65_535]
        """What may still be sent: on the connection, on the stream."""
        self._initial = 65_535
        self._leaving = False

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent: the server has neither sent GOAWAY nor closed."""
        return not self._leaving and not self.reader.at_eof()

    @classmethod
    async def open(cls, port: int, receive_buffer: int = 0, window: int = 1 << 30) -> Self:
        """`window`: bytes of a body that may come. It is never moved: a client that writes while the server
        closes finds a broken pipe in place of the answer's last bytes.
        """
        client = await super().open(port, receive_buffer)
        settings = struct.pack(">HIHI", 2, 0, 4, window)
        more = frame(WINDOW_UPDATE, 0, 0, (window - 65_535).to_bytes(4)) if window > 65_535 else b""
        client.writer.write(PREFACE + frame(SETTINGS, 0, 0, settings) + more)
        return client

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.start(path, headers)
        await self.send(body)

    def start(self, path: str, headers: Mapping[str, str]) -> None:
        """Only the head of a request."""
        self._stream += 2
        self._over = False
        self._credit[1] = self._initial
        fields = {":method": "POST", ":scheme": "http", ":authority": "127.0.0.1", ":path": path}
        fields |= {"content-type": "application/json"} | {
            name.lower(): value for name, value in headers.items()
        }
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
        self.writer.write(frame(HEADERS, END_HEADERS, self._stream, block))

    async def send(self, body: bytes, *, end: bool = True) -> None:
        """The request's body or a part of it, as the server's windows allow."""
        while True:
            size = min(16_384, len(body), *self._credit)
            piece, body = body[:size], body[size:]
            if piece or not body:
                self._credit = [credit - size for credit in self._credit]
                flags = END_STREAM if end and not body else 0
                self.writer.write(frame(DATA, flags, self._stream, piece))
            if not body:
                await self.writer.drain()
                return
            while not min(self._credit):
                await self._next(only_one=True)

    def cancel(self) -> None:
        """RST_STREAM; the connection stays."""
        self.writer.write(frame(RST_STREAM, 0, self._stream, CANCEL.to_bytes(4)))

    async def head(self) -> int:
        while True:
            kind, payload = await self._next()
            if kind == HEADERS:
                return _status(payload)

    async def some(self) -> bytes:
        while not self._over:
            kind, payload = await self._next()
            if kind == DATA and payload:
                return payload
        return b""

    async def rest(self) -> bytes:
        parts = []
        while piece := await self.some():
            parts.append(piece)
        return b"".join(parts)

    async def _next(self, *, only_one: bool = False) -> tuple[int, bytes]:
        """The next frame of the stream (with `only_one`, of anything); those of the connection are dealt
        with.
        """
        while True:
            try:
                kind, flags, stream, payload = await asyncio.wait_for(self._frame(), PATIENCE)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Broken(str(error)) from None
            if kind in {SETTINGS, PING} and not flags & ACK:
                self.writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
                self._take_settings(payload if kind == SETTINGS else b"")
            elif kind == WINDOW_UPDATE and stream in {0, self._stream}:
                self._credit[1 if stream else 0] += int.from_bytes(payload)
            elif kind == GOAWAY:
                self._leaving = True
                if int.from_bytes(payload[:4]) & 0x7FFF_FFFF < self._stream:
                    raise Unprocessed(payload[:8].hex())
            elif stream == self._stream and kind == RST_STREAM:
                raise Broken(f"RST_STREAM {int.from_bytes(payload)}")
            elif stream == self._stream and kind in {DATA, HEADERS}:
                self._over = bool(flags & END_STREAM)
                return kind, payload
            if only_one:
                return kind, payload

    def _take_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == 4:
                self._credit[1] += value - self._initial
                self._initial = value

    async def _frame(self) -> tuple[int, int, int, bytes]:
        head = await self.reader.readexactly(9)
        payload = await self.reader.readexactly(int.from_bytes(head[:3]))
        assert not head[4] & (PADDED | PRIORITY) or head[3] not in {DATA, HEADERS}
        return head[3], head[4], int.from_bytes(head[5:]) & 0x7FFF_FFFF, payload


def encoded(body: Mapping[str, Any]) -> bytes:
    """A JSON body."""
    return json.dumps(body).encode()
