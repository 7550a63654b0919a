"""What goes wrong at a provider, in every dialect: typed, told in the caller's shape, without a secret."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx
import pytest
from tests.dialects import DIALECTS, Ask
from tests.harness import Gateway, Key, MockProvider, make_config, make_model

SECRET = "sk-provider-0123456789abcdef"
BROKEN = {
    "garbage": "body=garbage",
    "truncated": "body=truncated",
    "empty": "body=empty",
    "html": "body=html",
    "bomb": "body=bomb",
    "reset": "reset_at_byte=20",
    "short": "close_at_byte=20",
}
REFUSED = {
    "unauthorized": f"status=401;error_message=Incorrect key {SECRET} given",
    "forbidden": f"status=403;error_message=key {SECRET} may not do this",
    "page": "status=503;body=html",
    "packed": "status=400;gzip;error_message=no such thing",
}
INSIDE = {
    "cut": "close_at_event=2",
    "reset": "reset_at_event=2",
    "garbage": "garbage_at_event=2",
    "told": "error_at_event=2;error_message=too much",
}
CLIENTS = ("chat", "messages")
"""Two clients are enough beside each provider's own: the matrix has all pairs."""
PAIRS = [pair for pair in product(DIALECTS, DIALECTS) if pair[0] in (*CLIENTS, pair[1])]
NAMES = ["-to-".join(pair) for pair in PAIRS]
pairs = pytest.mark.parametrize(("client", "provider"), PAIRS, ids=NAMES)


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("mock")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(mock: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(provider: str, script: str) -> dict[str, Any]:
        settings = DIALECTS[provider].deployment
        root = f"{mock.url}/v1" if settings["provider"] == "openai_compatible" else mock.url
        return {**settings, "base_url": root, "model": f"{settings.get('model', 'upstream')}?{script}"}

    scripts = {**{f"whole-{name}": script for name, script in BROKEN.items()}, **REFUSED}
    scripts |= {f"inside-{name}": script for name, script in INSIDE.items()}
    models = [
        make_model(f"{provider}-{name}", at(provider, script))
        for provider in DIALECTS
        for name, script in scripts.items()
    ]
    with Gateway(tmp_path_factory.mktemp("gateway"), make_config(*models)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="faults")


def send(gateway: Gateway, key: Key, client: str, model: str, *, stream: bool = False) -> httpx.Response:
    dialect = DIALECTS[client]
    body = dialect.write(Ask(stream=stream), model)
    return gateway.http.post(dialect.path(model, stream), json=body, headers=key.bearer)


@pairs
@pytest.mark.parametrize("fault", BROKEN)
def test_broken_answers_are_a_502(gateway: Gateway, key: Key, client: str, provider: str, fault: str) -> None:
    answer = send(gateway, key, client, f"{provider}-whole-{fault}")
    assert answer.status_code == 502, answer.text
    message = DIALECTS[client].read_error(answer)
    assert "provider" in message.lower()
    assert "<html" not in message
    (row,) = gateway.attempts_of(answer.headers["x-ailink-request-id"])
    assert row["status"] != "success"


@pairs
@pytest.mark.parametrize("fault", INSIDE)
def test_streams_that_break_are_told_so(
    gateway: Gateway, key: Key, client: str, provider: str, fault: str
) -> None:
    if client == provider and fault == "garbage":
        pytest.skip("bytes of the same format pass as they are")
    answer = send(gateway, key, client, f"{provider}-inside-{fault}", stream=True)
    assert answer.status_code == 200
    told = DIALECTS[client].read_stream(answer.content)
    assert told.error, answer.text
    assert fault != "told" or told.error == "too much"


@pairs
@pytest.mark.parametrize(("fault", "status"), [("unauthorized", 401), ("forbidden", 403)])
def test_a_refused_credential_is_not_the_callers(
    gateway: Gateway, key: Key, client: str, provider: str, fault: str, status: int
) -> None:
    answer = send(gateway, key, client, f"{provider}-{fault}")
    assert answer.status_code == status
    assert SECRET not in answer.text
    assert SECRET[:8] not in answer.text
    assert "refuses" in DIALECTS[client].read_error(answer)
    if client == "chat":
        assert answer.json()["error"]["type"] == "upstream_auth"


@pairs
def test_pages_and_packed_errors_are_read(gateway: Gateway, key: Key, client: str, provider: str) -> None:
    answer = send(gateway, key, client, f"{provider}-page")
    assert answer.status_code == 503
    assert "HTML" in DIALECTS[client].read_error(answer)
    answer = send(gateway, key, client, f"{provider}-packed")
    assert (answer.status_code, DIALECTS[client].read_error(answer)) == (400, "no such thing")


UNSUPPORTED = {
    "n": ("chat", {"n": 2}, {"messages", "responses", "cohere", "converse"}),
    "audio": (
        "chat",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}],
                }
            ]
        },
        {"messages", "responses", "cohere"},
    ),
    "image_url": (
        "chat",
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/i.png"}}]}
            ]
        },
        {"converse"},
    ),
    "file_id": (
        "chat",
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        set(DIALECTS) - {"chat", "cohere"},
    ),
    "hosted_tools": (
        "messages",
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        set(DIALECTS) - {"messages"},
    ),
}
CASES = [
    (feature, provider)
    for feature, (_, _, providers) in UNSUPPORTED.items()
    for provider in sorted(providers)
]


@pytest.mark.parametrize(("feature", "provider"), CASES, ids=["-".join(case) for case in CASES])
def test_what_a_provider_cannot_do_is_refused_by_name(
    gateway: Gateway, key: Key, mock: MockProvider, feature: str, provider: str
) -> None:
    client, members, _ = UNSUPPORTED[feature]
    dialect, model, mark = DIALECTS[client], f"{provider}-packed", mock.mark()
    body = dialect.write(Ask(), model) | members
    answer = gateway.http.post(dialect.path(model, False), json=body, headers=key.bearer)
    message = dialect.read_error(answer)
    assert answer.status_code == 400
    assert f"('{feature}')" in message
    assert DIALECTS[provider].deployment["provider"] in message
    assert "Instead: " in message
    assert mock.mark() == mark, "nothing was sent"
