"""A bucket that speaks S3: it verifies every signature (AWS Signature Version 4, written from its
specification), keeps what it is given, and fails as it is told.
"""

import hashlib
import hmac
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

Fault = Literal["none", "slow", "drops", "busy", "truncated", "missing"]
PAGE = 3
"""Names of one page of a listing: few, so that tests see several."""


class Call(NamedTuple):
    """One request that was signed well."""

    method: str
    key: str


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def fault_of(method: str, target: str, headers: Mapping[str, str], body: bytes, keys: dict[str, str]) -> str:
    """What is wrong with a signature; empty when nothing is. `headers`: names in lower case."""
    algorithm, _, rest = headers.get("authorization", "").partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if algorithm != "AWS4-HMAC-SHA256" or set(parts) != {"Credential", "SignedHeaders", "Signature"}:
        return "MissingAuthenticationToken"
    name, day, region, service, end = parts["Credential"].split("/")
    if name not in keys:
        return "InvalidAccessKeyId"
    digest = hashlib.sha256(body).hexdigest()
    signed = parts["SignedHeaders"].split(";")
    needed = {"host", "x-amz-date", "x-amz-content-sha256"}
    ordered = needed <= set(signed) and signed == sorted(signed)
    if headers.get("x-amz-content-sha256") != digest or not ordered:
        return "XAmzContentSHA256Mismatch"
    stamp = headers["x-amz-date"]
    if (service, end, stamp[:8]) != ("s3", "aws4_request", day):
        return "AuthorizationHeaderMalformed"
    if abs(time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - time.timezone - time.time()) > 900:
        return "RequestTimeTooSkewed"
    parsed = urlsplit(target)
    pairs = sorted(
        (quote(key, safe="-_.~"), quote(value, safe="-_.~"))
        for key, value in parse_qsl(parsed.query, keep_blank_values=True)
    )
    canonical = "\n".join(
        [
            method,
            quote(unquote(parsed.path), safe="/-_.~"),
            "&".join(f"{key}={value}" for key, value in pairs),
            *(f"{key}:{' '.join(headers[key].split())}" for key in signed),
            "",
            ";".join(signed),
            digest,
        ]
    )
    scope = f"{day}/{region}/{service}/{end}"
    text = "\n".join([algorithm, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = _mac(_mac(_mac(_mac(f"AWS4{keys[name]}".encode(), day), region), service), end)
    right = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return "" if hmac.compare_digest(right, parts["Signature"]) else "SignatureDoesNotMatch"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: callers that waited long enough have gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Bucket:
    """Use as a context manager. `objects`: what it holds, by key; `refused`: why calls were not let in."""

    name = "answers"

    def __init__(self, key: tuple[str, str] = ("AKIDEXAMPLE", "a/secret+key=")) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[Call] = []
        self.refused: list[str] = []
        self.fault: Fault = "none"
        self.keys = dict([key])
        self.access_key = ":".join(key)
        self.woken = threading.Event()
        """What is slow ends when it is set."""
        self._lock = threading.Lock()
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            def do_PUT(self) -> None:
                self._answer()

            def do_DELETE(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                fault = bucket.fault
                if fault == "slow":
                    bucket.woken.wait(20)
                if fault == "drops":
                    self.close_connection = True
                    return
                status, content = bucket._do(self.command, self.path, headers, body)
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if fault == "truncated" and len(content) > 1:
                    content = content[: len(content) // 2]
                    self.close_connection = True
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def _do(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if wrong := fault_of(method, target, headers, body, self.keys):
            self.refused.append(wrong)
            return 403, _error(wrong)
        parsed = urlsplit(target)
        bucket, _, key = unquote(parsed.path).removeprefix("/").partition("/")
        if bucket != self.name or self.fault == "missing":
            return 404, _error("NoSuchBucket")
        if self.fault == "busy":
            return 503, _error("SlowDown")
        with self._lock:
            self.calls.append(Call(method, key))
            if method == "PUT":
                self.objects[key] = body
                return 200, b""
            if method == "DELETE":
                self.objects.pop(key, None)
                return 204, b""
            if not key:
                return 200, self._listing(dict(parse_qsl(parsed.query)))
            found = self.objects.get(key)
        return (404, _error("NoSuchKey")) if found is None else (200, found)

    def _listing(self, query: dict[str, str]) -> bytes:
        assert query.pop("list-type") == "2"
        prefix, after = query.pop("prefix"), query.pop("start-after", "")
        assert not query
        names = sorted(name for name in self.objects if name.startswith(prefix) and name > after)
        found = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in names[:PAGE])
        more = "true" if len(names) > PAGE else "false"
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/">'
        )
        return f"{head}<IsTruncated>{more}</IsTruncated>{found}</ListBucketResult>".encode()

    def entries(self) -> list[str]:
        """The keys of all entries."""
        return sorted(key for key in list(self.objects) if "/e/" in f"/{key}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.woken.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _error(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'.encode()
