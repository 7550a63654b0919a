"""Guardrails over HTTP: what is found, where, what is done about it, and that nothing gets around them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
    write_config,
)

CARD = "4111 1111 1111 1111"
RULES = [
    {"name": "pii", "presets": ["pii"], "scan": ["input", "output"], "action": "redact"},
    {"name": "masked", "presets": ["cards"], "scan": ["input", "output"], "action": "mask"},
    {"name": "no-secrets", "presets": ["secrets"], "scan": ["input"], "action": "block"},
    {"name": "codeword", "words": ["bluebird"], "scan": ["input", "output"], "action": "block"},
    {"name": "held", "words": ["bluebird"], "scan": ["output"], "action": "block", "stream": "hold"},
    {
        "name": "watched",
        "words": ["bluebird"],
        "scan": ["input", "output"],
        "action": "block",
        "mode": "shadow",
    },
    {
        "name": "seen-through",
        "words": ["bluebird"],
        "scan": ["input", "output"],
        "action": "redact",
        "normalise": ["spacing", "base64", "hex"],
    },
    {"name": "told", "patterns": ["proj-[0-9]+"], "scan": ["input"], "action": "flag"},
]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, script: str = "", *rules: str, **settings: Any) -> dict[str, Any]:
        return make_model(
            name,
            make_deployment(provider, script, model=name),
            make_deployment(provider, script, model=name, dialect="anthropic"),
            guardrails=list(rules),
            **settings,
        )

    config = make_config(
        at("free"),
        at("pii", "", "pii"),
        at("masked", "", "masked"),
        at("secrets", "", "no-secrets"),
        at("shadow", "text=the bluebird sings", "watched"),
        at("told", "", "told"),
        at("says-card", f"text=pay with {CARD} today please", "pii"),
        at("says-masked", f"text=pay with {CARD} today please", "masked"),
        at("says-word", "text=see the bluebird over there now", "codeword"),
        at("says-held", "text=see the bluebird over there now", "held"),
        at("seen-through", "", "seen-through"),
        at("says-apart", "text=see the b l u e b i r d over there", "seen-through"),
        at("says-base64", "text=see the Ymx1ZWJpcmQgb3ZlciB0aGVyZQ== there", "seen-through"),
        at("says-nothing", "text=see the bird over there now", "codeword"),
        guardrails=RULES,
    )
    with Gateway(tmp_path_factory.mktemp("guardrails"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway, key: Key, body: dict[str, Any], path: str = "/v1/chat/completions"
) -> httpx.Response:
    return gateway.http.post(path, json=body, headers={**key.bearer, "x-api-key": key.secret})


def heard(provider: MockProvider, mark: int) -> str:
    """The text of the one message that a provider of either dialect got."""
    (seen,) = provider.requests(mark)
    content = seen.json()["messages"][0]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


def streamed(gateway: Gateway, key: Key, model: str, path: str = "/v1/chat/completions") -> tuple[str, str]:
    """The text of a stream, and all of its bytes."""
    body = message(model, stream=True) if "messages" in path else chat(model, stream=True)
    raw = ask(gateway, key, body, path).text
    text = ""
    for line in raw.splitlines():
        if line.startswith("data: {"):
            event = json.loads(line[6:])
            delta = event.get("delta") or (event.get("choices") or [{}])[0].get("delta") or {}
            text += delta.get("content") or delta.get("text") or ""
    return text, raw


def test_a_secret_is_blocked_and_nothing_is_sent_or_billed(
    gateway: Gateway, key: Key, provider: MockProvider
):
    mark = provider.mark()
    body = {
        "model": "secrets",
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "user", "content": [{"type": "text", "text": "my key is AKIAIOSFODNN7EXAMPLE ok"}]},
        ],
    }
    refused = ask(gateway, key, body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "content_policy_violation"
    assert error["param"] == "messages[1].content[0].text"
    assert "no-secrets" in error["message"]
    assert "AWS_ACCESS_KEY_ID" in error["message"]
    assert "AKIA" not in refused.text
    assert refused.headers["x-ailink-guardrails"] == "no-secrets;input=block"
    assert provider.requests(mark) == []
    assert gateway.spend_logs(request_id=refused.headers["x-request-id"]) == []


def test_a_refusal_in_the_dialect_of_anthropic(gateway: Gateway, key: Key):
    refused = ask(gateway, key, message("secrets", "AKIAIOSFODNN7EXAMPLE"), "/v1/messages")
    assert refused.status_code == 400
    assert refused.json()["type"] == "error"
    assert "messages[0].content" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "place",
    [
        {"messages": [{"role": "system", "content": "{}"}, {"role": "user", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "name": "{} or so"}]},
        {"messages": [{"role": "tool", "tool_call_id": "a", "content": "{}"}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"k": "{}"}'}}]}]},
        {"messages": [{"role": "user", "content": "x"}], "tools": [
            {"type": "function", "function": {"name": "f", "description": "{}", "parameters": {}}}]},
        {"messages": [{"role": "user", "content": "x"}], "metadata": {"{}": "odd"}},
        {"messages": [{"role": "user", "content": "x"}], "nobody": {"knows": [["this", {"member": "{}"}]]}},
    ],
)  # fmt: skip
def test_nothing_hides_in_any_place(
    gateway: Gateway, key: Key, provider: MockProvider, place: dict[str, Any]
):
    mark = provider.mark()
    body = json.loads(
        json.dumps({"model": "secrets", **place})
        .replace("{}", "AKIAIOSFODNN7EXAMPLE")
        .replace('": AKIAIOSFODNN7EXAMPLE', '": {}')
    )
    refused = ask(gateway, key, body)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["code"] == "content_policy_violation"
    assert provider.requests(mark) == []


@pytest.mark.parametrize(
    "disguise",
    [
        "AKIA\u200bIOSFODNN7EXAMPLE", "\uff21\uff2b\uff29\uff21IOSFODNN7EXAMPLE",
        "\u0410\u041aIAIOSFODNN7EXAMPLE",
        "%41KIAIOSFODNN7EXAMPLE", "&#65;KIAIOSFODNN7EXAMPLE", "\\u0041KIAIOSFODNN7EXAMPLE",
        "A\u0301KIAIOSFODNN7EXAMPLE", "\U0001d400\U0001d40a\U0001d408\U0001d400IOSFODNN7EXAMPLE",
    ],
)  # fmt: skip
def test_disguises_do_not_help(gateway: Gateway, key: Key, disguise: str):
    assert ask(gateway, key, chat("secrets", f"key: {disguise} !")).status_code == 400


@pytest.mark.parametrize(
    "hidden",
    ["b l u e b i r d", "b.l.u.e.b.i.r.d", "Ymx1ZWJpcmQgb3ZlciB0aGVyZQ", "626c756562697264206f766572"],
)
def test_what_a_rule_asks_to_look_into_is_cut_out(
    gateway: Gateway, key: Key, provider: MockProvider, hidden: str
):
    mark = provider.mark()
    ask(gateway, key, chat("seen-through", f"see the {hidden}!")).raise_for_status()
    assert heard(provider, mark) == "see the [REDACTED]!"
    mark = provider.mark()
    ask(gateway, key, chat("free", f"see the {hidden}!")).raise_for_status()
    assert heard(provider, mark) == f"see the {hidden}!"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_streams_are_looked_into_as_a_rule_asks(gateway: Gateway, key: Key, path: str):
    text, _ = streamed(gateway, key, "says-apart", path)
    assert text == "see the [REDACTED] over there"
    text, _ = streamed(gateway, key, "says-base64", path)
    assert text == "see the [REDACTED]== there"


def test_escapes_and_duplicate_keys_do_not_help(gateway: Gateway, key: Key):
    def send(raw: str) -> httpx.Response:
        headers = {**key.bearer, "content-type": "application/json"}
        return gateway.http.post("/v1/chat/completions", content=raw.encode(), headers=headers)

    escaped = send('{"model":"secrets","messages":[{"role":"user","content":"\\u0041KIAIOSFODNN7EXAMPLE"}]}')
    assert escaped.json()["error"]["code"] == "content_policy_violation"
    twice = send('{"model":"secrets","messages":[{"role":"user","content":"a","content":"b"}]}')
    assert twice.status_code == 400
    assert twice.json()["error"]["code"] == "invalid_json"


def test_redaction_rewrites_the_request(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    text = f'"quoted" jane@example.org pays\nwith {CARD}, é'
    answer = ask(gateway, key, chat("pii", text, stream=False))
    assert answer.status_code == 200
    assert answer.headers["x-ailink-guardrails"] == "pii;input=redact"
    assert heard(provider, mark) == '"quoted" [EMAIL] pays\nwith [CARD], é'


def test_masks_keep_the_last_four(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    ask(gateway, key, chat("masked", f"card {CARD}.")).raise_for_status()
    assert heard(provider, mark) == "card **** **** **** 1111."


def test_flags_are_told_and_nothing_changes(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    answer = ask(gateway, key, chat("told", "about proj-17"))
    assert answer.headers["x-ailink-guardrails"] == "told;input=flag"
    assert heard(provider, mark) == "about proj-17"


def test_clean_requests_pass_untouched(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    answer = ask(gateway, key, chat("pii", "nothing to see"))
    assert answer.status_code == 200
    assert "x-ailink-guardrails" not in answer.headers
    assert heard(provider, mark) == "nothing to see"


def test_whole_answers_are_looked_at(gateway: Gateway, key: Key):
    redacted = ask(gateway, key, chat("says-card")).json()
    assert redacted["choices"][0]["message"]["content"] == "pay with [CARD] today please"
    blocked = ask(gateway, key, chat("says-word"))
    assert blocked.status_code == 400
    assert "choices[0].message.content" in blocked.json()["error"]["message"]
    claude = ask(gateway, key, message("says-card"), "/v1/messages").json()
    assert claude["content"][0]["text"] == "pay with [CARD] today please"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_streams_are_redacted_over_events(gateway: Gateway, key: Key, path: str):
    text, raw = streamed(gateway, key, "says-card", path)
    assert text == "pay with [CARD] today please"
    assert "4111" not in raw
    assert "1111" not in raw
    text, raw = streamed(gateway, key, "says-masked", path)
    assert text == "pay with **** **** **** 1111 today please"
    assert "4111" not in raw


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_streams_are_stopped(gateway: Gateway, key: Key, path: str):
    text, raw = streamed(gateway, key, "says-word", path)
    assert "see the" in text
    assert "bluebird" not in text
    assert "codeword" in raw
    assert ("content_filter" if "chat" in path else "refusal") in raw
    text, raw = streamed(gateway, key, "says-held", path)
    assert text == ""
    assert "held" in raw
    text, raw = streamed(gateway, key, "says-nothing", path)
    assert text == "see the bird over there now"
    assert "error" not in raw


def test_shadow_has_no_effect_and_is_reported(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    answer = ask(gateway, key, chat("shadow", "my bluebird"))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "the bluebird sings"
    assert "x-ailink-guardrails" not in answer.headers
    assert heard(provider, mark) == "my bluebird"
    report = gateway.call("/guardrails/report", rule="watched")
    (counts,) = report["rules"]
    assert counts["shadow_input"] >= 1
    assert counts["shadow_output"] >= 1
    assert counts["shadow_by_key"][key.id] >= 2
    assert counts["input"] == counts["output"] == 0
    latest = report["latest"][0]
    assert latest["request_id"] == answer.headers["x-ailink-request-id"]
    assert latest["shadow"] is True
    assert "bluebird" not in json.dumps(report["latest"])
    assert gateway.metric("ailink_guardrail_verdicts_total", rule="watched", mode="shadow") >= 2


def test_the_list_and_the_trial(gateway: Gateway):
    listed = {row["name"]: row for row in gateway.call("/guardrails")["guardrails"]}
    assert listed["pii"]["models"] == ["pii", "says-card"]
    assert listed["watched"]["mode"] == "shadow"
    text = f"é {CARD} x"
    tried = gateway.call("/guardrails/test", {"text": text, "guardrails": ["pii"]})
    assert tried["text"] == "é [CARD] x"
    (match,) = tried["matches"]
    assert text.encode()[match["start"] : match["end"]].decode() == CARD
    refused = gateway.http.post(
        "/guardrails/test", json={"text": "x", "guardrails": ["nope"]}, headers=gateway.admin
    )
    assert refused.status_code == 404


def test_bad_rules_are_refused_and_the_old_ones_stay(provider: MockProvider, tmp_path: Path):
    def config(**rule: Any) -> dict[str, Any]:
        model = make_model("m", make_deployment(provider), guardrails=["r"])
        return make_config(model, guardrails=[{"name": "r", "scan": ["input"], **rule}])

    with Gateway(tmp_path, config(words=["bluebird"])) as gateway:
        key = gateway.mint()
        for rule, expected in [
            ({"patterns": ["a(?=b)"]}, "look-around"),
            ({"patterns": [r"(a)\1"]}, "back-reference"),
            ({"patterns": ["x*"]}, "empty text"),
            ({"presets": ["pi"]}, "no preset"),
            ({}, "looks for nothing"),
            ({"words": ["x"], "action": "tokenize", "scan": ["output"]}, "looks at `input`"),
            ({"checks": [{"wordCount": {"maxWords": 3}}], "action": "tokenize"}, "not for `checks`"),
            ({"words": ["x"], "action": "tokenize", "vault": "tenant", "vault_ttl": "1s"}, "between 1m and"),
        ]:
            write_config(gateway.file, config(**rule))
            errors = wait_for_errors(gateway, expected)
            assert expected in errors
            assert ask(gateway, key, chat("m", "bluebird")).status_code == 400
        write_config(gateway.file, config(patterns=["never-[0-9]+"]))
        until(
            lambda: ask(gateway, key, chat("m", "bluebird")).status_code == 200, "the new rules are in force"
        )


def wait_for_errors(gateway: Gateway, expected: str) -> str:
    def told() -> str:
        errors = json.dumps(gateway.details()["errors"])
        return errors if expected in errors else ""

    return until(told, f"an error that says {expected}")


def test_long_and_odd_requests_stay_within_bounds(gateway: Gateway, key: Key):
    long = ask(gateway, key, chat("pii", "lorem ipsum 12 " * 200_000 + " jane@example.org"))
    assert long.status_code == 200
    assert long.headers["x-ailink-guardrails"] == "pii;input=redact"
    deep = (
        '{"model":"pii","messages":[{"role":"user","content":"x"}],"x":' + "[" * 100_000 + "]" * 100_000 + "}"
    )
    huge = '{"model":"pii","messages":[{"role":"user","content":"' + "a@b " * 2_500_000 + '"}]}'
    odd = b'{"model":"pii","messages":[{"role":"user","content":"\xff jane@example.org"}]}'
    for body in (deep.encode(), huge.encode(), odd):
        answer = gateway.http.post(
            "/v1/chat/completions",
            content=body,
            headers={**key.bearer, "content-type": "application/json"},
            timeout=60,
        )
        assert answer.status_code in (200, 400, 413), answer.text[:200]
        assert b"jane" not in answer.content
    surrogate = '{"model":"pii","messages":[{"role":"user","content":"\\ud800 a@b.co"}]}'
    headers = {**key.bearer, "content-type": "application/json"}
    assert gateway.http.post("/v1/chat/completions", content=surrogate, headers=headers).status_code == 200
