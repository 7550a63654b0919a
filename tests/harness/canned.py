"""A provider that says exactly the bytes it is given, for answers that the mock does not make."""

import contextlib
import socket
import socketserver
import threading
from typing import Self


class CannedProvider:
    """Answers a request whose path begins with `/NAME/` with `answers[NAME]`, then closes the connection
    unless the name is in `kept`. One in `leaving` hangs up on the second request of a connection; one in
    `silent` says nothing more until the other side has gone.
    `requests[NAME]` has the raw requests.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.kept: set[str] = set()
        self.leaving: set[str] = set()
        self.silent: set[str] = set()
        self.requests: dict[str, list[bytes]] = {}
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def base(self, name: str) -> str:
        """The root of a provider with that name, for `make_deployment`."""
        return f"{self.url}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        buffer = bytearray()
        answered = False
        while True:
            while b"\r\n\r\n" not in buffer:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
            buffer = bytearray(rest)
            lines = head.lower().split(b"\r\n")
            length = sum(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
            while len(buffer) < length:
                data = connection.recv(1_000_000)
                if not data:
                    return
                buffer += data
            body = bytes(buffer[:length])
            del buffer[:length]
            name = head.split(b" ")[1].split(b"/")[1].decode()
            self.requests.setdefault(name, []).append(head + b"\r\n\r\n" + body)
            if answered and name in self.leaving:
                return
            answer = self.answers[name]
            connection.sendall(answer if name in self.kept | self.leaving else _last(answer))
            answered = True
            if name in self.silent:
                connection.recv(1)
                return
            if name not in self.kept | self.leaving:
                return


def _last(answer: bytes) -> bytes:
    """An answer that says that the connection ends with it, lest another request be sent on it meanwhile."""
    line, _, rest = answer.partition(b"\r\n")
    head, end, _ = rest.lower().partition(b"\r\n\r\n")
    if not line.startswith(b"HTTP/1.1 ") or not end or b"connection:" in head:
        return answer
    return line + b"\r\nconnection: close\r\n" + rest


def answer(
    body: bytes, status: str = "200 OK", content_type: str = "application/json", **headers: str
) -> bytes:
    """A well-formed answer, after which the connection is closed."""
    fields = {"content-type": content_type, "content-length": str(len(body)), "connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body
