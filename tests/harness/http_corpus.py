"""HTTP/1.1 that no honest client sends, as bytes. `ask` makes the rest of a good request around a fault, so
that only the fault can be what is refused.
"""

from typing import NamedTuple

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":1}'
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
TYPE = b"content-type: application/json\r\n"
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"host: gateway\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


class Fault(NamedTuple):
    """Bytes to send, and the statuses that may come back. `shaped`: the refusal is the gateway's own, with
    the dialect's error shape; otherwise a bare answer or nothing but the end of the connection is enough.
    """

    data: bytes
    statuses: frozenset[int] = frozenset({400})
    shaped: bool = False


def ask(
    headers: bytes = b"", body: bytes = BODY, *, line: bytes = LINE, host: bytes = HOST, key: bytes = b"KEY"
) -> bytes:
    """A request; `KEY` is replaced by a minted one before it is sent."""
    return line + host + b"authorization: Bearer " + key + b"\r\n" + TYPE + headers + b"\r\n" + body


def _of(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


def _line(line: bytes) -> bytes:
    return ask(LENGTH, line=line)


HOSTS = {
    "no-host": Fault(ask(LENGTH, host=b""), shaped=True),
    "two-hosts": Fault(ask(LENGTH, host=HOST + HOST), shaped=True),
    "two-different-hosts": Fault(ask(LENGTH, host=HOST + b"host: other\r\n"), shaped=True),
    "host-with-space": Fault(ask(LENGTH, host=b"host: a b\r\n"), shaped=True),
    "host-with-slash": Fault(ask(LENGTH, host=b"host: a/b\r\n"), shaped=True),
    "host-with-user": Fault(ask(LENGTH, host=b"host: u@h\r\n"), shaped=True),
    "host-list": Fault(ask(LENGTH, host=b"host: a, b\r\n"), _of(200, 400)),
    "host-bad-port": Fault(ask(LENGTH, host=b"host: a:b\r\n"), shaped=True),
    "host-huge-port": Fault(ask(LENGTH, host=b"host: a:999999\r\n"), shaped=True),
    "host-open-bracket": Fault(ask(LENGTH, host=b"host: [::1\r\n"), shaped=True),
    "host-not-ascii": Fault(ask(LENGTH, host=b"host: \xe9\r\n"), shaped=True),
    "host-nul": Fault(ask(LENGTH, host=b"host: a\x00b\r\n")),
}

LENGTHS = {
    # RFC 9112, 6.3: refuse, or take the chunks and close.
    "both-cl-and-te": Fault(ask(LENGTH + CHUNKED, CHUNKS), _of(200, 400)),
    "both-te-and-cl": Fault(ask(CHUNKED + LENGTH, CHUNKS), _of(200, 400)),
    "two-lengths": Fault(ask(LENGTH + b"content-length: 5\r\n")),
    "two-same-lengths": Fault(ask(LENGTH + LENGTH), _of(200, 400)),
    "length-list": Fault(ask(b"content-length: 72, 5\r\n")),
    "length-negative": Fault(ask(b"content-length: -5\r\n")),
    "length-plus": Fault(ask(b"content-length: +72\r\n")),
    "length-hex": Fault(ask(b"content-length: 0x48\r\n")),
    "length-fraction": Fault(ask(b"content-length: 72.0\r\n")),
    "length-empty": Fault(ask(b"content-length: \r\n")),
    "length-words": Fault(ask(b"content-length: many\r\n")),
    "length-huge": Fault(ask(b"content-length: 99999999999999999999\r\n"), _of(400, 413)),
    "length-max": Fault(ask(b"content-length: 18446744073709551615\r\n"), _of(400, 413, 431)),
    "length-over-limit": Fault(ask(b"content-length: 9999999999\r\n"), _of(413), shaped=True),
    "te-unknown": Fault(ask(b"transfer-encoding: gzip\r\n"), _of(400, 501)),
    "te-chunked-not-last": Fault(ask(b"transfer-encoding: chunked, gzip\r\n", CHUNKS), _of(400, 501)),
    "te-gzip-chunked": Fault(ask(b"transfer-encoding: gzip, chunked\r\n", CHUNKS), _of(400, 501)),
    "te-twice": Fault(ask(CHUNKED + CHUNKED, CHUNKS), _of(400, 501)),
    "te-identity": Fault(ask(b"transfer-encoding: identity\r\n"), _of(400, 501)),
    "te-x-chunked": Fault(ask(b"transfer-encoding: xchunked\r\n", CHUNKS), _of(400, 501)),
    "te-space-colon": Fault(ask(b"transfer-encoding : chunked\r\n", CHUNKS)),
    "te-vertical-tab": Fault(ask(b"transfer-encoding: \x0bchunked\r\n", CHUNKS), _of(400, 501)),
    "te-http10": Fault(ask(CHUNKED, CHUNKS, line=b"POST /v1/chat/completions HTTP/1.0\r\n"), _of(400, 501)),
}

CHUNK_FAULTS = {
    "chunk-size-letters": Fault(ask(CHUNKED, b"zz\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-size-empty": Fault(ask(CHUNKED, b"\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-size-negative": Fault(ask(CHUNKED, b"-1\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-size-plus": Fault(ask(CHUNKED, b"+48\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-size-0x": Fault(ask(CHUNKED, b"0x48\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-size-underscore": Fault(ask(CHUNKED, b"4_8\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-size-overflow": Fault(ask(CHUNKED, b"10000000000000048\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-size-max": Fault(ask(CHUNKED, b"ffffffffffffffff\r\n" + BODY), _of(400, 408, 413)),
    "chunk-too-short": Fault(ask(CHUNKED, b"10\r\n" + BODY + b"\r\n0\r\n\r\n")),
    "chunk-no-crlf-after": Fault(ask(CHUNKED, b"48\r\n" + BODY + b"XX0\r\n\r\n")),
    "chunk-lf-only": Fault(ask(CHUNKED, b"48\n" + BODY + b"\n0\n\n")),
    "chunk-extension-huge": Fault(
        ask(CHUNKED, b"48;" + b"a" * 100_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), _of(400, 413, 431)
    ),
    "chunk-extension-lf": Fault(ask(CHUNKED, b"48;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n")),
}
"""Here the head is good: an answer must come, in the dialect's shape."""

HEADS = {
    "name-with-space": Fault(ask(LENGTH + b"x y: 1\r\n")),
    "name-empty": Fault(ask(LENGTH + b": 1\r\n")),
    "name-space-before-colon": Fault(ask(LENGTH + b"x : 1\r\n")),
    "name-nul": Fault(ask(LENGTH + b"x\x00: 1\r\n")),
    "name-not-ascii": Fault(ask(LENGTH + b"\xe9: 1\r\n")),
    "name-bracket": Fault(ask(LENGTH + b"x(y): 1\r\n")),
    "no-colon": Fault(ask(LENGTH + b"nothing\r\n")),
    "folded": Fault(ask(LENGTH + b"x: 1\r\n 2\r\n")),
    "folded-first": Fault(ask(LENGTH, host=b" x: 1\r\n" + HOST)),
    "value-nul": Fault(ask(LENGTH + b"x: a\x00b\r\n")),
    "value-cr": Fault(ask(LENGTH + b"x: a\rb\r\n")),
    "value-lf": Fault(ask(LENGTH + b"x: a\nb\r\n")),
    "value-control": Fault(ask(LENGTH + b"x: a\x01b\r\n"), _of(200, 400)),
    "value-delete": Fault(ask(LENGTH + b"x: a\x7fb\r\n"), _of(200, 400)),
    "value-latin1": Fault(ask(LENGTH + b"x: caf\xe9\r\n"), _of(200, 400)),
    "key-not-ascii": Fault(ask(LENGTH, key=b"sk-\xe9\xff"), _of(400, 401), shaped=True),
    "key-twice": Fault(ask(LENGTH + b"authorization: Bearer sk-other\r\n"), _of(200, 400, 401)),
    "key-empty": Fault(ask(LENGTH, key=b""), _of(401), shaped=True),
    "key-huge": Fault(ask(LENGTH, key=b"sk-" + b"x" * 30_000), _of(401), shaped=True),
    "basic": Fault(ask(LENGTH, key=b"").replace(b"Bearer ", b"Basic YTpi"), _of(401), shaped=True),
    "large-header": Fault(ask(LENGTH + b"x: " + b"y" * 70_000 + b"\r\n"), _of(431), shaped=True),
    "large-name": Fault(ask(LENGTH + b"x" * 70_000 + b": y\r\n"), _of(400, 431)),
    "huge-header": Fault(ask(LENGTH + b"x: " + b"y" * 2_000_000 + b"\r\n"), _of(431)),
    "many-headers": Fault(
        ask(LENGTH + b"".join(b"x-%d: 1\r\n" % number for number in range(150))), _of(431), shaped=True
    ),
    "very-many-headers": Fault(
        ask(LENGTH + b"".join(b"x-%d: 1\r\n" % number for number in range(5_000))), _of(431)
    ),
    "long-target": Fault(_line(b"POST /v1/" + b"a" * 70_000 + b" HTTP/1.1\r\n"), _of(400, 404, 414, 431)),
    "endless-target": Fault(_line(b"POST /" + b"a" * 2_000_000 + b" HTTP/1.1\r\n"), _of(400, 414, 431)),
    "compressed": Fault(ask(LENGTH + b"content-encoding: gzip\r\n"), _of(415), shaped=True),
    "expect-nonsense": Fault(ask(LENGTH + b"expect: a-miracle\r\n"), _of(200, 400, 417)),
    "upgrade": Fault(ask(LENGTH + b"connection: upgrade\r\nupgrade: websocket\r\n"), _of(200, 400, 426)),
    "h2c-upgrade": Fault(
        ask(LENGTH + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n"),
        _of(200, 400),
    ),
}

LINES = {
    "no-version": Fault(_line(b"POST /v1/chat/completions\r\n")),
    "http-0.9": Fault(b"GET /\r\n"),
    "http-0.9-lf": Fault(b"GET /\n"),
    "http-2.0": Fault(_line(b"POST /v1/chat/completions HTTP/2.0\r\n"), _of(400, 505)),
    "http-3.0": Fault(_line(b"POST /v1/chat/completions HTTP/3.0\r\n"), _of(400, 505)),
    "http-1.2": Fault(_line(b"POST /v1/chat/completions HTTP/1.2\r\n"), _of(200, 400, 505)),
    "http-1": Fault(_line(b"POST /v1/chat/completions HTTP/1\r\n")),
    "http-lower": Fault(_line(b"POST /v1/chat/completions http/1.1\r\n")),
    "http-letters": Fault(_line(b"POST /v1/chat/completions HTTP/a.b\r\n")),
    "other-protocol": Fault(_line(b"POST /v1/chat/completions ICAP/1.0\r\n")),
    "three-spaces": Fault(_line(b"POST   /v1/chat/completions   HTTP/1.1\r\n")),
    "tab": Fault(_line(b"POST\t/v1/chat/completions\tHTTP/1.1\r\n")),
    "trailing-space": Fault(_line(b"POST /v1/chat/completions HTTP/1.1 \r\n"), _of(200, 400)),
    "space-in-target": Fault(_line(b"POST /v1/chat completions HTTP/1.1\r\n")),
    "empty-target": Fault(_line(b"POST  HTTP/1.1\r\n")),
    "relative-target": Fault(_line(b"POST v1/chat/completions HTTP/1.1\r\n")),
    "nul-in-target": Fault(_line(b"POST /v1/\x00 HTTP/1.1\r\n")),
    "raw-utf8-in-target": Fault(_line("POST /v1/é HTTP/1.1\r\n".encode()), _of(400, 404)),
    "fragment": Fault(_line(b"POST /v1/chat/completions#x HTTP/1.1\r\n"), _of(200, 400, 404)),
    "dots": Fault(_line(b"POST /v1/../v1/chat/completions HTTP/1.1\r\n"), _of(400, 404), shaped=True),
    "backslash": Fault(_line(b"POST \\v1\\chat\\completions HTTP/1.1\r\n")),
    "no-method": Fault(_line(b" /v1/chat/completions HTTP/1.1\r\n")),
    "method-lower": Fault(_line(b"post /v1/chat/completions HTTP/1.1\r\n"), _of(405), shaped=True),
    "method-strange": Fault(_line(b"P@ST /v1/chat/completions HTTP/1.1\r\n")),
    "method-long": Fault(_line(b"A" * 100_000 + b" /v1/chat/completions HTTP/1.1\r\n"), _of(400, 405, 431)),
    "connect": Fault(b"CONNECT gateway:443 HTTP/1.1\r\n" + HOST + b"\r\n", _of(400, 404, 405), shaped=True),
    "authority-form": Fault(_line(b"POST gateway:80 HTTP/1.1\r\n"), _of(400, 404)),
    "asterisk": Fault(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", _of(200, 204, 400, 404, 405)),
    "asterisk-post": Fault(_line(b"POST * HTTP/1.1\r\n"), _of(400, 404, 405)),
    "other-scheme": Fault(_line(b"POST ftp://gateway/v1/chat/completions HTTP/1.1\r\n"), _of(200, 400, 404)),
    "bad-absolute": Fault(_line(b"POST http:///v1/chat/completions HTTP/1.1\r\n")),
    "absolute-with-user": Fault(
        _line(b"POST http://u:p@gateway/v1/chat/completions HTTP/1.1\r\n"), _of(200, 400)
    ),
    "cr-only": Fault(ask(LENGTH).split(b"\r\n\r\n")[0].replace(b"\r\n", b"\r") + b"\r\r" + BODY),
}

GARBAGE = {
    "zeros": Fault(b"\0" * 1000),
    "ones": Fault(b"\xff" * 1000),
    "line-ends": Fault(b"\r\n" * 50_000, _of(400, 431)),
    "tls-hello": Fault(bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 200),
    "ssh": Fault(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "redis": Fault(b"*1\r\n$4\r\nPING\r\n"),
    "smtp": Fault(b"EHLO example.com\r\n"),
    "socks5": Fault(b"\x05\x01\x00"),
    "http2-preface-only": Fault(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "http2-preface-garbage": Fault(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500),
    "http2-broken-preface": Fault(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    "json": Fault(BODY),
    "long-line": Fault(b"A" * 1_000_000, _of(400, 414, 431)),
}
"""Nothing that could be answered; the connection must end."""

PASSES = {
    "plain": ask(LENGTH),
    "chunked": ask(CHUNKED, CHUNKS),
    "chunked-capitals": ask(b"Transfer-Encoding: Chunked\r\n", CHUNKS),
    "chunk-per-byte": ask(CHUNKED, b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"),
    "chunk-leading-zeros": ask(CHUNKED, b"00000048\r\n" + BODY + b"\r\n000\r\n\r\n"),
    "chunk-extension": ask(CHUNKED, b'48;a=b;c="d"\r\n' + BODY + b"\r\n0;e\r\n\r\n"),
    "trailers": ask(CHUNKED, b"48\r\n" + BODY + b"\r\n0\r\nx-trailer: 1\r\n\r\n"),
    "leading-line-end": b"\r\n" + ask(LENGTH),
    "absolute-form": _line(b"POST http://gateway/v1/chat/completions HTTP/1.1\r\n"),
    "absolute-form-other-host": _line(b"POST http://other:1/v1/chat/completions HTTP/1.1\r\n"),
    "no-space-after-colon": ask(b"content-length:%d\r\nx:y\r\n" % len(BODY)),
    "tabs-around-value": ask(b"content-length:\t%d\t\r\n" % len(BODY)),
    "ipv6-host": ask(LENGTH, host=b"host: [::1]:4000\r\n"),
    "empty-host": ask(LENGTH, host=b"host:\r\n"),
    "upper-case": ask(LENGTH).replace(b"host:", b"HOST:").replace(b"authorization:", b"AUTHORIZATION:"),
    "query": _line(b"POST /v1/chat/completions?api-version=1&x=%20 HTTP/1.1\r\n"),
    "expect": ask(LENGTH + b"expect: 100-continue\r\n"),
    "http-1.0": _line(b"POST /v1/chat/completions HTTP/1.0\r\n"),
    "http-1.0-no-host": ask(LENGTH, line=b"POST /v1/chat/completions HTTP/1.0\r\n", host=b""),
    "99-headers": ask(LENGTH + b"".join(b"x-%d: 1\r\n" % number for number in range(95))),
    "60-kb-of-headers": ask(LENGTH + b"x: " + b"y" * 60_000 + b"\r\n"),
}
"""Unusual and right: these must be answered with 200."""

ENDS_CERTAIN = {
    "two-same-lengths", "host-list", "value-latin1", "value-control", "value-delete", "key-twice",
    "key-empty", "key-not-ascii", "key-huge", "basic", "expect-nonsense", "upgrade", "h2c-upgrade",
    "http-1.2", "trailing-space", "fragment", "dots", "method-lower", "method-long", "connect",
    "asterisk", "asterisk-post", "authority-form", "other-scheme", "absolute-with-user",
    "raw-utf8-in-target", "long-target",
}  # fmt: skip
"""Faults that leave no doubt where the message ends: the next request may follow on the connection."""
