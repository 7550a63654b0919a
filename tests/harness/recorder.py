"""A provider that takes down every request and refuses it, so that nothing of an answer matters."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

REFUSAL = b'{"error":{"message":"recorded","type":"invalid_request_error"}}'


class Recorded(NamedTuple):
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class Recorder:
    """Use as a context manager. `take()` hands out what came since the last call."""

    def __init__(self) -> None:
        seen: list[Recorded] = []
        self._seen = seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen.append(Recorded(f"{self.command} {self.path}", headers, body))
                self.send_response(400)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(REFUSAL)))
                self.end_headers()
                self.wfile.write(REFUSAL)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self) -> list[Recorded]:
        """The requests since the last call, oldest first."""
        taken = self._seen[:]
        del self._seen[: len(taken)]
        return taken


def plain(body: bytes, content_type: str) -> object:
    """A body for people: JSON as it is, a form as its fields."""
    if not content_type.startswith("multipart/"):
        return json.loads(body)
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0]
        fields[name.decode()] = content.decode()
    return fields
