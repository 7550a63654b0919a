"""Agents that go round in circles, spend too fast or call what they may not, stopped by policies."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

DENY = [{"deny": {"message": "stopped"}}]
CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def policy(name: str, field: str, op: str, value: float, **more: Any) -> dict[str, Any]:
        return {"name": name, "when": {"field": field, "op": op, "value": value}, "then": DENY, **more}

    policies = [
        policy("loop", "session.repeated_calls", "gte", 3),
        policy("deep", "session.depth", "gt", 3),
        policy("parrot", "session.repetition", "gt", 0.5),
        policy("brake", "history.key.spend.1m", "gte", 0.03),
        policy("loop-answer", "session.repeated_calls", "gte", 2, phase="post"),
        {
            "name": "tools",
            "then": [{"tool_scope": {"allowed": ["read_*"], "blocked": ["read_secrets"]}}],
        },
        policy("session-brake", "history.session.spend.1m", "gte", 0.03),
        {"name": "session-cap", "then": [{"spend_cap": {"usd": "0.02", "window": "1h", "by": "session"}}]},
        {"name": "session-rate", "then": [{"rate_limit": {"requests": 2, "window": "1h", "by": "session"}}]},
        {"name": "session-named", "when": "!has(session.id)", "then": DENY},
    ]
    models = [
        make_model(
            one["name"],
            make_deployment(provider, "tool=true" if one["name"] == "loop-answer" else ""),
            price=CENT,
            policies=[one["name"]],
        )
        for one in policies
    ]
    with Gateway(tmp_path_factory.mktemp("safety"), make_config(*models, policies=policies)) as running:
        yield running


@pytest.fixture
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway, key: Key, model: str, messages: list[dict[str, Any]], **more: Any
) -> httpx.Response:
    headers = {**key.bearer, **more.pop("headers", {})}
    body = {**chat(model), "messages": messages, **more}
    return gateway.http.post("/v1/chat/completions", json=body, headers=headers)


def user(text: str = "go") -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(name: str, number: int, **arguments: Any) -> list[dict[str, Any]]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": f"c{number}", "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": "nothing"},
    ]


def refused(response: httpx.Response) -> bool:
    return response.status_code == 403 and response.json()["error"]["code"] == "policy_denied"


def test_the_same_call_again_and_again_is_a_loop(gateway: Gateway, key: Key) -> None:
    talk = [user(), *called("read", 1, path="a", line=1), *called("read", 2, line=1, path="a")]
    assert ask(gateway, key, "loop", talk).status_code == 200
    assert ask(gateway, key, "loop", talk + called("read", 3, path="b", line=1)).status_code == 200
    assert refused(ask(gateway, key, "loop", talk + called("read", 3, path="a", line=1)))


def test_messages_of_anthropic_loop_alike(gateway: Gateway, key: Key) -> None:
    turn = [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "read", "input": {"a": 1}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
    ]
    for rounds, status in ((2, 200), (3, 403)):
        body = {"model": "loop", "max_tokens": 9, "messages": [user(), *turn * rounds]}
        assert gateway.http.post("/v1/messages", json=body, headers=key.bearer).status_code == status


def test_depth_counts_from_the_last_word_of_the_user(gateway: Gateway, key: Key) -> None:
    rounds = [message for number in range(4) for message in called("read", number, line=number)]
    assert refused(ask(gateway, key, "deep", [user(), *rounds]))
    assert ask(gateway, key, "deep", [user(), *rounds, user("and now?")]).status_code == 200
    assert ask(gateway, key, "deep", [user(), *rounds[:6]]).status_code == 200


def test_words_that_come_again(gateway: Gateway, key: Key) -> None:
    said = {
        "role": "assistant",
        "content": "I will try once more to open the file that you have named to me.",
    }
    assert refused(ask(gateway, key, "parrot", [user(), *[said] * 5, user()]))
    assert ask(gateway, key, "parrot", [user(), said, user()]).status_code == 200


def test_an_answer_that_repeats_a_call_does_not_leave(gateway: Gateway, key: Key) -> None:
    tool = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
    first = ask(gateway, key, "loop-answer", [user()], tools=[tool])
    assert first.status_code == 200, first.text
    message = first.json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "nothing"}
    assert refused(ask(gateway, key, "loop-answer", [user(), message, result], tools=[tool]))


def test_spend_that_runs_away_is_braked_for_its_key_alone(gateway: Gateway, key: Key) -> None:
    codes = [ask(gateway, key, "brake", [user()]).status_code for _ in range(6)]
    assert codes == [200, 200, 200, 403, 403, 403]
    assert ask(gateway, gateway.mint(), "brake", [user()]).status_code == 200


SESSION_HEADERS = ("x-ailink-session-id", "x-session-id", "x-litellm-session-id", "x-portkey-trace-id")


@pytest.mark.parametrize(("model", "passing", "status"), [("session-brake", 3, 403), ("session-cap", 2, 422)])
@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_a_session_that_runs_away_is_braked_alone(
    gateway: Gateway, key: Key, name: str, model: str, passing: int, status: int
) -> None:
    def codes(caller: Key, count: int, **headers: str) -> list[int]:
        return [ask(gateway, caller, model, [user()], headers=headers).status_code for _ in range(count)]

    assert codes(key, passing + 2, **{name: "run-1"}) == [200] * passing + [status] * 2
    # Another run of the same key, the same name under another key, and requests of no session go on.
    assert codes(key, 1, **{name: "run-2"}) == [200]
    assert codes(gateway.mint(), 1, **{name: "run-1"}) == [200]
    assert codes(key, passing + 1) == [200] * (passing + 1)


def test_a_session_has_its_rate(gateway: Gateway, key: Key) -> None:
    def code(session: str) -> int:
        return ask(gateway, key, "session-rate", [user()], headers={"x-session-id": session}).status_code

    assert [code("a"), code("a"), code("a"), code("b")] == [200, 200, 429, 200]


def test_a_session_may_be_asked_for(gateway: Gateway, key: Key) -> None:
    assert refused(ask(gateway, key, "session-named", [user()]))
    assert refused(ask(gateway, key, "session-named", [user()], headers={"x-session-id": ""}))
    named = ask(gateway, key, "session-named", [user()], headers={"x-session-id": "run"})
    assert named.status_code == 200


def test_tools_are_allowed_by_name(gateway: Gateway, key: Key) -> None:
    def tool(name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}

    assert ask(gateway, key, "tools", [user()], tools=[tool("read_file")]).status_code == 200
    for name in ("write_file", "read_secrets"):
        assert refused(ask(gateway, key, "tools", [user()], tools=[tool(name)]))
