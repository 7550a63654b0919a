"""Bad input gets a clear error in the caller's own shape, and nothing breaks: no 5xx, no panic, no hang."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    RawConnection,
    RawResponse,
    chat,
    make_config,
    make_deployment,
    make_model,
)
from tests.harness import http_corpus as http
from tests.harness import json_corpus as corpus
from tests.harness.canned import CannedProvider, answer
from tests.harness.raw import request

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
BODY_LIMIT = 40 * 1024 * 1024
BODIES: dict[str, dict[str, Any]] = {
    CHAT: chat(),
    MESSAGES: chat(max_tokens=5),
    "/v1/completions": {"model": "m", "prompt": "x"},
    "/v1/fim/completions": {"model": "m", "prompt": "x"},
    "/v1/embeddings": {"model": "m", "input": "x", "dimensions": 2},
    "/v1/moderations": {"model": "m", "input": "x"},
    "/v1/images/generations": {"model": "m", "prompt": "x"},
    "/v1/audio/speech": {"model": "m", "input": "x", "voice": "v"},
    "/v1/rerank": {"model": "m", "query": "x", "documents": ["a"]},
    "/v1/messages/count_tokens": {"model": "m", "messages": []},
}
UPLOADS = ["/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions", "/v1/audio/translations"]


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    """A provider that takes anything, so that whatever is refused was refused by the gateway."""
    with CannedProvider() as provider:
        provider.answers["yes"] = answer(
            b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}', connection="keep-alive"
        )
        provider.kept.add("yes")
        yield provider


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, canned: CannedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = make_config(
        make_model("m", make_deployment(provider), make_deployment(provider, dialect="anthropic")),
        make_model(
            "yes",
            make_deployment(canned.base("yes")),
            make_deployment(canned.base("yes"), dialect="anthropic"),
        ),
        # So that what waits for more does not wait for long.
        server={"limits": {"body_bytes": BODY_LIMIT, "header_timeout": "2s", "body_idle": "2s"}},
        routing={"translation": "never"},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(autouse=True)
def unharmed(gateway: Gateway) -> Iterator[None]:
    """After every test: alive, no panic, no internal error, and what was answered with 5xx is not ours."""
    pid = gateway.child.pid
    yield
    assert gateway.child.pid == pid
    assert gateway.is_ready()
    assert gateway.metric("ailink_panics_total") == 0
    assert gateway.metric("ailink_errors_total", code="internal_error") == 0
    assert "Traceback" not in gateway.log


def check_error(response: RawResponse | httpx.Response, path: str, statuses: set[int] | None = None) -> None:
    """A refusal in the shape of the path's dialect, with a message and a request id."""
    code = response.status if isinstance(response, RawResponse) else response.status_code
    body = response.json()
    assert code in (statuses or range(400, 500)), body
    assert response.headers["content-type"].startswith("application/json")
    request_id = response.headers["x-request-id"]
    assert request_id.startswith("req_")
    assert body["error"]["message"]
    assert len(json.dumps(body)) < 2000
    if path.startswith(MESSAGES):
        assert (body["type"], body["request_id"]) == ("error", request_id)
    else:
        assert set(body["error"]) == {"message", "type", "param", "code"}


class Caller:
    """One keep-alive connection; a new one after each that the gateway closed."""

    def __init__(self, gateway: Gateway, key: Key) -> None:
        self._gateway = gateway
        self._bearer = f"Bearer {key.secret}"
        self._connection = RawConnection(gateway.port)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, path: str, body: bytes, **headers: str) -> RawResponse:
        fields = {"authorization": self._bearer, "content-length": str(len(body)), **headers}
        self._connection.send(request("POST", path, body, **fields))
        response = self._connection.response()
        if response.headers.get("connection") == "close":
            self._connection.close()
            self._connection = RawConnection(self._gateway.port)
        return response


@pytest.fixture
def caller(gateway: Gateway, key: Key) -> Iterator[Caller]:
    with Caller(gateway, key) as made:
        yield made


def around(value: bytes, model: bytes = b'"yes"') -> bytes:
    """A chat request (good for both dialects) with `value` as one of its members."""
    messages = b'[{"role":"user","content":"hi"}]'
    return b'{"model":%s,"max_tokens":5,"metadata":%s,"messages":%s}' % (model, value, messages)


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_valid_json_passes_byte_for_byte(caller: Caller, canned: CannedProvider, path: str) -> None:
    for name, value in {**corpus.VALID, **corpus.CHOSEN_VALID}.items():
        response = caller.post(path, around(value))
        assert response.status == 200, (name, response.body)
        sent = canned.requests["yes"][-1].partition(b"\r\n\r\n")[2]
        assert sent == around(value, b'"upstream-model"'), name


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_invalid_json_is_refused(caller: Caller, canned: CannedProvider, path: str) -> None:
    mark = len(canned.requests.get("yes", []))
    refused = {**corpus.INVALID, **corpus.CHOSEN_INVALID, **corpus.hostile()}
    for body in corpus.DUPLICATES.values():
        check_error(caller.post(path, body), path, {400})
    for name, value in refused.items():
        for body in (value, around(value)):
            response = caller.post(path, body)
            assert response.status == 400, (name, response.body)
            check_error(response, path)
    assert len(canned.requests.get("yes", [])) == mark


@pytest.mark.parametrize("path", BODIES)
def test_every_endpoint_reads_json_the_same(caller: Caller, path: str) -> None:
    values = list({**corpus.INVALID, **corpus.CHOSEN_INVALID}.values())[::7]
    good = json.dumps(BODIES[path]).encode()
    for value in [*values, b"[" * 100_000, b"\xff\xfe{}", b"\xef\xbb\xbf" + good, good + b"\0"]:
        check_error(caller.post(path, value), path, {400})
        check_error(caller.post(path, b'{"x":%s,%s' % (value, good[1:])), path, {400})


def test_lone_values_are_no_request(caller: Caller) -> None:
    for value in [b"null", b"true", b"42", b'"m"', b"[]", b"[{}]", b"{}", b"  {}  "]:
        for path in (CHAT, MESSAGES):
            check_error(caller.post(path, value), path, {400})


@pytest.mark.parametrize("path", [*BODIES, "/v1/responses", "/v1beta/models/yes:generateContent"])
@pytest.mark.parametrize("name", ["api_base", "api_key", "mock_response", "no-log", "output_cost_per_token"])
def test_what_the_operator_sets_is_refused_from_requests(
    caller: Caller, canned: CannedProvider, path: str, name: str
) -> None:
    mark = len(canned.requests.get("yes", []))
    good = BODIES.get(path, {"model": "yes", "input": "x", "contents": []}) | {"model": "yes"}
    body = json.dumps(good | {name: "http://169.254.169.254"}).encode()
    # Behind escapes, too, and whatever it holds.
    for sent in (body, body.replace(b'"http://169.254.169.254"', b"null")):
        escaped = sent.replace(name.encode(), name[:-1].encode() + b"\\u00%02x" % ord(name[-1]))
        for bad in (sent, escaped):
            response = caller.post(path, bad)
            assert response.status == 400, response.body
            error = response.json()["error"]
            assert f"'{name}' is set by the gateway's operator" in error["message"]
            if "generateContent" not in path:
                check_error(response, path, {400})
            if path == CHAT:
                assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert len(canned.requests.get("yes", [])) == mark


def test_what_the_operator_sets_is_refused_in_forms(gateway: Gateway, key: Key) -> None:
    for path in UPLOADS:
        response = gateway.http.post(
            path,
            data={"model": "yes", "prompt": "x", "api_base": "http://169.254.169.254"},
            files={"file": ("a.wav", b"x"), "image": ("a.png", b"x")},
            headers=key.bearer,
        )
        check_error(response, path, {400})
        assert response.json()["error"]["param"] == "api_base"


def test_no_header_sets_what_the_operator_sets(caller: Caller, canned: CannedProvider) -> None:
    headers = {"api-base": "x", "x-api-base": "x", "base-url": "x", "x-litellm-api-base": "x", "no-log": "1"}
    body = around(b'{"api_base":"mine","no-log":"mine"}')
    assert caller.post(CHAT, body, **headers).status == 200
    head, _, sent = canned.requests["yes"][-1].partition(b"\r\n\r\n")
    # What a client keeps in his own metadata is his.
    assert sent == around(b'{"api_base":"mine","no-log":"mine"}', b'"upstream-model"')
    names = {line.partition(b":")[0].strip().lower().decode() for line in head.splitlines()[1:]}
    assert not names & headers.keys()


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"yes","model":"m","messages":[{}]}',
        b'{"model":"yes","messages":[{}],"mod\\u0065l":"m"}',
        b'{"messages":[{}],"\\u006d\\u006F\\u0064\\u0065\\u006c":"m","model":"yes"}',
        b'{"model":"yes","messages":[{}],"stream_options":{"include_usage":true,"include_usage":false}}',
        b'{"model":"yes","messages":[],"messages":[{}]}',
        b'{"model":"yes","messages":[{}],"stream":false,"stream":true}',
    ],
)
def test_duplicate_keys_are_refused(caller: Caller, canned: CannedProvider, body: bytes) -> None:
    mark = len(canned.requests.get("yes", []))
    response = caller.post(CHAT, body)
    check_error(response, CHAT, {400})
    assert "duplicate" in response.json()["error"]["message"]
    assert len(canned.requests.get("yes", [])) == mark


@pytest.mark.parametrize("name", corpus.DUPLICATES)
def test_what_the_gateway_does_not_read_passes_untouched(
    caller: Caller, canned: CannedProvider, name: str
) -> None:
    """Duplicate keys are refused in every object the gateway reads; the rest is the provider's to judge."""
    value = b"[%s]" % corpus.DUPLICATES[name]
    assert caller.post(CHAT, around(value)).status == 200
    assert canned.requests["yes"][-1].endswith(around(value, b'"upstream-model"'))


def test_bare_line_feeds_end_lines(gateway: Gateway, key: Key) -> None:
    """RFC 9112 section 2.2 allows it; the answer is that of the same request with CRLF."""
    head, _, body = http.ask(http.LENGTH).partition(b"\r\n\r\n")
    with RawConnection(gateway.port) as connection:
        connection.send(head.replace(b"KEY", key.secret.encode()).replace(b"\r\n", b"\n") + b"\n\n" + body)
        assert connection.response().status == 200


@pytest.mark.parametrize("name", corpus.large())
def test_large_values_pass(caller: Caller, canned: CannedProvider, name: str) -> None:
    value = corpus.large()[name]
    response = caller.post(CHAT, around(value))
    assert response.status == 200, response.body
    assert canned.requests["yes"][-1].endswith(around(value, b'"upstream-model"'))


def test_management_reads_json_the_same(gateway: Gateway) -> None:
    values = {**corpus.INVALID, **corpus.CHOSEN_INVALID}
    for name, value in values.items():
        for body in (value, b'{"metadata":{"a":%s}}' % value):
            if not body.strip():
                continue  # no body is no settings
            response = gateway.http.post("/key/generate", content=body, headers=gateway.admin)
            assert 400 <= response.status_code < 500, (name, response.text)
            assert response.json()["error"]["message"], name
    for value in (b"[" * 100_000, b'{"a":' * 100_000, b'{"rpm_limit":1,"rpm_limit":2}', b"9" * 500_000):
        response = gateway.http.post("/key/generate", content=value, headers=gateway.admin)
        assert 400 <= response.status_code < 500, response.text[:300]
    for path in ("/key/update", "/key/delete", "/key/block", "/key/regenerate", "/credentials"):
        for body in (
            b"",
            b"{}",
            b"[]",
            b"null",
            b'{"key":1}',
            b'{"keys":"x"}',
            b"\xff",
            b'{"key":"\\ud800"}',
        ):
            response = gateway.http.post(path, content=body, headers=gateway.admin)
            assert 400 <= response.status_code < 500, (path, body, response.text)


def test_metadata_of_a_key_comes_back_as_sent(gateway: Gateway) -> None:
    for name, value in corpus.VALID.items():
        body = b'{"metadata":{"value":%s}}' % value
        response = gateway.http.post("/key/generate", content=body, headers=gateway.admin)
        assert response.status_code == 200, (name, response.text)
        token = response.json()["token"]
        info = gateway.http.get("/key/info", params={"key": token}, headers=gateway.admin).json()["info"]
        assert info["metadata"]["value"] == json.loads(value), name


# ── types, models ────────────────────────────────────────────────────────────────────────────────────────


WRONG: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**30, "", "x", "\0", "\ud800", [], [None], [[]], {},
    {"a": 1}, [{"role": 1}],
]  # fmt: skip
FIELDS = [
    "model", "messages", "prompt", "input", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "n", "query", "documents", "tools", "temperature", "user", "encoding_format", "voice", "response_format",
]  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
def test_wrong_types(caller: Caller, path: str) -> None:
    for field in FIELDS:
        for value in WRONG:
            body = {**BODIES[path], field: value}
            if field == "stream" and value is True:
                continue
            response = caller.post(path, json.dumps(body).encode())
            # What the gateway does not look at is the provider's to judge; nothing is anybody's failure.
            assert response.status == 200 or 400 <= response.status < 500, (field, value, response.body)
            if response.status != 200:
                assert response.json()["error"]["message"], (field, value)
            assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "name",
    [
        "", " ", "M", "m ", " m", "m\n", "m\0", "m\r\nx-injected: 1", "../m", "m/../m", "*", "é",
        "🦀" * 200, "m" * 100_000, "\u202em", "m?status=500", '"m"', "\ud800", "%6d", "null",
    ],
)  # fmt: skip
def test_names_of_models(caller: Caller, name: str) -> None:
    for path in (CHAT, MESSAGES):
        response = caller.post(path, json.dumps({**BODIES[path], "model": name}).encode())
        check_error(response, path, {400, 404})
        assert "x-injected" not in response.headers
        assert "x-ailink-model" not in response.headers


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────


FAULTS = {**http.HOSTS, **http.LENGTHS, **http.CHUNK_FAULTS, **http.HEADS, **http.LINES}
PROBE = request("GET", "/health/live", host="probe")


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_http(gateway: Gateway, key: Key, provider: MockProvider, name: str) -> None:
    fault = FAULTS[name]
    mark = provider.mark()
    with RawConnection(gateway.port) as connection:
        connection.send(fault.data.replace(b"KEY", key.secret.encode()))
        try:
            response = connection.response()
        except ConnectionError:
            assert not fault.shaped, "an answer was due"
            assert name not in http.CHUNK_FAULTS
            return
        assert response.status in fault.statuses, response
        if response.status == 200:
            return
        if fault.shaped or name in http.CHUNK_FAULTS:
            check_error(response, CHAT, set(fault.statuses))
    assert provider.requests(mark) == []


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in http.ENDS_CERTAIN])
def test_nothing_after_a_fault_is_a_request(gateway: Gateway, key: Key, name: str) -> None:
    """What follows a request whose end is not certain must not be taken for the next one."""
    fault = FAULTS[name]
    with RawConnection(gateway.port, timeout=8) as connection:
        connection.send(fault.data.replace(b"KEY", key.secret.encode()) + PROBE)
        everything = connection.rest()
    assert b"alive" not in everything, everything
    assert everything.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize("name", http.PASSES)
def test_unusual_http(gateway: Gateway, key: Key, name: str) -> None:
    data = http.PASSES[name].replace(b"KEY", key.secret.encode())
    with RawConnection(gateway.port) as connection:
        response = connection.send(data).response()
        assert response.status == 200, response
        if name.startswith("http-1.0"):
            assert connection.rest() == b""
        else:
            assert connection.send(PROBE).response().status == 200
    # The same, byte by byte at the front: where a read ends must not matter.
    with RawConnection(gateway.port) as connection:
        for index in range(40):
            connection.send(data[index : index + 1])
        assert connection.send(data[40:]).response().status == 200


@pytest.mark.parametrize("name", http.GARBAGE)
def test_garbage(gateway: Gateway, name: str) -> None:
    fault = http.GARBAGE[name]
    with RawConnection(gateway.port) as connection:
        everything = connection.send(fault.data).rest()
    if everything.startswith(b"HTTP/1"):
        assert int(everything.split(b" ")[1][:3]) in fault.statuses


def test_pipelining(gateway: Gateway, key: Key) -> None:
    one = http.ask(http.LENGTH).replace(b"KEY", key.secret.encode())
    with RawConnection(gateway.port) as connection:
        connection.send(one * 3 + PROBE + one)
        found = [connection.response() for _ in range(5)]
    assert [response.status for response in found] == [200] * 5
    assert b"alive" in found[3].body
    assert len({response.headers["x-request-id"] for response in found}) == 5


def test_expect_continue(gateway: Gateway, key: Key) -> None:
    head, _, body = http.ask(http.LENGTH + b"expect: 100-continue\r\n").partition(b"\r\n\r\n")
    with RawConnection(gateway.port) as connection:
        connection.send(head.replace(b"KEY", key.secret.encode()) + b"\r\n\r\n")
        assert connection.some(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.send(body).response().status == 200
    with RawConnection(gateway.port) as connection:
        connection.send(head.replace(b"KEY", b"sk-nobody") + b"\r\n\r\n")
        # Refused without asking for the body.
        assert connection.some(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize(
    "path", [CHAT, MESSAGES, "/v1/audio/transcriptions", "/nothing", "/v1/models", "/key/list"]
)
def test_the_connection_after_an_early_refusal(gateway: Gateway, path: str) -> None:
    """What is refused by its head alone: the connection stays good for the next request, or the answer says
    that it ends. Most clients send head and body in two writes.
    """
    body = json.dumps(chat()).encode()
    head = request("POST", path, authorization="Bearer sk-nobody-000000", content_length=str(len(body)))
    with RawConnection(gateway.port, timeout=0.1) as connection:
        connection.send(head)
        try:
            response = connection.response()
            connection.socket.settimeout(20)
            connection.send(body)
        except TimeoutError:  # it waits for the body
            connection.socket.settimeout(20)
            response = connection.send(body).response()
        check_error(response, path, {401, 404, 405})
        if response.headers.get("connection") != "close":
            assert connection.send(PROBE).response().status == 200


def test_a_refusal_keeps_its_connection_however_the_request_came(gateway: Gateway) -> None:
    """At once, in pieces cut anywhere, with blanks behind the last value, behind other requests."""
    body = json.dumps(chat()).encode()
    head = request("POST", CHAT, authorization="Bearer sk-nobody-000000", content_length=str(len(body)))
    blanks = head[:-4] + b"   " + head[-4:]
    ways = [
        [head + body],
        [head[:40], head[40:] + body],
        [head + body[:9], body[9:]],
        [blanks + body[:-3], body[-3:]],
    ]
    with RawConnection(gateway.port) as connection:
        for pieces in ways * 2:
            for piece in pieces:
                connection.send(piece)
                time.sleep(0.01)
            response = connection.response()
            assert response.status == 401
            assert "connection" not in response.headers
        connection.send((head + body) * 3 + PROBE)
        assert [connection.response().status for _ in range(4)] == [401, 401, 401, 200]


def test_head_and_options(gateway: Gateway) -> None:
    for method in ("HEAD", "OPTIONS"):
        for path in ("/health/live", "/health/ready", CHAT, "/", "/nothing"):
            with RawConnection(gateway.port) as connection:
                response = connection.send(request(method, path)).response(head_only=method == "HEAD")
                assert response.status < 500
                assert connection.send(PROBE).response().status == 200


# ── sizes and times ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/audio/transcriptions"])
def test_a_body_that_is_too_large(gateway: Gateway, key: Key, path: str) -> None:
    bearer = f"Bearer {key.secret}"
    kind = "multipart/form-data; boundary=x" if "audio" in path else "application/json"
    head: dict[str, Any] = {"authorization": bearer, "content-type": kind}
    with RawConnection(gateway.port) as connection:
        connection.send(request("POST", path, content_length=str(BODY_LIMIT + 1), **head))
        # Said before the body is sent.
        response = connection.response()
        check_error(response, path, {413})
        assert response.headers["connection"] == "close"
    with RawConnection(gateway.port) as connection:
        connection.send(request("POST", path, transfer_encoding="chunked", **head))
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(BODY_LIMIT // 0x100000 + 2):
            connection.send(chunk)
        check_error(connection.response(), path, {413})


def test_a_large_body_for_management(gateway: Gateway) -> None:
    body = json.dumps({"metadata": {"a": "x" * 9_000_000}}).encode()
    response = gateway.http.post("/key/generate", content=body, headers=gateway.admin)
    assert response.status_code == 413, response.text
    assert response.json()["error"]["message"]


def test_a_body_of_exactly_the_limit(gateway: Gateway, key: Key) -> None:
    start = b'{"model":"yes","messages":[{}],"x":"'
    body = start + b"x" * (BODY_LIMIT - len(start) - 2) + b'"}'
    response = gateway.http.post(CHAT, content=body, headers=key.bearer)
    assert response.status_code == 200, response.text
    assert gateway.http.post(CHAT, content=body + b" ", headers=key.bearer).status_code == 413


def test_a_body_that_breaks_off(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    mark = provider.mark()
    whole = http.ask(http.LENGTH).replace(b"KEY", key.secret.encode())
    chunked = http.ask(http.CHUNKED, http.CHUNKS).replace(b"KEY", key.secret.encode())
    for data in (whole[:-1], whole[:-50], chunked[:-1], chunked[:-6], chunked[:-20]):
        for end in ("shutdown", "close", "reset"):
            with RawConnection(gateway.port) as connection:
                connection.send(data)
                if end == "shutdown":
                    connection.socket.shutdown(1)
                    rest = connection.rest()
                    assert not rest or 400 <= int(rest.split(b" ")[1]) < 500, rest
                elif end == "reset":
                    connection.reset()
    assert provider.requests(mark) == []


@pytest.fixture(scope="module")
def hasty(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with little patience."""
    limits = {"header_timeout": "300ms", "body_idle": "300ms", "keepalive_idle": "1s"}
    config = make_config(
        make_model("m", make_deployment(provider), make_deployment(provider, dialect="anthropic")),
        server={"limits": limits},
    )
    with Gateway(tmp_path_factory.mktemp("hasty"), config) as running:
        yield running


def test_a_slow_head(hasty: Gateway) -> None:
    for start in (b"G", b"GET /health/live HTTP/1.1\r\n", PROBE[:-2], b"\r\n", b"PRI * HTTP/2.0\r\n"):
        with RawConnection(hasty.port) as connection:
            everything = connection.send(start).rest()
        assert everything == b"" or everything.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")), everything


def test_a_head_that_drips(hasty: Gateway) -> None:
    """Every byte in time, the whole not."""
    with RawConnection(hasty.port) as connection:
        connection.send(b"GET /health/live HTTP/1.1\r\nhost: x\r\n")
        connection.socket.settimeout(0.1)
        data: bytes | None = None
        for _ in range(200):
            connection.send(b"x: y\r\n")
            try:
                data = connection.some()
                break
            except TimeoutError:
                continue
        assert data is not None, "the connection lives on"
        assert not data or data.startswith(b"HTTP/1.1 4")


def test_an_idle_connection(hasty: Gateway) -> None:
    with RawConnection(hasty.port) as connection:
        assert connection.rest() == b""
    with RawConnection(hasty.port) as connection:
        assert connection.send(PROBE).response().status == 200
        assert connection.rest() == b""


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/audio/transcriptions"])
def test_a_slow_body(hasty: Gateway, provider: MockProvider, path: str) -> None:
    mark = provider.mark()
    kind = "multipart/form-data; boundary=x" if "audio" in path else "application/json"
    head: dict[str, Any] = {"authorization": f"Bearer {hasty.mint().secret}", "content-type": kind}
    framings: list[dict[str, Any]] = [{"content_length": "100"}, {"transfer_encoding": "chunked"}]
    for framing in framings:
        for start in (b"", b"40\r\n{" if "transfer_encoding" in framing else b'{"model":'):
            with RawConnection(hasty.port) as connection:
                connection.send(request("POST", path, **head, **framing) + start)
                response = connection.response()
                check_error(response, path, {408})
                assert connection.rest() == b""
    assert provider.requests(mark) == []


def test_a_slow_body_for_management(hasty: Gateway) -> None:
    with RawConnection(hasty.port) as connection:
        connection.send(
            request(
                "POST", "/key/generate", authorization=f"Bearer {hasty.admin_key}", content_length="50",
                content_type="application/json",
            )
        )  # fmt: skip
        check_error(connection.response(), "/key/generate", {408})


def test_faulty_chunks_for_management(gateway: Gateway) -> None:
    for name, fault in http.CHUNK_FAULTS.items():
        data = fault.data.replace(b"/v1/chat/completions", b"/key/generate")
        with RawConnection(gateway.port) as connection:
            connection.send(data.replace(b"KEY", gateway.admin_key.encode()))
            try:
                connection.socket.shutdown(1)
                response = connection.response()
            except OSError:  # reset before or instead of an answer
                continue
            assert 400 <= response.status < 500, (name, response)


# ── HTTP/2 ───────────────────────────────────────────────────────────────────────────────────────────────


def test_http2(gateway: Gateway, key: Key) -> None:
    with httpx.Client(base_url=gateway.url, http1=False, http2=True, timeout=30) as client:
        for path in (CHAT, MESSAGES):
            for body in (b"", b"{", b"[]", b'{"a":1,"a":2}', b"[" * 100_000):
                check_error(client.post(path, content=body, headers=key.bearer), path, {400})
        check_error(client.post(CHAT, json=chat()), CHAT, {401})
        check_error(client.get("/nothing"), "/nothing", {404})
        check_error(client.get(CHAT), CHAT, {405})
        check_error(
            client.post(CHAT, headers={**key.bearer, "content-encoding": "br"}, content=b"x"), CHAT, {415}
        )
    # Each on its own connection: the gateway may close it.
    for headers in ({"x": "y" * 70_000}, {f"x-{number}": "1" for number in range(150)}):
        with httpx.Client(base_url=gateway.url, http1=False, http2=True, timeout=30) as client:
            try:
                response = client.get("/health/live", headers=headers)
            except (httpx.RemoteProtocolError, httpx.WriteError, httpx.ReadError):
                continue  # refused by ending the stream or the connection
            assert response.status_code == 431


# ── forms ────────────────────────────────────────────────────────────────────────────────────────────────


def part(head: bytes, content: bytes = b"x") -> bytes:
    return b"--B\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


MODEL = part(b'Content-Disposition: form-data; name="model"', b"m")
FILE = part(b'Content-Disposition: form-data; name="file"; filename="a.wav"', b"\0\r\n--\xff--b")
IMAGE = FILE.replace(b'"file"', b'"image"') + part(b'Content-Disposition: form-data; name="prompt"')
END = b"--B--\r\n"
FORM = "multipart/form-data; boundary=B"
BAD_FORMS: dict[str, tuple[str, bytes]] = {
    "empty": (FORM, b""),
    "no-boundary": ("multipart/form-data", MODEL + FILE + END),
    "empty-boundary": ("multipart/form-data; boundary=", MODEL + FILE + END),
    "empty-quoted-boundary": ('multipart/form-data; boundary=""', MODEL + FILE + END),
    "open-quote": ('multipart/form-data; boundary="B', MODEL + FILE + END),
    "two-boundaries": ("multipart/form-data; boundary=A; boundary=B", MODEL + FILE + END),
    "long-boundary": (f"multipart/form-data; boundary={'B' * 10_000}", MODEL + FILE + END),
    "wrong-boundary": ("multipart/form-data; boundary=C", MODEL + FILE + END),
    "not-ascii-boundary": ("multipart/form-data; boundary=\xe9", MODEL + FILE + END),
    "json": ("application/json", b'{"model":"m"}'),
    "json-in-form": (FORM, b'{"model":"m"}'),
    "form-urlencoded": ("application/x-www-form-urlencoded", b"model=m"),
    "mixed": ("multipart/mixed; boundary=B", MODEL + FILE + END),
    "no-type": ("", MODEL + FILE + END),
    # What parsers are known to read differently is refused, not guessed.
    "preamble": (FORM, b"for old readers\r\n" + MODEL + FILE + END),
    "epilogue": (FORM, MODEL + FILE + END + b"and more"),
    "lf-before-boundary": (FORM, MODEL + part(FILE[5:60].split(b"\r\n")[0], b"a\n--B\r\nb") + END),
    "no-end": (FORM, MODEL + FILE),
    "cut-end": (FORM, MODEL + FILE + b"--B-"),
    "cut-head": (FORM, MODEL + b"--B\r\nContent-Disposi"),
    "cut-content": (FORM, MODEL + FILE[:-10]),
    "lf-only": (FORM, (MODEL + END).replace(b"\r\n", b"\n")),
    "no-blank-line": (FORM, b'--B\r\nContent-Disposition: form-data; name="model"\r\nm\r\n' + END),
    "no-disposition": (FORM, part(b"Content-Type: text/plain", b"m") + END),
    "no-name": (FORM, part(b"Content-Disposition: form-data", b"m") + END),
    "no-model": (FORM, FILE + END),
    "two-models": (FORM, MODEL + part(b'Content-Disposition: form-data; name="model"', b"yes") + FILE + END),
    "model-two-names": (
        FORM,
        part(b'Content-Disposition: form-data; name="model"; name="x"', b"m") + FILE + END,
    ),
    "empty-model": (FORM, MODEL.replace(b"m\r\n", b"\r\n", 1) + FILE + END),
    "model-not-utf8": (FORM, part(b'Content-Disposition: form-data; name="model"', b"\xff\xfe") + FILE + END),
    "model-with-line": (
        FORM,
        part(b'Content-Disposition: form-data; name="model"', b"m\r\nx: 1") + FILE + END,
    ),
    "large-part-head": (FORM, part(b"X: " + b"y" * 200_000) + MODEL + FILE + END),
    "many-part-heads": (FORM, part(b"X: y\r\n" * 20_000) + MODEL + FILE + END),
    "nul-in-name": (FORM, part(b'Content-Disposition: form-data; name="mod\0el"', b"m") + FILE + END),
    "only-dashes": (FORM, b"--" * 100_000),
    "only-boundaries": (FORM, b"--B\r\n" * 20_000),
    "100000-parts": (FORM, part(b'Content-Disposition: form-data; name="a"') * 100_000 + END),
}


@pytest.mark.parametrize("path", UPLOADS)
def test_bad_forms(caller: Caller, provider: MockProvider, path: str) -> None:
    for name, (kind, body) in BAD_FORMS.items():
        response = caller.post(path, body, content_type=kind)
        assert 400 <= response.status < 500, (name, response)
        check_error(response, path)


@pytest.mark.parametrize("path", UPLOADS)
def test_good_forms(caller: Caller, provider: MockProvider, path: str) -> None:
    rest = IMAGE if "images" in path else FILE
    forms = {
        "plain": MODEL + rest + END,
        "model-last": rest + MODEL + END,
        "no-final-line": MODEL + rest + b"--B--",
        "odd-case": MODEL.replace(b"Content-Disposition", b"content-DISPOSITION") + rest + END,
        "no-quotes": MODEL.replace(b'"model"', b"model") + rest + END,
        "other-order": part(b'X: y\r\nContent-Disposition:form-data;name="model"', b"m") + rest + END,
        "path-as-name": MODEL + rest.replace(b"a.wav", b"../../etc/passwd") + END,
        "90-parts": MODEL + part(b'Content-Disposition: form-data; name="a"') * 90 + rest + END,
    }
    for name, body in forms.items():
        mark = provider.mark()
        response = caller.post(path, body, content_type=FORM)
        assert response.status == 200, (name, response)
        [seen] = provider.requests(mark)
        assert seen.body_len == len(body) + len("upstream-model") - len("m"), name
        file = next(
            iter(
                response.json().get(field)
                for field in ("mock_file", "mock_files")
                if field in response.json()
            )
        )
        assert file
    quoted = caller.post(
        path, MODEL + rest + END, content_type='multipart/form-data; charset=utf-8; boundary="B"'
    )
    assert quoted.status == 200, quoted


def test_file_content_may_look_like_a_boundary(caller: Caller, canned: CannedProvider) -> None:
    content = b"x--B\r\n --B--\r\n--A--\r\n-B\r\n--b--"
    head = b'Content-Disposition: form-data; name="file"; filename="a"'
    body = (
        MODEL.replace(b"m\r\n--", b"yes\r\n--").replace(b"\r\n\r\nm", b"\r\n\r\nyes")
        + part(head, content)
        + END
    )
    response = caller.post("/v1/audio/transcriptions", body, content_type=FORM)
    assert response.status == 200, response
    assert canned.requests["yes"][-1].partition(b"\r\n\r\n")[2] == body.replace(b"yes", b"upstream-model")


def test_json_endpoints_take_no_form(caller: Caller) -> None:
    for path in BODIES:
        check_error(caller.post(path, MODEL + FILE + END, content_type=FORM), path, {400, 415})


def test_nothing_of_this_reached_the_ledger(gateway: Gateway) -> None:
    """A refusal has no row: the ledger holds what providers saw, and only that."""
    key = gateway.mint()
    with Caller(gateway, key) as caller:
        for value in list(corpus.INVALID.values())[:50]:
            caller.post(CHAT, around(value))
    good = gateway.http.post(CHAT, json=chat(), headers=key.bearer)
    gateway.attempts_of(good.headers["x-request-id"])
    [row] = gateway.spend_logs(api_key=key.secret)
    assert row["request_id"] == good.headers["x-request-id"]
