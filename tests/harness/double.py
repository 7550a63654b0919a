"""A service that is called: answers JSON, or text, by its path, and remembers what it was asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Asked(NamedTuple):
    """One call, as it came."""

    path: str
    headers: dict[str, str]
    body: Any


class Double:
    """Use as a context manager. `answers`: what is said on each path; else 404. A callable gets the body."""

    def __init__(self) -> None:
        asked: list[Asked] = []
        self.asked = asked
        self.answers: dict[str, Any] = {}
        self.status = 200
        self.statuses: dict[str, int] = {}
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"null")
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked.append(Asked(self.path, headers, body))
                known = self.path in double.answers
                answer = double.answers.get(self.path, {"error": "unknown"})
                if callable(answer):
                    answer = answer(body)
                text = isinstance(answer, str)
                content = answer.encode() if text else json.dumps(answer).encode()
                self.send_response(double.statuses.get(self.path, double.status) if known else 404)
                self.send_header("content-type", "text/plain" if text else "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

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

    def take(self) -> list[Asked]:
        """The calls since the last time, oldest first."""
        taken = self.asked[:]
        del self.asked[: len(taken)]
        return taken
