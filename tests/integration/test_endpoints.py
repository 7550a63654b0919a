"""Every row of the endpoint table over the wire, with every form of key; other listeners; health, metrics."""

import asyncio
import re
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)
from tests.harness.certificates import write_pair

from ailink import _core

ROWS = _core.endpoints()
# A simulated decision asks nobody; sessions have tests of their own (test_realtime.py, test_live.py).
PLANE = [
    row
    for row in ROWS
    if row[2] == "plane"
    and row[3]
    not in {"models", "health", "realtime", "bidi_generate_content", "stored", "turns", "approvals", "ended"}
    and not row[1].startswith("/routing")
]
UPLOADS = {"images_edits", "images_variations", "audio_transcriptions", "audio_translations"}
ENVELOPE = {"anthropic_version": "bedrock-2023-05-31", **message()}
TURN = {"messages": [{"role": "user", "content": [{"text": "x"}]}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
KEY_FORMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "bearer": lambda key: {"headers": {"Authorization": f"Bearer {key}"}},
    "x-api-key": lambda key: {"headers": {"x-api-key": key}},
    "api-key": lambda key: {"headers": {"api-key": key}},
    "x-goog-api-key": lambda key: {"headers": {"x-goog-api-key": key}},
    "query": lambda key: {"params": {"key": key}},
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    both = [
        make_deployment(provider, model="up"),
        make_deployment(provider, model="up", dialect="anthropic"),
        make_deployment(provider, model="up", dialect="gemini"),
        make_deployment(provider, model="up", dialect="cohere"),
        make_deployment(provider, model="up", dialect="bedrock"),
    ]
    config = make_config(
        make_model("m", *both),
        make_model("org/team model", *both, aliases=["short"]),
        make_model("secret", *both),
        routing={"translation": "never"},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(models=["m", "org/*"])


def request_of(operation: str, model: str | None = "m") -> dict[str, Any]:
    """A good request of an operation, as arguments for httpx."""
    named = {} if model is None else {"model": model}
    if operation in UPLOADS:
        name = "image" if operation.startswith("images") else "file"
        data = {**named, "prompt": "x"}
        return {"data": data, "files": {name: ("a.bin", b"\x00\r\n\xff" * 50)}}
    bodies: dict[str, dict[str, Any]] = {
        "chat": chat(),
        "completions": {"prompt": "x"},
        "fim": {"prompt": "x", "suffix": "y"},
        "embeddings": {"input": "x", "dimensions": 2},
        "responses": {"input": "x"},
        "responses_input_tokens": {"input": "x"},
        "moderations": {"input": "x"},
        "images_generations": {"prompt": "x"},
        "audio_speech": {"input": "x", "voice": "alloy"},
        "rerank": {"query": "x", "documents": ["a", "b"]},
        "messages": message(),
        "count_tokens": {"messages": [{"role": "user", "content": "x"}]},
        **dict.fromkeys(("generate_content", "stream_generate_content", "gemini_count_tokens"), CONTENTS),
        **dict.fromkeys(("converse", "converse_stream"), TURN),
        **dict.fromkeys(("invoke", "invoke_stream"), ENVELOPE),
        "cohere_chat": {"messages": [{"role": "user", "content": "x"}]},
        "cohere_embed": {"texts": ["x"], "input_type": "search_query"},
        "embed_content": {"content": CONTENTS["contents"][0]},
        "batch_embed_contents": {"requests": [{"model": "models/m", "content": CONTENTS["contents"][0]}]},
    }
    body = {name: value for name, value in bodies[operation].items() if name != "model"}
    return {"json": {**body, **named}}


def placed(pattern: str, model: str) -> str:
    """A path of the pattern."""
    concrete = pattern.replace("{project}", "p").replace("{region}", "r")
    return concrete.replace("{model}", model).replace("{rest}", model)


def is_error(response: httpx.Response, dialect: str = "openai") -> bool:
    """Has it the shape of the dialect's errors, with a message, and a request id in its head?"""
    body = response.json()
    if dialect == "gemini":
        error = (body[0] if isinstance(body, list) else body)["error"]
        return bool(error["message"]) and error["code"] == response.status_code and bool(error["status"])
    if dialect == "bedrock":
        return set(body) == {"message"} and bool(body["message"]) and "x-amzn-errortype" in response.headers
    if dialect == "cohere":
        return bool(body["message"]) and body["id"] == response.headers["x-request-id"]
    shaped = bool(body["error"]["message"] and body["error"]["type"])
    if dialect == "anthropic":
        shaped = shaped and body["type"] == "error" and body["request_id"] == response.headers["x-request-id"]
    else:
        shaped = shaped and "type" not in body and set(body["error"]) == {"message", "type", "param", "code"}
    return shaped and response.headers["x-request-id"].startswith("req_")


def dialect_of(operation: str) -> str:
    if operation in {"messages", "count_tokens"}:
        return "anthropic"
    if operation.startswith("cohere"):
        return "cohere"
    if operation.startswith(("converse", "invoke")):
        return "bedrock"
    return "gemini" if "content" in operation or "gemini" in operation else "openai"


def dialect_of_path(path: str) -> str:
    """Whose shape the errors of a path have, whatever is asked there."""
    if "messages" in path or "anthropic" in path:
        return "anthropic"
    if path.startswith(("/model/{model}", "/bedrock/")):
        return "bedrock"
    if path.startswith(("/v2/chat", "/v2/embed", "/cohere/")):
        return "cohere"
    google = path.startswith(("/gemini/", "/v1beta/models", "/ws/google.")) or "publishers/google" in path
    return "gemini" if google else "openai"


# ── the data plane's rows ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("row", PLANE, ids=[row[1] for row in PLANE])
def test_a_row(gateway: Gateway, key: Key, provider: MockProvider, row: tuple[str, str, str, str]) -> None:
    method, pattern, _, operation = row
    in_path = "{model}" in pattern or "{rest}" in pattern
    path = placed(pattern, "m")
    mark = provider.mark()
    for name, form in KEY_FORMS.items():
        answer = gateway.http.request(
            method, path, **request_of(operation, None if in_path else "m"), **form(key.secret)
        )
        assert answer.status_code == 200, (name, answer.text)
        assert answer.headers["x-ailink-model"] == "m"
        assert answer.headers["x-request-id"].startswith("req_")
    seen = provider.requests(mark)
    assert len(seen) == len(KEY_FORMS)
    # One path upstream, whatever the alias; the key stays here in every form.
    assert len({one.path for one in seen}) == 1
    assert key.secret not in str(seen)
    refused = gateway.http.request(method, path, **request_of(operation))
    assert refused.status_code == 401
    assert is_error(refused, dialect_of(operation))
    wrong = gateway.http.request(
        method, path, **request_of(operation), headers={"Authorization": "Bearer sk-unknown-key-000000"}
    )
    assert wrong.status_code == 401
    assert is_error(wrong, dialect_of(operation))
    assert provider.requests(seen[-1].number) == []


@pytest.mark.parametrize(
    "pattern", [row[1] for row in PLANE if "{model}" in row[1]], ids=lambda pattern: str(pattern)
)
def test_a_model_in_the_path(gateway: Gateway, key: Key, provider: MockProvider, pattern: str) -> None:
    operation = next(row[3] for row in PLANE if row[1] == pattern)
    mark = provider.mark()
    path = pattern.replace("{model}", "org%2Fteam%20model")
    answer = gateway.http.post(path, **request_of(operation, None), headers=key.bearer)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ailink-model"] == "org/team model"
    # The path wins over the body, as it does at Azure; Bedrock's bodies name no model.
    named = None if operation.startswith(("converse", "invoke")) else "secret"
    answer = gateway.http.post(
        pattern.replace("{model}", "m"), **request_of(operation, named), headers=key.bearer
    )
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "m")
    for seen in provider.requests(mark):
        assert named is None or '"up"' in (seen.body or '"up"')
        assert "secret" not in (seen.body or "")
    unknown = gateway.http.post(
        pattern.replace("{model}", "nothing"), **request_of(operation), headers=key.bearer
    )
    assert unknown.status_code == 404
    assert is_error(unknown, dialect_of(operation))


def wrong_methods(path: str) -> tuple[str, set[str], set[str]]:
    """A concrete path, the methods it takes, and some it does not."""
    concrete = placed(path, "x")
    taken = {
        row[0] for row in ROWS if re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(row[1])), concrete)
    }
    return concrete, taken, {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"} - taken


@pytest.mark.parametrize("path", sorted({row[1] for row in ROWS}))
def test_other_methods(gateway: Gateway, path: str) -> None:
    concrete, _, others = wrong_methods(path)
    for method in others:
        answer = gateway.http.request(method, concrete)
        assert answer.status_code == 405, (method, answer.text)
        assert is_error(answer, dialect_of_path(path))


def test_other_methods_are_told_the_right_ones(gateway: Gateway) -> None:
    """RFC 9110, 15.5.6: an answer 405 must have `Allow`."""
    silent = []
    for path in sorted({row[1] for row in ROWS}):
        concrete, taken, others = wrong_methods(path)
        answer = gateway.http.request(min(others), concrete)
        allowed = {name.strip() for name in answer.headers.get("allow", "").split(",")}
        if not taken <= allowed:
            silent.append((path, answer.headers.get("allow")))
    assert silent == []


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions/", "//v1/chat/completions",
        "/v1//chat/completions", "/V1/chat/completions", "/v1/chat/completions/x", "/openai/deployments",
        "/openai/deployments//chat/completions", "/openai/deployments/a/b/chat/completions",
        "/v1/chat%2Fcompletions", "/key", "/keys/generate", "/metrics/x",
        "/.env", "/%00", "/" + "a" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_in_the_table(gateway: Gateway, key: Key, path: str) -> None:
    for method in ("GET", "POST"):
        answer = gateway.http.request(method, httpx.URL(gateway.url).copy_with(raw_path=path.encode()))
        assert answer.status_code == 404, answer.text
        assert is_error(answer)
        assert len(answer.text) < 1000


def test_unknown_paths_answer_anthropic_callers_in_their_shape(gateway: Gateway) -> None:
    answer = gateway.http.get("/v1/nothing", headers={"anthropic-version": "2023-06-01"})
    assert answer.status_code == 404
    assert is_error(answer, "anthropic")


@pytest.mark.parametrize("path", ["/%zz", "/openai/deployments/%ff/chat/completions"])
def test_broken_escapes(gateway: Gateway, key: Key, path: str) -> None:
    url = httpx.URL(gateway.url).copy_with(raw_path=path.encode())
    answer = gateway.http.post(url, json=chat(), headers=key.bearer)
    assert answer.status_code in {400, 404}
    assert is_error(answer)


# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────


def listed(answer: httpx.Response) -> list[str]:
    """The names in a list of models, OpenAI's or Google's."""
    body = answer.json()
    if "models" in body:
        return [model["name"].removeprefix("models/") for model in body["models"]]
    return [model["id"] for model in body["data"]]


@pytest.mark.parametrize("path", [row[1] for row in ROWS if row[3] == "models" and "{" not in row[1]])
def test_models_are_those_of_the_key(gateway: Gateway, key: Key, path: str) -> None:
    for form in KEY_FORMS.values():
        answer = gateway.http.get(path, **form(key.secret))
        assert listed(answer) == ["m", "org/team model", "short"]
        assert answer.headers["x-request-id"].startswith("req_")
    everything = gateway.http.get(path, headers=gateway.admin)
    assert set(listed(everything)) == {"m", "org/team model", "short", "secret"}
    refused = gateway.http.get(path)
    assert refused.status_code == 401
    assert is_error(refused, dialect_of_path(path))


@pytest.mark.parametrize("path", [row[1] for row in ROWS if row[3] == "models" and "{rest}" in row[1]])
def test_one_model(gateway: Gateway, key: Key, path: str) -> None:
    for name in ("m", "org/team%20model", "org%2Fteam%20model", "short"):
        answer = gateway.http.get(path.replace("{rest}", name), headers=key.bearer)
        assert answer.status_code == 200, (name, answer.text)
    hidden = gateway.http.get(path.replace("{rest}", "secret"), headers=key.bearer)
    missing = gateway.http.get(path.replace("{rest}", "zzzzzz"), headers=key.bearer)
    assert (hidden.status_code, missing.status_code) == (404, 404)
    # A model of others answers as one that does not exist.
    told = [re.sub(r"req_\w+", "", answer.text) for answer in (hidden, missing)]
    assert told[0].replace("secret", "zzzzzz") == told[1]
    assert is_error(hidden, dialect_of_path(path))


def test_models_respect_the_address_list(gateway: Gateway) -> None:
    elsewhere = gateway.mint(allowed_ips=["10.1.2.0/24"])
    answer = gateway.http.get("/v1/models", headers=elsewhere.bearer)
    assert answer.status_code == 403
    assert is_error(answer)


def test_embedded_default(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        key = gateway.mint()
        body = gateway.http.post("/v1/chat/completions", json=chat("mock"), headers=key.bearer)
        assert body.json()["choices"][0]["message"]["content"]
        stream = gateway.http.post("/v1/chat/completions", json=chat("mock", stream=True), headers=key.bearer)
        assert events_of(stream.content)[-1].done
        answer = gateway.http.post("/v1/messages", json=message("mock"), headers=key.bearer)
        assert answer.json()["content"][0]["text"]
        assert gateway.call("/v1/models")["data"][0]["id"] == "mock"
        assert "X-Api-Key" not in gateway.log
        assert key.secret not in gateway.log
        assert gateway.admin_key not in gateway.log


# ── the shell's rows ────────────────────────────────────────────────────────────────────────────────────────


SHELL_REQUESTS: dict[tuple[str, str], tuple[str, Any]] = {
    ("GET", "/"): ("/", None),
    ("GET", "/docs"): ("/docs", None),
    ("GET", "/docs/{rest}"): ("/docs/docs.js", None),
    ("GET", "/openapi.json"): ("/openapi.json", None),
    ("GET", "/metrics"): ("/metrics", None),
    ("GET", "/health/readiness/details"): ("/health/readiness/details", None),
    ("GET", "/key/{rest}"): ("/key/list", None),
    ("POST", "/key/{rest}"): ("/key/generate", {}),
    ("GET", "/model/info"): ("/model/info", None),
    ("GET", "/v1/model/info"): ("/v1/model/info", None),
    ("GET", "/spend/{rest}"): ("/spend/logs", None),
    ("GET", "/global/{rest}"): ("/global/spend", None),
    ("GET", "/policies"): ("/policies", None),
    ("GET", "/policies/{rest}"): ("/policies/report", None),
    ("POST", "/policies/{rest}"): ("/policies/simulate", {"request": {"body": {"model": "m"}}}),
    ("PUT", "/policies/{rest}"): ("/policies/p", {"policy": {"then": [{"log": {}}]}}),
    ("DELETE", "/policies/{rest}"): ("/policies/p", None),
    ("GET", "/credentials"): ("/credentials", None),
    ("POST", "/credentials"): (
        "/credentials",
        {"credential_name": "c", "credential_values": {"api_key": "sk-upstream-secret"}},
    ),
    ("GET", "/credentials/{rest}"): ("/credentials/by_name/c", None),
    ("PATCH", "/credentials/{rest}"): ("/credentials/c", {"credential_info": {"a": 1}}),
    ("DELETE", "/credentials/{rest}"): ("/credentials/c", None),
}
OPEN = {"/", "/docs", "/docs/docs.js", "/openapi.json", "/metrics"}


def test_every_row_of_the_shell(gateway: Gateway, key: Key) -> None:
    shell = [(method, pattern) for method, pattern, owner, _ in ROWS if owner == "shell"]
    assert set(SHELL_REQUESTS) <= set(shell)
    for method, pattern in set(shell) - set(SHELL_REQUESTS):
        path = placed(pattern, "x")
        stranger = gateway.http.request(method, path, json={} if method in {"POST", "PUT", "PATCH"} else None)
        assert stranger.status_code in {401, 404, 405}, (method, path, stranger.text)
        assert is_error(stranger), (method, path)
    order = sorted(SHELL_REQUESTS, key=lambda row: row[0] == "DELETE")
    for row in order:
        path, body = SHELL_REQUESTS[row]
        answer = gateway.http.request(row[0], path, json=body, headers=gateway.admin)
        assert answer.status_code == 200, (row, answer.text)
        assert answer.headers["x-request-id"].startswith("req_")
        assert "sk-upstream-secret" not in answer.text
        stranger = gateway.http.request(row[0], path, json=body)
        user = gateway.http.request(row[0], path, json=body, headers=key.bearer)
        if path in OPEN:
            assert (stranger.status_code, user.status_code) == (200, 200), row
        else:
            assert stranger.status_code == 401, row
            assert is_error(stranger)
            assert user.status_code == (200 if "/model/info" in path else 403), row


@pytest.mark.parametrize("form", KEY_FORMS)
def test_management_takes_every_form_of_the_key(gateway: Gateway, form: str) -> None:
    answer = gateway.http.post("/key/generate", json={}, **KEY_FORMS[form](gateway.admin_key))
    assert answer.status_code == 200, answer.text
    assert answer.json()["key"].startswith("sk-")


def test_a_parameter_that_is_none_is_refused(gateway: Gateway, key: Key) -> None:
    """A report of everything must not look like one of a part."""
    for name, near in (("key", "key_id"), ("modle", "model"), ("until", None)):
        answer = gateway.http.get("/v1/spend", params={name: key.id}, headers=gateway.admin)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("unknown_parameter", name)
        assert (f"did you mean `{near}`?" in error["message"]) == (near is not None)
        assert all(f"`{known}`" in error["message"] for known in ("group_by", "from", "to", "key_id"))
    plain = gateway.http.get("/credentials", params={"page": "2"}, headers=gateway.admin)
    assert (plain.status_code, plain.json()["error"]["param"]) == (400, "page")
    # Who presents his key in it does not ask for a filter.
    for path in ("/v1/spend", "/credentials"):
        assert gateway.http.get(path, params={"key": gateway.admin_key}).status_code == 200
    for headers in (gateway.admin, {}):
        info = gateway.http.get("/key/info", params={"key": key.secret}, headers=headers)
        assert info.json()["info"]["key_id"] == key.id, info.text


def test_identity_cannot_be_forged(gateway: Gateway, key: Key) -> None:
    forged = {"x-ailink-role": "admin", "x-ailink-key-id": "master", "X-AILink-Client-IP": "127.0.0.1"}
    assert gateway.http.get("/key/list", headers=forged).status_code == 401
    assert gateway.http.get("/key/list", headers={**forged, **key.bearer}).status_code == 403


def test_the_documentation_needs_nobody_else(gateway: Gateway) -> None:
    page = gateway.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//", page.text)
    description = gateway.http.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    assert {"/key/generate", "/v1/chat/completions", "/v1/messages"} <= set(description["paths"])


# ── health, metrics ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [row[1] for row in ROWS if row[3] == "health"])
def test_health_needs_no_key(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    answer.json()
    # A bad key is nothing to health.
    assert gateway.http.get(path, headers={"Authorization": "Bearer sk-bad"}).status_code == 200


def test_readiness_tells_the_configuration(gateway: Gateway) -> None:
    details = gateway.http.get("/health/ready").json()["details"]["config"]
    assert details["errors"] == []
    assert details["version"] >= 1


def test_metrics(gateway: Gateway, key: Key) -> None:
    before = gateway.metrics()
    gateway.http.post("/v1/chat/completions", json=chat(), headers=key.bearer)
    gateway.http.post("/v1/chat/completions", json=chat("nothing"), headers=key.bearer)
    for number in range(50):
        gateway.http.get(f"/no-such-path-{number}", headers=key.bearer)
    text = gateway.http.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    names = set(families)
    assert any("overhead" in name for name in names)
    assert {"ailink_panics"} <= names
    assert {"process_resident_memory_bytes", "process_open_fds"} <= names
    after = gateway.metrics()
    grown = {series: value - before.get(series, 0) for series, value in after.items()}
    requests = {
        series: value for series, value in grown.items() if series.startswith("ailink_requests_total")
    }
    assert sum(requests.values()) == 2, requests
    # Paths, keys and models of callers do not become labels.
    assert "no-such-path" not in text
    assert key.secret not in text
    assert len(set(after) - set(before)) < 40
    assert after["ailink_panics_total"] == 0


# ── other listeners ─────────────────────────────────────────────────────────────────────────────────────────


def test_http2_by_prior_knowledge(gateway: Gateway, key: Key) -> None:
    with httpx.Client(base_url=gateway.url, http1=False, http2=True, timeout=30) as client:
        answer = client.post("/v1/chat/completions", json=chat(), headers=key.bearer)
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
        assert answer.headers["x-request-id"].startswith("req_")
        stream = client.post("/v1/chat/completions", json=chat(stream=True), headers=key.bearer)
        events = events_of(stream.content)
        assert events[-1].done
        assert all(event.json()["choices"] for event in events[:-1])
        # Larger than every window on the way.
        large = client.post("/v1/chat/completions", json=chat(text="x" * 3_000_000), headers=key.bearer)
        assert large.status_code == 200, large.text[:300]
        assert client.get("/nothing").status_code == 404
        assert client.get("/v1/models", headers=key.bearer).status_code == 200
        assert client.get("/key/info", headers=key.bearer).status_code == 200
        assert client.post("/v1/chat/completions", content=b"{", headers=key.bearer).status_code == 400


async def test_http2_streams_side_by_side(gateway: Gateway, key: Key) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, http1=False, http2=True, timeout=30) as client:

        async def ask(number: int) -> int:
            body = chat(text="x" * 700 * number, stream=number % 2 == 0)
            answer = await client.post("/v1/chat/completions", json=body, headers=key.bearer)
            return answer.status_code

        assert await asyncio.gather(*(ask(number) for number in range(60))) == [200] * 60


@pytest.fixture
def secure(provider: MockProvider, tmp_path: Path) -> Iterator[tuple[Gateway, Path]]:
    certificate, private = write_pair(tmp_path, "first")
    config = make_config(
        make_model("m", make_deployment(provider)),
        server={"tls": {"cert_file": str(certificate), "key_file": str(private)}},
    )
    gateway = Gateway(tmp_path / "gateway", config)
    gateway.http.close()
    gateway.url = f"https://127.0.0.1:{gateway.port}"
    gateway.http = httpx.Client(base_url=gateway.url, verify=False, timeout=30)
    with gateway:
        yield gateway, tmp_path


def served_certificate(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain) as connection:
            found = connection.getpeercert(binary_form=True)
    assert found is not None
    return found


def test_tls(secure: tuple[Gateway, Path]) -> None:
    gateway, directory = secure
    context = ssl.create_default_context(cafile=str(directory / "tls.crt"))
    key = gateway.mint()
    for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
        with httpx.Client(base_url=gateway.url, verify=context, http2=http2, timeout=30) as client:
            answer = client.post("/v1/chat/completions", json=chat(), headers=key.bearer)
            assert (answer.status_code, answer.http_version) == (200, version)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{gateway.port}/health/live", timeout=10)
    first = served_certificate(gateway.port)
    write_pair(directory, "second")
    gateway.child.signal(signal.SIGHUP)
    until(lambda: served_certificate(gateway.port) != first, "the new certificate is served")
    second = served_certificate(gateway.port)
    # A pair that does not fit together is refused, the one in use stays.
    (directory / "tls.key").write_text("nonsense")
    gateway.child.signal(signal.SIGHUP)
    until(lambda: "former certificates stay" in gateway.log, "the bad pair is reported")
    assert served_certificate(gateway.port) == second
    assert gateway.is_ready()


def test_tls_versions(secure: tuple[Gateway, Path]) -> None:
    gateway, directory = secure
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=str(directory / "tls.crt"))
        context.minimum_version = context.maximum_version = version
        with httpx.Client(base_url=gateway.url, verify=context) as client:
            assert client.get("/health/live").status_code == 200


def test_a_unix_socket_alone(provider: MockProvider, tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    config = make_config(make_model("m", make_deployment(provider)), server={"port": None, "uds": str(path)})
    with Gateway(tmp_path / "gateway", config, uds=path) as gateway:
        key = gateway.mint()
        answer = gateway.http.post("/v1/chat/completions", json=chat(), headers=key.bearer)
        assert answer.status_code == 200
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
        gateway.stop()
        assert not path.exists()
        gateway.start()
        assert gateway.http.get("/v1/models", headers=key.bearer).json()["data"]


def test_a_unix_socket_beside_tcp(provider: MockProvider, tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    config = make_config(make_model("m", make_deployment(provider)), server={"uds": str(path)})
    with Gateway(tmp_path / "gateway", config) as gateway:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://local") as client:
            assert client.get("/health/ready").status_code == 200
        assert gateway.http.get("/health/ready").status_code == 200
