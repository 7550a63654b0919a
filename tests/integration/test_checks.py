"""Checks over HTTP: Portkey's built-in ones, in the file and in config objects, with results and statuses."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    Double,
    Gateway,
    Key,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def hook() -> Iterator[Double]:
    with Double() as double:
        double.answers["/hook"] = {"verdict": True}
        yield double


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, hook: Double, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def at(name: str, text: str = "", *rules: str, **settings: Any) -> Json:
        script = f"text={text}" if text else ""
        return make_model(
            name,
            make_deployment(provider, script, model=name),
            make_deployment(provider, script, model=name, dialect="anthropic"),
            guardrails=list(rules),
            **settings,
        )

    def rule(name: str, *checks: Any, **settings: Any) -> Json:
        return {"name": name, "checks": list(checks), **settings}

    webhook = {"webhook": {"webhookURL": f"{hook.url}/hook", "headers": {"x-own": "yes"}, "timeout": 1000}}
    config = make_config(
        at("m"),
        at("other"),
        at("broken"),
        at("says-json", 'here: {"a": {"b": [1, 2]}, "c": "x"} done'),
        at("says-list", "nothing of the kind"),
        at("says-code", "look: ```python print(1)``` done"),
        at("short", "", "few-words"),
        at("ends", "this is the end.", "ends"),
        at("no-end", "this is it", "ends"),
        at("told", "", "told"),
        at("replaced", "", "replaced"),
        at("hooked", "fine", "hooked"),
        at("lenient", "fine", "lenient"),
        at("late", "fine", "late"),
        at("beside", "fine", "beside"),
        guardrails=[
            rule("few-words", {"wordCount": {"maxWords": 3}}),
            rule("ends", {"endsWith": {"suffix": "end"}}, scan=["output"]),
            rule("told", {"contains": {"words": ["bluebird"], "operator": "none"}}, action="flag"),
            rule("replaced", {"regexReplace": {"rule": "/b+/g", "redactText": "_"}}),
            rule("hooked", webhook, scan=["input", "output"]),
            rule("lenient", webhook, on_error="skip"),
            rule("late", webhook, run="async"),
            rule("beside", webhook, run="during"),
        ],
    )
    with Gateway(tmp_path_factory.mktemp("checks"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway,
    key: Key,
    body: Json,
    config: Json | None = None,
    headers: Json | None = None,
    path: str = "",
) -> httpx.Response:
    sent = {**key.bearer, "x-api-key": key.secret, **(headers or {})}
    if config is not None:
        sent["x-portkey-config"] = json.dumps(config)
    return gateway.http.post(path or "/v1/chat/completions", json=body, headers=sent)


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


INPUT: list[tuple[str, Json, str, bool]] = [
    ("regexMatch", {"rule": r"\bord-\d+\b"}, "my ord-17 please", True),
    ("regexMatch", {"rule": r"\bord-\d+\b"}, "my order please", False),
    ("regexMatch", {"rule": r"\bord-\d+\b", "not": True}, "my order please", True),
    ("wordCount", {"minWords": 2, "maxWords": 3}, "one two three", True),
    ("wordCount", {"minWords": 2, "maxWords": 3}, "one", False),
    ("wordCount", {"minWords": 2, "maxWords": 3, "not": True}, "one", True),
    ("sentenceCount", {"minSentences": 1, "maxSentences": 2}, "One. Two!", True),
    ("sentenceCount", {"minSentences": 3, "maxSentences": 9}, "One. Two!", False),
    ("characterCount", {"minCharacters": 1, "maxCharacters": 4}, "a😀b", True),
    ("characterCount", {"minCharacters": 1, "maxCharacters": 3}, "a😀b", False),
    ("contains", {"words": ["red", "blue"], "operator": "any"}, "a red one", True),
    ("contains", {"words": ["red", "blue"], "operator": "all"}, "a red one", False),
    ("contains", {"words": ["red", "blue"], "operator": "none"}, "a red one", False),
    ("contains", {"words": ["Red"], "operator": "any"}, "a red one", False),
    ("alluppercase", {}, "LOUD 1!", True),
    ("alluppercase", {}, "Loud", False),
    ("alllowercase", {}, "quiet 1!", True),
    ("allLowerCase", {"not": True}, "quiet", False),
    ("endsWith", {"suffix": "thanks"}, "many thanks.", True),
    ("endsWith", {"suffix": "thanks"}, "thanks a lot", False),
    ("notNull", {}, "x", True),
    ("notNull", {}, "  ", False),
    ("containsCode", {"format": "Python"}, "```py\nprint(1)\n```", True),
    ("containsCode", {"format": "SQL"}, "```py\nprint(1)\n```", False),
    ("containsCode", {"format": "SQL", "not": True}, "no code", True),
    ("jsonKeys", {"keys": ["a", "b"], "operator": "all"}, '{"a": {"x": {"y": 1}}, "b": 2}', True),
    ("jsonKeys", {"keys": ["a", "z"], "operator": "all"}, '{"a": 1}', False),
    ("jsonKeys", {"keys": ["z"], "operator": "none"}, '{"a": 1}', True),
    ("jsonKeys", {"keys": ["a"]}, "no JSON", False),
    ("jsonSchema", {"schema": {"type": "object", "required": ["a"]}}, 'see {"a": {"b": {"c": 1}}} ok', True),
    ("jsonSchema", {"schema": {"type": "object", "required": ["z"]}}, '```json\n{"a": 1}\n```', False),
    ("modelWhitelist", {"models": ["m", "x"]}, "x", True),
    ("modelWhitelist", {"models": ["x"]}, "x", False),
    ("modelwhitelist", {"models": ["x"], "not": True}, "x", True),
    ("modelRules", {"rules": {"defaults": ["x"], "metadata": {"plan": {"paid": ["m"]}}}}, "x", True),
    ("modelRules", {"rules": {"defaults": ["m"], "metadata": {"plan": {"paid": ["x"]}}}}, "x", False),
    ("requiredMetadataKeys", {"metadataKeys": ["plan", "seat"], "operator": "any"}, "x", True),
    ("requiredMetadataKeys", {"metadataKeys": ["plan", "seat"], "operator": "all"}, "x", False),
    ("requiredMetadataKeyValuePairs", {"metadataPairs": {"plan": ["free", "paid"]}}, "x", True),
    ("requiredMetadataKeyValuePairs", {"metadataPairs": {"plan": "^f"}, "matchType": "regex"}, "x", False),
    ("allowedRequestTypes", {"allowedTypes": ["chatComplete"]}, "x", True),
    ("allowedRequestTypes", {"blockedTypes": ["chatComplete"]}, "x", False),
    ("regexReplace", {"rule": "/secret/g", "failOnDetection": True}, "a secret", False),
    ("regexReplace", {"rule": "/secret/g", "failOnDetection": True}, "nothing", True),
    ("validUrls", {"onlyDNS": True}, "no address", False),
    ("validUrls", {}, "see http://127.0.0.1:9/x", False),
]  # fmt: skip


@pytest.mark.parametrize("case", INPUT, ids=lambda case: f"{case[0]}-{case[3]}")
def test_built_in_checks_of_requests(gateway, key, provider, case):
    name, parameters, text, passes = case
    config = {"input_guardrails": [{f"default.{name}": parameters, "deny": True, "id": "g1"}]}
    mark = provider.mark()
    answer = ask(gateway, key, chat("m", text), config, {"x-portkey-metadata": '{"plan": "paid"}'})
    assert answer.status_code == (200 if passes else 446), answer.text
    assert len(provider.requests(mark)) == passes
    body = answer.json()
    (result,) = body["hook_results"]["before_request_hooks"]
    assert (result["verdict"], result["id"], result["deny"], result["type"]) == (
        passes,
        "g1",
        True,
        "guardrail",
    )
    (check,) = result["checks"]
    assert (check["id"], check["verdict"]) == (f"default.{name}", passes)
    assert body["hook_results"]["after_request_hooks"] == []
    if not passes:
        assert body["error"]["type"] == "hooks_failed"


OUTPUT: list[tuple[str, str, Json, bool]] = [
    ("says-json", "jsonSchema", {"schema": {"type": "object", "required": ["a", "c"]}}, True),
    ("says-json", "jsonKeys", {"keys": ["q"]}, False),
    ("says-list", "jsonSchema", {"schema": {"type": "object"}}, False),
    ("says-code", "containsCode", {"format": "Python"}, False),
    ("says-list", "wordCount", {"minWords": 4, "maxWords": 4}, True),
]


@pytest.mark.parametrize("case", OUTPUT, ids=lambda case: f"{case[0]}-{case[1]}")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_built_in_checks_of_answers(gateway, key, case, stream, path):
    model, name, parameters, passes = case
    check = {"id": f"default.{name}", "parameters": parameters}
    config = {"after_request_hooks": [{"type": "guardrail", "deny": True, "id": "out", "checks": [check]}]}
    body = (message if "messages" in path else chat)(model, stream=stream)
    answer = ask(gateway, key, body, config, path=path)
    assert answer.status_code == (200 if passes else 446), answer.text
    if not passes:
        (result,) = answer.json()["hook_results"]["after_request_hooks"]
        assert result["verdict"] is False
    elif not stream:
        (result,) = answer.json()["hook_results"]["after_request_hooks"]
        assert result["verdict"] is True


def test_without_deny_the_answer_comes_with_246_and_feedback(gateway, key):
    config = {
        "input_guardrails": [
            {
                "default.wordCount": {"maxWords": 1},
                "default.contains": {"words": ["two"]},
                "on_fail": {"feedback": {"value": -5, "weight": 1, "metadata": {"user": "u"}}},
                "on_success": {"feedback": {"value": 5}},
            }
        ]
    }
    answer = ask(gateway, key, chat("m", "one two"), config)
    assert answer.status_code == 246, answer.text
    assert answer.json()["choices"]
    (result,) = answer.json()["hook_results"]["before_request_hooks"]
    told = {
        "user": "u",
        "successfulChecks": "default.contains",
        "failedChecks": "default.wordCount",
        "erroredChecks": "",
    }
    assert result["feedback"] == {"value": -5, "weight": 1, "metadata": told}
    assert ask(gateway, key, chat("m", "two"), config).status_code == 200


def test_the_status_is_what_a_fallback_goes_by(gateway, key, provider):
    config = {
        "strategy": {"mode": "fallback", "on_status_codes": [446]},
        "targets": [
            {
                "override_params": {"model": "m"},
                "input_guardrails": [{"default.contains": {"words": ["x"]}, "deny": True}],
            },
            {"override_params": {"model": "other"}},
        ],
    }
    answer = ask(gateway, key, chat("m", "hello"), config)
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "other"), answer.text
    config["targets"][0] = {
        "override_params": {"model": "m"},
        "output_guardrails": [{"default.contains": {"words": ["never said"]}, "deny": True}],
    }
    answer = ask(gateway, key, chat("m", "hello"), config)
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "other"), answer.text
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


def test_a_stream_may_begin_with_the_results(gateway, key):
    config = {"input_guardrails": [{"default.wordCount": {"maxWords": 9}}]}
    headers = {"x-portkey-strict-open-ai-compliance": "false"}
    answer = ask(gateway, key, chat("m", stream=True), config, headers)
    first = json.loads(answer.text.split("\n\n")[0].removeprefix("data: "))
    assert first["hook_results"]["before_request_hooks"][0]["verdict"] is True
    assert "hook_results" not in ask(gateway, key, chat("m", stream=True), config).text


def test_a_mutator_changes_what_is_sent(gateway, key, provider):
    config = {"input_mutators": [{"default.addPrefix": {"prefix": "Be kind. "}}]}
    mark = provider.mark()
    answer = ask(gateway, key, chat("m", "hello"), config)
    assert answer.status_code == 200, answer.text
    (seen,) = provider.requests(mark)
    content = seen.json()["messages"][0]["content"]
    assert (content if isinstance(content, str) else content[0]["text"]) == "Be kind. hello"
    assert answer.json()["hook_results"]["before_request_hooks"][0]["transformed"] is True


@pytest.mark.parametrize(
    ("hook_object", "place", "text"),
    [
        ({"default.wordcount": {}}, "checks[0].default.wordcount", "did you mean `wordCount`"),
        ({"default.wordCount": {"maxWord": 1}}, "maxWord", "did you mean `maxWords`"),
        ({"azure.contentSafety": {}}, "azure.contentSafety", "named here"),
        ({"default.regexMatch": {"rule": "(a)\\1"}}, "rule", "linear time"),
        ({"default.wordCount": {}, "deny": "yes"}, "deny", "true or false"),
        ("no-such-rule", "", "no guardrail 'no-such-rule'"),
    ],
)
def test_what_is_wrong_with_a_hook_is_told(gateway, key, hook_object, place, text):
    answer = ask(gateway, key, chat("m"), {"input_guardrails": [hook_object]})
    assert answer.status_code == 400
    told = answer.json()["error"]["message"]
    assert place in told
    assert text in told


def test_a_guardrail_of_the_gateway_is_named(gateway, key):
    config = {"input_guardrails": ["few-words"]}
    assert ask(gateway, key, chat("m", "one two three"), config).status_code == 200
    refused = ask(gateway, key, chat("m", "one two three four"), config)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "content_policy_violation"


def test_a_config_may_not_have_private_addresses_asked(gateway, key, hook):
    before = len(hook.asked)
    config = {"input_guardrails": [{"default.webhook": {"webhookURL": f"{hook.url}/hook"}, "deny": True}]}
    assert ask(gateway, key, chat("m"), config).status_code == 446
    config["input_guardrails"][0]["deny"] = False
    assert ask(gateway, key, chat("m"), config).status_code == 200
    assert len(hook.asked) == before


def test_checks_of_the_file(gateway, key, provider):
    assert ask(gateway, key, chat("short", "one two three")).status_code == 200
    mark = provider.mark()
    refused = ask(gateway, key, chat("short", "one two three four"))
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "content_policy_violation"
    assert error["message"].startswith(
        "Guardrail 'few-words' refused this request: wordCount failed. The text has 4 words"
    )
    assert provider.requests(mark) == []
    assert refused.headers["x-ailink-guardrails"] == "few-words;input=block"
    assert ask(gateway, key, chat("ends")).status_code == 200
    assert ask(gateway, key, chat("no-end")).status_code == 400
    assert ask(gateway, key, chat("ends", stream=True)).status_code == 200
    assert ask(gateway, key, chat("no-end", stream=True)).status_code == 400
    told = ask(gateway, key, chat("told", "a bluebird"))
    assert (told.status_code, told.headers["x-ailink-guardrails"]) == (200, "told;input=flag")
    mark = provider.mark()
    assert (
        ask(gateway, key, chat("replaced", "abba")).headers["x-ailink-guardrails"] == "replaced;input=redact"
    )
    content = provider.requests(mark)[0].json()["messages"][0]["content"]
    assert (content if isinstance(content, str) else content[0]["text"]) == "a_a"


def test_results_on_request(gateway, key):
    headers = {"x-ailink-hook-results": "true"}
    answer = ask(gateway, key, chat("told", "a bluebird"), headers=headers)
    assert answer.status_code == 246
    (result,) = answer.json()["hook_results"]["before_request_hooks"]
    assert (result["id"], result["verdict"]) == ("told", False)
    refused = ask(gateway, key, chat("short", "one two three four"), headers=headers)
    assert (refused.status_code, refused.json()["error"]["type"]) == (446, "hooks_failed")


def test_a_webhook_is_asked_as_portkey_asks(gateway, key, hook, provider):
    hook.answers["/hook"], hook.status = {"verdict": True, "data": {"seen": 1}}, 200
    hook.take()
    assert ask(gateway, key, chat("hooked", "hello there", metadata={"a": "b"})).status_code == 200
    first, second = hook.take()
    before, after = first.body, second.body
    assert before["eventType"] == "beforeRequestHook"
    assert before["request"]["text"] == "hello there"
    assert before["request"]["json"]["model"] == "hooked"
    assert (before["requestType"], before["metadata"]) == ("chatComplete", {"a": "b"})
    assert first.headers["x-own"] == "yes"
    assert "authorization" not in first.headers
    assert key.secret not in json.dumps([first, second])
    assert after["eventType"] == "afterRequestHook"
    assert (after["response"]["text"], after["response"]["statusCode"]) == ("fine", 200)
    hook.answers["/hook"] = {"verdict": False}
    mark = provider.mark()
    assert ask(gateway, key, chat("hooked")).status_code == 400
    assert provider.requests(mark) == []
    new = chat("hooked", "other words")
    hook.answers["/hook"] = {"verdict": True, "transformedData": {"request": {"json": new}}}
    mark = provider.mark()
    assert ask(gateway, key, chat("hooked")).status_code == 200
    content = provider.requests(mark)[0].json()["messages"][0]["content"]
    assert (content if isinstance(content, str) else content[0]["text"]) == "other words"


def test_a_check_that_cannot_be_made(gateway, key, hook):
    hook.answers["/hook"], hook.status = {"nothing": "of use"}, 200
    assert ask(gateway, key, chat("hooked")).status_code == 400
    assert ask(gateway, key, chat("lenient")).status_code == 200
    hook.status = 500
    refused = ask(gateway, key, chat("hooked"))
    assert "The check could not be made" in refused.json()["error"]["message"]
    assert ask(gateway, key, chat("lenient")).status_code == 200
    assert gateway.metric("ailink_guardrail_check_errors_total", rule="hooked") >= 2
    assert gateway.metric("ailink_guardrail_check_errors_total", rule="lenient") >= 2
    hook.status = 200


def test_beside_and_behind(gateway, key, hook, provider):
    hook.answers["/hook"], hook.status = {"verdict": False}, 200
    mark = provider.mark()
    assert ask(gateway, key, chat("beside")).status_code == 400
    assert len(provider.requests(mark)) == 1
    assert ask(gateway, key, chat("beside", stream=True)).status_code == 400
    before = len(hook.asked)
    assert ask(gateway, key, chat("late")).status_code == 200
    until(lambda: len(hook.asked) == before + 1, "the webhook is asked behind")
    hook.answers["/hook"] = {"verdict": True}
    assert ask(gateway, key, chat("beside")).status_code == 200


def test_a_token_is_verified(gateway, key):
    secret = hashlib.sha256(b"x").digest()
    head, claims = {"alg": "HS256"}, {"iat": 1}
    signed = f"{segment(head)}.{segment(claims)}"
    forged = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).decode().rstrip("=")
    jwks = {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}
    config = {"input_guardrails": [{"default.jwt": {"jwks": jwks, "headerKey": "X-My-Token"}, "deny": True}]}
    assert ask(gateway, key, chat("m"), config).status_code == 446
    assert ask(gateway, key, chat("m"), config, {"x-my-token": f"{signed}.{forged}"}).status_code == 446
