"""An HTTP server in a thread of the test: what answers is a method, what was asked is kept."""

import contextlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self, TypeVar

Kept = TypeVar("Kept")


class Call(NamedTuple):
    """One request, as it came; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body; None where there is none."""
        return json.loads(self.body or b"null")


class Reply(NamedTuple):
    """Bytes as they are, text as text, anything else as JSON."""

    status: int = 200
    content: Any = b""
    headers: Mapping[str, str] = {}


class Listening:
    """Use as a context manager. `calls` has what came, oldest first; `answer` is what a subclass says."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _call(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                call = Call(self.command, self.path, headers, body)
                outer.calls.append(call)
                # Some callers have a time-out and leave.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._send(outer.answer(call))

            def _send(self, reply: Reply) -> None:
                content, kind = _encoded(reply.content)
                headers = {"content-type": kind, "content-length": str(len(content)), **reply.headers}
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _call  # noqa: N815  # as the base class calls them

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def answer(self, call: Call) -> Reply:
        """What is said to this call."""
        return Reply()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def drained(kept: list[Kept]) -> list[Kept]:
    """What the list held, oldest first; it is empty then, but for what comes meanwhile."""
    taken = kept[:]
    del kept[: len(taken)]
    return taken


def _encoded(content: Any) -> tuple[bytes, str]:
    if isinstance(content, bytes):
        return content, "application/octet-stream"
    if isinstance(content, str):
        return content.encode(), "text/plain"
    return json.dumps(content).encode(), "application/json"
