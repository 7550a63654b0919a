"""HTTP/1.1 as bytes over a socket, for what no HTTP library would send."""

import contextlib
import json
import socket
import struct
from pathlib import Path
from typing import Any, NamedTuple, Self


class RawResponse(NamedTuple):
    """One answer. Header names in lower case; of repeated ones the last counts, `heads` has all."""

    status: int
    headers: dict[str, str]
    body: bytes
    heads: list[tuple[str, str]]

    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """A connection to a port of the loopback, or to a Unix socket. Waits end after `timeout` seconds."""

    def __init__(
        self, port: int = 0, *, uds: Path | None = None, timeout: float = 20.0, receive_buffer: int = 0
    ) -> None:
        self.socket = socket.socket(socket.AF_UNIX if uds else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(str(uds) if uds else ("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> Self:
        """Sends all of it; a peer that closed already is no error (its answer may wait to be read)."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def response(self, *, head_only: bool = False) -> RawResponse:
        """The next final answer (1xx are passed over). ConnectionError when the peer closed instead."""
        while True:
            head = self._until(b"\r\n\r\n").decode("latin-1")
            line, *lines = head[:-4].split("\r\n")
            version, _, rest = line.partition(" ")
            assert version in {"HTTP/1.1", "HTTP/1.0"}, line
            heads = [
                (name.strip().lower(), value.strip())
                for name, _, value in (text.partition(":") for text in lines)
            ]
            status = int(rest[:3])
            if status >= 200:
                break
        headers = dict(heads)
        body = b"" if head_only or status in {204, 304} else self._body(headers)
        return RawResponse(status, headers, body, heads)

    def some(self, size: int = 65536) -> bytes:
        """What there is, at least one byte; empty when the peer has closed."""
        if self._buffer:
            data, self._buffer = self._buffer[:size], self._buffer[size:]
            return data
        try:
            return self.socket.recv(size)
        except ConnectionResetError:
            return b""

    def rest(self) -> bytes:
        """Everything until the peer closes. TimeoutError when it does not."""
        parts = []
        while data := self.some():
            parts.append(data)
        return b"".join(parts)

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            return self._chunks()
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        return self.rest()

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            parts.append(self._exactly(size))
            assert self._exactly(2) == b"\r\n"
        while self._until(b"\r\n") != b"\r\n":
            pass
        return b"".join(parts)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        data, _, self._buffer = self._buffer.partition(mark)
        return data + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {self._buffer[:200]!r}")
        self._buffer += data


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A well-formed HTTP/1.1 request; `x_api_key="…"` becomes `x-api-key: …`."""
    fields = {"host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body:
        fields.setdefault("content-length", str(len(body)))
        fields.setdefault("content-type", "application/json")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body
