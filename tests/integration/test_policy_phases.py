"""Every action in every phase, over HTTP: it has its effect there, or is refused when it is published."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

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
    until,
)
from tests.harness.pages import fits

from ailink.config.policies import Action

CARD = "4111 1111 1111 1111"
PHASES = ("pre", "post", "stream", "async")
HOOK = "http://hook"
TOOL = {"type": "function", "function": {"name": "get_money", "parameters": {"type": "object"}}}
CALL = {"text": "call the tool", "tools": [TOOL]}
SCHEMA = {"type": "object", "required": ["city"]}


class Case(NamedTuple):
    """What a request comes to. `behind`: a second policy that must not be reached, or must."""

    then: dict[str, Any]
    ask: dict[str, Any] = {}
    status: int = 200
    says: str = ""
    silent: str = ""
    header: tuple[str, str] = ("", "")
    sent: Any = None
    log: str = ""
    told: str = ""
    behind: dict[str, Any] = {}
    before: int = 0
    """Requests that pass before the one that counts."""


DENIED = "policy_denied"
ALERT = {"alert": {"message": "look here", "url": f"{HOOK}/NAME", "every": "1h"}}
LOG = {"log": {"message": "line of NAME", "fields": ["model"]}}
WAIT = {"webhook": {"url": f"{HOOK}/no", "wait": True}}
TELL = {"webhook": {"url": f"{HOOK}/NAME"}}
SCOPE = {"tool_scope": {"blocked": ["get_*"]}}
CUT = {"redact": {"presets": ["cards"], "label": "CARD"}}
GUARD = {"guardrail": {"guardrails": ["codeword"]}}
DENY = {"deny": {"status": 451, "message": "closed"}}
MARK = {"transform": [{"set_header": {"name": "x-mark", "value": "yes"}}]}
PAYS = {"text": f"pay with {CARD} now"}
SPLIT = {"split": {"variants": [{"name": "a", "set": {"seed": 1}}]}}
STREAM = {"stream": True}
SET = {"override": {"set": {"max_tokens": 7}}}
SINGS = {"text": "a bluebird sings", "stream": True}

CASES: dict[tuple[str, str], Case] = {
    ("allow", "pre"): Case({"allow": {}}, behind=DENY),
    ("allow", "post"): Case({"allow": {}}, behind=DENY),
    ("allow", "stream"): Case({"allow": {}}, STREAM, behind=DENY),
    ("allow", "async"): Case({"allow": {}}, behind={"log": {"message": "never reached"}}),
    ("deny", "pre"): Case(DENY, status=451, says="closed"),
    ("deny", "post"): Case(DENY, STREAM, status=451, says="closed"),
    ("deny", "stream"): Case(DENY, STREAM, status=451, says="closed"),
    ("redact", "pre"): Case(CUT, PAYS, says="[CARD", silent=CARD),
    ("redact", "post"): Case(CUT, PAYS, says="[CARD", silent=CARD),
    ("redact", "stream"): Case(CUT, {**PAYS, **STREAM}, says="[CARD", silent="1111"),
    ("transform", "pre"): Case(
        {"transform": [{"regex_replace": {"pattern": "cat", "replacement": "dog"}}]},
        {"text": "one cat"},
        says="one dog",
    ),
    ("transform", "post"): Case(MARK, header=("x-mark", "yes")),
    ("transform", "stream"): Case(MARK, STREAM, header=("x-mark", "yes")),
    ("override", "pre"): Case(SET, {"max_tokens": 90}, sent={"max_tokens": 7}),
    ("route", "pre"): Case({"route": {"model": "plain"}}, header=("x-ailink-model", "plain")),
    ("split", "pre"): Case(SPLIT, sent={"seed": 1}),
    ("rate_limit", "pre"): Case({"rate_limit": {"requests": 1, "window": "1h"}}, status=429, before=1),
    ("throttle", "pre"): Case({"throttle": {"delay": "50ms"}}),
    ("cache", "pre"): Case({"cache": {"enabled": False}}, header=("x-ailink-cache", "bypass")),
    ("tag", "pre"): Case({"tag": {"tags": ["marked"]}}, status=451, behind=DENY),
    ("log", "pre"): Case(LOG, log="policy NAME: line of NAME model=NAME"),
    ("log", "post"): Case(LOG, log="policy NAME: line of NAME model=NAME"),
    ("log", "stream"): Case(LOG, STREAM, log="policy NAME: line of NAME model=NAME"),
    ("log", "async"): Case(LOG, STREAM, log="policy NAME: line of NAME model=NAME"),
    ("webhook", "pre"): Case(WAIT, status=403, says="not today"),
    ("webhook", "post"): Case(WAIT, status=403, says="not today"),
    ("webhook", "stream"): Case(WAIT, STREAM, status=403, says="not today"),
    ("webhook", "async"): Case(TELL, told="policy.matched"),
    ("tool_scope", "pre"): Case(SCOPE, CALL, status=403, says="get_money"),
    ("tool_scope", "post"): Case(SCOPE, CALL, status=403, says="get_money"),
    ("tool_scope", "stream"): Case(SCOPE, {**CALL, **STREAM}, says=DENIED),
    ("validate_schema", "pre"): Case(
        {"validate_schema": {"schema": SCHEMA, "field": "metadata"}},
        {"metadata": {"town": "x"}},
        status=422,
        says="city",
    ),
    ("validate_schema", "post"): Case(
        {"validate_schema": {"schema": SCHEMA}}, {"text": '{"town": 1}'}, status=422, says="city"
    ),
    ("guardrail", "pre"): Case(GUARD, {"text": "bluebird"}, status=400, says="content_policy_violation"),
    ("guardrail", "post"): Case(GUARD, {"text": "bluebird"}, status=400, says="content_policy_violation"),
    ("guardrail", "stream"): Case(GUARD, SINGS, says="content_filter", silent="sings"),
    ("spend_cap", "pre"): Case({"spend_cap": {"usd": "0.000001", "window": "1h"}}, status=422, before=1),
    ("alert", "pre"): Case(ALERT, told="policy.alert"),
    ("alert", "post"): Case(ALERT, told="policy.alert"),
    ("alert", "stream"): Case(ALERT, STREAM, told="policy.alert"),
    ("alert", "async"): Case(ALERT, told="policy.alert"),
    ("require_approval", "pre"): Case({"require_approval": {"mode": "accept"}}, status=202, says="token"),
    ("require_approval", "post"): Case({"require_approval": {"mode": "accept"}}, status=202, says="token"),
}
ALL = [(action, phase) for action in Action.__struct_fields__ for phase in PHASES]
PROVED = sorted(CASES)
REFUSED = sorted(set(ALL) - set(CASES))


def name_of(pair: tuple[str, str]) -> str:
    return f"{pair[0]}-{pair[1]}".replace("_", "-")


def rules(hook: Double) -> list[dict[str, Any]]:
    made = []
    for pair, case in CASES.items():
        name, phase = name_of(pair), pair[1]
        then = json.loads(json.dumps(case.then).replace("NAME", name).replace(HOOK, hook.url))
        made.append({"name": name, "phase": phase, "then": [then], "attach": {"models": [name]}})
        if case.behind:
            behind = {"name": f"{name}-2", "phase": phase, "priority": 1, "then": [case.behind]}
            when = {"when": "'marked' in tags"} if pair[0] == "tag" else {}
            made.append({**behind, **when, "attach": {"models": [name]}})
        hook.answers[f"/{name}"] = {}
    hook.answers["/no"] = {"verdict": False, "message": "not today"}
    return made


@pytest.fixture(scope="module")
def hook() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, hook: Double, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    price = {"input_per_million": 1, "output_per_million": 1}
    names = [*map(name_of, PROVED), "plain"]
    config = make_config(
        *(make_model(name, make_deployment(provider, "echo=1", model=name), price=price) for name in names),
        policies=rules(hook),
        guardrails=[
            {"name": "codeword", "words": ["bluebird"], "scan": ["input", "output"], "action": "block"}
        ],
        cache={"enabled": True},
    )
    with Gateway(tmp_path_factory.mktemp("phases"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str = "hello", **more: Any) -> httpx.Response:
    headers = {**key.bearer, "cache-control": "max-age=60"}
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=headers)


@pytest.mark.parametrize("pair", PROVED, ids=name_of)
def test_an_action_has_its_effect(
    gateway: Gateway, key: Key, provider: MockProvider, hook: Double, pair: tuple[str, str]
) -> None:
    name, case = name_of(pair), CASES[pair]
    for _ in range(case.before):
        assert ask(gateway, key, name, **case.ask).status_code == 200
    mark = provider.mark()
    answer = ask(gateway, key, name, **case.ask)
    if case.before and answer.is_success:
        # What was spent counts when the answer has been settled.
        answer = until(
            lambda: not (last := ask(gateway, key, name, **case.ask)).is_success and last, "refused"
        )
    assert answer.status_code == case.status, answer.text
    assert case.says in answer.text
    assert not case.silent or case.silent not in answer.text
    if case.header[0]:
        assert answer.headers[case.header[0]] == case.header[1]
    if case.sent is not None:
        (seen,) = provider.requests(mark)
        fits(seen.json(), case.sent, "sent", {})
    if case.log:
        until(lambda: case.log.replace("NAME", name) in gateway.log, "the line is in the log")
    if case.told:
        until(lambda: [one for one in hook.asked if one.path == f"/{name}"], "it was told")
        (told,) = (one.body for one in hook.asked if one.path == f"/{name}")
        assert (told["type"], told["policy"], told["phase"]) == (case.told, name, pair[1])


def test_allow_ends_what_comes_afterwards(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, "allow-async").status_code == 200
    assert ask(gateway, key, "log-async", marker=1).status_code == 200
    until(lambda: "line of log-async" in gateway.log, "the later line is in the log")
    assert "never reached" not in gateway.log


@pytest.mark.parametrize("pair", REFUSED, ids=name_of)
def test_what_makes_no_sense_is_refused(gateway: Gateway, pair: tuple[str, str]) -> None:
    action, phase = pair
    (then,) = (case.then for (name, at), case in CASES.items() if (name, at) == (action, "pre"))
    body = {"policy": {"phase": phase, "then": [then]}}
    answer = gateway.http.put("/policies/odd", json=body, headers=gateway.admin)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_policy", "policy.then[0]")
    assert f"`{action}` has no effect in the phase `{phase}`" in error["message"]
    assert gateway.http.get("/policies/odd", headers=gateway.admin).status_code == 404


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ({"redact": {"presets": ["cards"], "fields": ["id"]}}, "a stream has no fields"),
        ({"transform": [{"regex_replace": {"pattern": "a"}}]}, "only headers of a stream can be changed"),
    ],
)
def test_what_a_stream_cannot_have_is_refused(gateway: Gateway, action: dict[str, Any], text: str) -> None:
    body = {"policy": {"phase": "stream", "then": [action]}}
    answer = gateway.http.put("/policies/odd", json=body, headers=gateway.admin)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]
