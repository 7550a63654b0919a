"""Guardrails that tell somebody what they found: once for every verdict, signed, never the text."""

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.listening import Call, Listening, drained

MAIL = "ada@example.org"
SECRET = "whsec_c2VjcmV0"


@pytest.fixture(scope="module")
def desk() -> Iterator[Listening]:
    with Listening() as listening:
        yield listening


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, desk: Listening, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    told = {"webhook": {"url": f"{desk.url}/found?desk=1", "secret": SECRET}}
    rules: dict[str, dict[str, Any]] = {
        "only-told": {"presets": ["pii"], "scan": ["input"], "action": "webhook", **told},
        "redacted": {"presets": ["pii"], "scan": ["output"], "action": "redact", **told},
        "shadowed": {"words": ["bluebird"], "scan": ["input"], "mode": "shadow", **told},
        "checked": {"checks": [{"wordCount": {"minWords": 1, "maxWords": 3}}], "scan": ["input"], **told},
        "unheard": {
            "words": ["cuckoo"],
            "scan": ["input"],
            "action": "webhook",
            "webhook": {"url": "http://127.0.0.1:9/"},
        },
        "silent": {"words": ["magpie"], "scan": ["input"], "action": "flag"},
    }
    config = make_config(
        *(make_model(name, make_deployment(provider, "echo"), guardrails=[name]) for name in rules),
        guardrails=[{"name": name, **rule} for name, rule in rules.items()],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=key.bearer)


def told(desk: Listening) -> Call:
    """The one message that comes."""
    until(lambda: desk.calls)
    (call,) = drained(desk.calls)
    headers = call.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + call.body
    digest = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert call.path == "/found?desk=1"
    return call


def test_who_is_told_and_nothing_else_happens(gateway: Gateway, key: Key, desk: Listening) -> None:
    answer = ask(gateway, key, "only-told", f"write to {MAIL}")
    assert MAIL in answer.json()["choices"][0]["message"]["content"]
    assert "x-ailink-guardrails" not in answer.headers
    call = told(desk)
    message = call.json()
    assert message.pop("time_us") > 0
    assert message == {
        "type": "guardrail.matched",
        "guardrail": "only-told",
        "found": "EMAIL",
        "action": "log",
        "shadow": False,
        "side": "input",
        "place": "messages[0].content",
        "matches": 1,
        "request_id": answer.headers["x-ailink-request-id"],
        "model": "only-told",
        "key_id": key.id,
    }
    assert MAIL.encode() not in call.body


def test_streams_are_told_once(gateway: Gateway, key: Key, desk: Listening) -> None:
    answer = ask(gateway, key, "redacted", f"{MAIL} and {MAIL}", stream=True)
    assert MAIL not in answer.text
    message = told(desk).json()
    assert (message["guardrail"], message["action"], message["side"]) == ("redacted", "redact", "output")


def test_shadows_and_checks_are_told(gateway: Gateway, key: Key, desk: Listening) -> None:
    assert ask(gateway, key, "shadowed", "a bluebird").status_code == 200
    message = told(desk).json()
    assert (message["guardrail"], message["shadow"]) == ("shadowed", True)
    assert ask(gateway, key, "checked", "one two three four five").status_code == 400
    message = told(desk).json()
    assert (message["guardrail"], message["action"], message["shadow"]) == ("checked", "block", False)


def test_what_finds_nothing_tells_nobody(gateway: Gateway, key: Key, desk: Listening) -> None:
    for model, text in (("only-told", "nothing"), ("silent", "a magpie")):
        assert ask(gateway, key, model, text).status_code == 200
    # A message that does come shows that none came before it.
    ask(gateway, key, "only-told", MAIL)
    assert told(desk).json()["guardrail"] == "only-told"


def test_a_desk_that_is_gone_harms_nothing(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, "unheard", "a cuckoo").status_code == 200
    until(lambda: "the webhook http://127.0.0.1:9/ of a guardrail failed" in gateway.log)
