"""Approvals over HTTP: requests and answers that wait for people, and never happen twice."""

import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.canned import CannedProvider
from tests.harness.listening import Call, Listening, Reply

POOL = ThreadPoolExecutor(128)


def one(name: str, phase: str = "pre", when: Any = None, **rule: Any) -> dict[str, Any]:
    """A policy for the model of its name."""
    policy = {"name": name, "phase": phase, "then": [{"require_approval": rule}]}
    return policy if when is None else {**policy, "when": when}


POLICIES = [
    one("hold", message="please look"),
    one("accept", mode="accept"),
    one("two", quorum=2),
    one("short", expiry="1s"),
    one("short-yes", expiry="1s", default="approve"),
    one("post", phase="post", tools=["get_*"]),
    one("post-other", phase="post", tools=["set_*"]),
    one("post-stream", phase="post"),
    one("post-accept", phase="post", mode="accept"),
    {**one("checked"), "priority": 5},
    {
        "name": "no-bombs",
        "when": {"field": "body.messages[*].content", "op": "regex", "value": "bomb"},
        "then": [{"deny": {}}],
    },
]


def tool_call(arguments: str) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "get_money", "arguments": arguments}}


def canned(content_type: str, body: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def with_tools(provider: CannedProvider) -> None:
    """An answer that calls a tool, whole and as a stream."""
    calls = [tool_call('{"amount": 5000}')]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "x", "usage": usage}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    provider.answers["tools"] = canned("application/json", json.dumps({**whole, "choices": [choice]}))
    delta = {"role": "assistant", "tool_calls": [{"index": 0, **calls[0]}]}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    events = [
        {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": usage},
    ]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    provider.answers["stream"] = canned("text/event-stream", text)


def settings(provider: MockProvider, tools: CannedProvider | None = None, **sections: Any) -> dict[str, Any]:
    def deployment(name: str) -> dict[str, Any]:
        if tools is None or not name.startswith("post"):
            return make_deployment(provider)
        return make_deployment(tools.base("stream" if name.endswith("stream") else "tools"))

    models = [
        make_model(
            policy["name"],
            deployment(policy["name"]),
            policies=[policy["name"], "no-bombs"] if policy["name"] == "checked" else [policy["name"]],
        )
        for policy in POLICIES
        if policy["name"] != "no-bombs"
    ]
    return make_config(*models, policies=POLICIES, **sections)


@pytest.fixture(scope="module")
def tools() -> Iterator[CannedProvider]:
    with CannedProvider() as provider:
        with_tools(provider)
        yield provider


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, tools: CannedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("approvals"), settings(provider, tools)) as running:
        yield running


@pytest.fixture
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str = "hello", **more: Any) -> httpx.Response:
    headers = {**key.bearer, **more.pop("headers", {})}
    body = chat(model, text, **more)
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def asked(gateway: Gateway, key: Key, model: str, text: str = "hello", **more: Any) -> Future[httpx.Response]:
    return POOL.submit(ask, gateway, key, model, text, **more)


def pending(gateway: Gateway, key: Key, count: int = 1) -> list[dict[str, Any]]:
    """The approvals of a key that wait, once there are so many."""

    def found() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = gateway.call("/v1/approvals", status="pending", key_id=key.id)[
            "approvals"
        ]
        return rows if len(rows) >= count else []

    return until(found, f"{count} approvals wait")


def decide(gateway: Gateway, approval: str, decision: str = "approve", **more: Any) -> httpx.Response:
    headers = more.pop("headers", gateway.admin)
    body = {"decision": decision, **more}
    return gateway.http.post(f"/v1/approvals/{approval}/decision", json=body, headers=headers)


def state(gateway: Gateway, approval: str) -> dict[str, Any]:
    found: dict[str, Any] = gateway.call(f"/v1/approvals/{approval}")
    return found


def becomes(gateway: Gateway, approval: str, status: str) -> dict[str, Any]:
    return until(lambda: (now := state(gateway, approval))["status"] == status and now, status)  # type: ignore[return-value]


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def seen(provider: MockProvider, text: str) -> int:
    """Requests with this text that the provider got."""
    return len(
        provider.requests(
            where=lambda one: one.path.endswith("/chat/completions") and text in json.dumps(one.json())
        )
    )


def test_a_held_request_goes_on_when_it_is_approved(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    answer = asked(gateway, key, "hold", "held one")
    (row,) = pending(gateway, key)
    assert (row["policy"], row["status"], row["message"]) == ("hold", "pending", "please look")
    assert seen(provider, "held one") == 0
    detail = state(gateway, row["id"])
    assert detail["request"]["messages"][0]["content"] == "held one"
    assert detail["diff"] == []
    assert decide(gateway, row["id"], comment="fine").status_code == 200
    response = answer.result(30)
    assert response.status_code == 200, response.text
    assert response.headers["x-ailink-approval"] == row["id"]
    assert seen(provider, "held one") == 1
    done = becomes(gateway, row["id"], "executed")
    assert done["answer_request_id"] == response.headers["x-ailink-request-id"]
    # The same once more within the time is the same request.
    again = ask(gateway, key, "hold", "held one")
    assert again.json() == response.json()
    assert seen(provider, "held one") == 1
    late = decide(gateway, row["id"], "reject")
    assert code(late) == (409, "approval_closed")


def test_a_rejected_request_says_why(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    answer = asked(gateway, key, "hold", "bad idea")
    (row,) = pending(gateway, key)
    assert decide(gateway, row["id"], "reject", comment="not on a Friday").status_code == 200
    response = answer.result(30)
    assert code(response) == (403, "approval_rejected")
    assert "not on a Friday" in response.json()["error"]["message"]
    assert code(ask(gateway, key, "hold", "bad idea")) == (403, "approval_rejected")
    assert seen(provider, "bad idea") == 0


def test_what_is_accepted_is_executed_once_and_kept(
    gateway: Gateway, key: Key, provider: MockProvider
) -> None:
    first = ask(gateway, key, "accept", "later please")
    assert first.status_code == 202, first.text
    told = first.json()
    assert first.headers["location"] == told["result"]
    assert int(first.headers["retry-after"]) > 0
    place = f"{gateway.url}{told['result']}"
    assert httpx.get(place, headers=key.bearer).status_code == 202
    assert httpx.get(place, headers=gateway.mint().bearer).status_code == 404
    assert httpx.get(f"{place}x", headers=key.bearer).status_code == 404
    assert httpx.get(place, params={"wait": "1000"}, headers=key.bearer).status_code == 400
    assert ask(gateway, key, "accept", "later please").json()["id"] == told["id"]
    waiting = [
        POOL.submit(httpx.get, place, params={"wait": 30}, headers=key.bearer, timeout=60) for _ in range(8)
    ]
    assert decide(gateway, told["id"]).status_code == 200
    answers = [one.result(40) for one in waiting]
    assert [one.status_code for one in answers] == [200] * 8, [one.text for one in answers]
    assert len({one.text for one in answers}) == 1
    assert seen(provider, "later please") == 1
    assert httpx.get(place, headers=key.bearer).text == answers[0].text


def test_an_accepted_stream_is_kept_whole(gateway: Gateway, key: Key) -> None:
    told = ask(gateway, key, "accept", "stream later", stream=True).json()
    assert decide(gateway, told["id"]).status_code == 200
    answer = httpx.get(f"{gateway.url}{told['result']}", params={"wait": 20}, headers=key.bearer, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_a_held_stream_keeps_its_caller_awake(
    provider: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = settings(provider, server={"keepalive_comment": "200ms"})
    with Gateway(tmp_path_factory.mktemp("awake"), config) as gateway:
        key = gateway.mint()
        url, body = f"{gateway.url}/v1/chat/completions", chat("hold", "awake", stream=True)
        for decision, end in (("approve", "data: [DONE]"), ("reject", "approval_rejected")):
            body["messages"][0]["content"] = f"awake to {decision}"
            with httpx.stream("POST", url, json=body, headers=key.bearer, timeout=60) as answer:
                lines = answer.iter_lines()
                assert [next(lines) for _ in range(3)] == [": keep-alive", "", ": keep-alive"]
                (row,) = pending(gateway, key)
                assert decide(gateway, row["id"], decision).status_code == 200
                rest = "\n".join(lines)
                assert end in rest
        assert (seen(provider, "awake to approve"), seen(provider, "awake to reject")) == (1, 0)


def test_of_a_hundred_who_approve_one_does(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    answer = asked(gateway, key, "hold", "a hundred hands")
    (row,) = pending(gateway, key)
    start = threading.Barrier(100)

    def approve() -> int:
        start.wait()
        url = f"{gateway.url}/v1/approvals/{row['id']}/decision"
        while True:
            answer = httpx.post(url, json={"decision": "approve"}, headers=gateway.admin, timeout=60)
            # So many at once are more than the control plane takes.
            if answer.status_code != 503:
                return answer.status_code

    codes = [one.result(60) for one in [POOL.submit(approve) for _ in range(100)]]
    assert sorted(set(codes)) == [200, 409]
    assert codes.count(200) == 1
    assert answer.result(30).status_code == 200
    assert seen(provider, "a hundred hands") == 1
    assert len(state(gateway, row["id"])["votes"]) == 1


def test_what_is_edited_is_what_is_sent(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    answer = asked(gateway, key, "hold", "delete everything")
    (row,) = pending(gateway, key)
    path = "/messages/0/content"
    wrong = [
        None,
        [],
        [{"op": "replace", "path": "/nothing", "value": 1}],
        [{"op": "bless", "path": path}],
        [{"op": "replace", "path": "/model", "value": "accept"}],
    ]
    for patch in wrong:
        assert decide(gateway, row["id"], "edit", patch=patch).status_code == 400, patch
    patch = [{"op": "replace", "path": path, "value": "list everything"}]
    assert decide(gateway, row["id"], "approve", patch=patch).status_code == 400
    edited = decide(gateway, row["id"], "edit", patch=patch)
    assert edited.status_code == 200, edited.text
    assert edited.json()["diff"] == patch
    assert edited.json()["revision"] == 1
    assert answer.result(30).status_code == 200
    assert (seen(provider, "delete everything"), seen(provider, "list everything")) == (0, 1)


def test_policies_look_at_what_was_edited(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    answer = asked(gateway, key, "checked", "a harmless thing")
    (row,) = pending(gateway, key)
    patch = [{"op": "replace", "path": "/messages/0/content", "value": "a bomb"}]
    assert decide(gateway, row["id"], "edit", patch=patch).status_code == 200
    assert code(answer.result(30)) == (403, "policy_denied")
    assert seen(provider, "a bomb") == 0
    assert becomes(gateway, row["id"], "failed")["answer_status"] == 403


def test_time_decides_when_nobody_does(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    assert code(ask(gateway, key, "short", "nobody cares")) == (403, "approval_expired")
    assert seen(provider, "nobody cares") == 0
    (row,) = gateway.call("/v1/approvals", key_id=key.id)["approvals"]
    assert row["status"] == "expired"
    assert code(decide(gateway, row["id"])) == (409, "approval_closed")
    assert ask(gateway, key, "short-yes", "nobody minds").status_code == 200
    assert seen(provider, "nobody minds") == 1


def test_calls_of_tools_wait_before_they_leave(gateway: Gateway, key: Key, tools: CannedProvider) -> None:
    answer = asked(gateway, key, "post", "pay them")
    (row,) = pending(gateway, key)
    detail = state(gateway, row["id"])
    assert detail["tool_calls"] == [{"name": "get_money", "arguments": {"amount": 5000}}]
    assert detail["answer"]["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_money"
    path = "/choices/0/message/tool_calls/0/function/arguments"
    patch = [{"op": "replace", "path": path, "value": '{"amount": 5}'}]
    assert decide(gateway, row["id"], "edit", patch=patch).status_code == 200
    called = answer.result(30).json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert called == '{"amount": 5}'
    assert becomes(gateway, row["id"], "executed")["diff"] == patch
    # His repeat gets what was looked at, not what the model would say now.
    again = ask(gateway, key, "post", "pay them")
    assert again.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"amount": 5}'
    # Other tools are not asked about.
    assert ask(gateway, key, "post-other", "pay them").status_code == 200


def test_a_stream_is_held_to_its_end(gateway: Gateway, key: Key) -> None:
    answer = asked(gateway, key, "post-stream", "stream it", stream=True)
    (row,) = pending(gateway, key)
    assert not answer.done()
    patch = [{"op": "add", "path": "/x", "value": 1}]
    assert code(decide(gateway, row["id"], "edit", patch=patch)) == (409, "not_editable")
    assert decide(gateway, row["id"]).status_code == 200
    response = answer.result(30)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "get_money" in response.text
    assert response.text.rstrip().endswith("[DONE]")
    rejected = asked(gateway, key, "post-stream", "stream no", stream=True)
    (row,) = pending(gateway, key)
    assert decide(gateway, row["id"], "reject").status_code == 200
    assert "get_money" not in rejected.result(30).text


def test_an_answer_can_be_fetched_once_it_is_approved(
    gateway: Gateway, key: Key, tools: CannedProvider
) -> None:
    first = ask(gateway, key, "post-accept", "fetch it")
    assert first.status_code == 202
    told, before = first.json(), len(tools.requests["tools"])
    patch = [{"op": "remove", "path": "/choices/0/message/tool_calls"}]
    assert decide(gateway, told["id"], "edit", patch=patch).status_code == 200
    answers = [
        httpx.get(f"{gateway.url}{told['result']}", params={"wait": 20}, headers=key.bearer, timeout=60)
        for _ in range(2)
    ]
    assert [one.status_code for one in answers] == [200, 200], answers[0].text
    assert "tool_calls" not in answers[0].json()["choices"][0]["message"]
    assert answers[0].text == answers[1].text
    assert len(tools.requests["tools"]) == before


def test_a_quorum_counts_reviewers_not_votes(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    answer = asked(gateway, key, "two", "two of us")
    (row,) = pending(gateway, key)
    reviewers = []
    for name in ("ada", "bob"):
        gateway.call("/user/new", {"user_id": f"{name}-{key.id}", "user_role": "proxy_admin"})
        reviewers.append(gateway.mint(user_id=f"{name}-{key.id}"))
    for _ in range(3):
        assert decide(gateway, row["id"], headers=reviewers[0].bearer).json()["status"] == "pending"
    assert state(gateway, row["id"])["approvals"] == 1
    # An edit is another thing: what was said before does not count for it.
    patch = [{"op": "replace", "path": "/messages/0/content", "value": "both of us"}]
    assert (
        decide(gateway, row["id"], "edit", patch=patch, headers=reviewers[1].bearer).json()["approvals"] == 1
    )
    stale = {**reviewers[0].bearer, "If-Match": row["etag"]}
    assert decide(gateway, row["id"], headers=stale).status_code == 412
    assert decide(gateway, row["id"], headers=reviewers[0].bearer).json()["status"] == "approved"
    assert answer.result(30).status_code == 200
    assert (seen(provider, "two of us"), seen(provider, "both of us")) == (0, 1)


def test_only_reviewers_decide_and_nobody_on_his_own(gateway: Gateway, key: Key) -> None:
    answer = asked(gateway, key, "hold", "whose is it")
    (row,) = pending(gateway, key)
    assert code(decide(gateway, row["id"], headers=gateway.mint().bearer)) == (404, "approval_not_found")
    assert code(decide(gateway, row["id"], headers=key.bearer)) == (403, "not_a_reviewer")
    seen_by_owner = gateway.http.get(f"/v1/approvals/{row['id']}", headers=key.bearer)
    assert seen_by_owner.status_code == 200
    assert not seen_by_owner.json()["may_decide"]
    cancelled = gateway.http.post(f"/v1/approvals/{row['id']}/cancel", headers=key.bearer)
    assert cancelled.json()["status"] == "cancelled"
    assert code(answer.result(30)) == (403, "approval_rejected")
    name = f"carol-{key.id}"
    gateway.call("/user/new", {"user_id": name, "user_role": "proxy_admin"})
    own = gateway.mint(user_id=name)
    answer = asked(gateway, own, "hold", "my own")
    (row,) = pending(gateway, own)
    assert code(decide(gateway, row["id"], headers=own.bearer)) == (403, "own_request")
    ended = gateway.call(f"/v1/approvals/{row['id']}/expire", {})
    assert ended["status"] == "expired"
    assert code(answer.result(30)) == (403, "approval_expired")


def test_a_name_joins_and_binds(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    named = {"Idempotency-Key": f"n-{key.id}"}
    told = ask(gateway, key, "accept", "by name", headers=named).json()
    assert ask(gateway, key, "accept", "by name", headers=named).json()["id"] == told["id"]
    assert ask(gateway, key, "accept", "another", headers=named).status_code == 422
    assert decide(gateway, told["id"], headers={**gateway.admin, "Idempotency-Key": "d1"}).status_code == 200
    repeated = decide(gateway, told["id"], headers={**gateway.admin, "Idempotency-Key": "d1"})
    assert repeated.status_code in (200, 409)
    answer = httpx.get(f"{gateway.url}{told['result']}", params={"wait": 20}, headers=key.bearer, timeout=60)
    assert answer.status_code == 200
    # Who repeats instead of asking for the result is told how it stands now, not how it stood.
    again = ask(gateway, key, "accept", "by name", headers=named)
    assert (again.status_code, again.json()) == (200, answer.json())
    assert seen(provider, "by name") == 1


def test_a_client_who_leaves_comes_back(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{gateway.url}/v1/chat/completions", json=chat("hold", "gone"), headers=key.bearer, timeout=0.5
        )
    (row,) = pending(gateway, key)
    assert decide(gateway, row["id"]).status_code == 200
    assert state(gateway, row["id"])["status"] == "approved"
    assert seen(provider, "gone") == 0
    assert ask(gateway, key, "hold", "gone").status_code == 200
    assert seen(provider, "gone") == 1
    becomes(gateway, row["id"], "executed")


def test_a_blocked_key_executes_nothing(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    told = ask(gateway, key, "accept", "blocked meanwhile").json()
    gateway.call("/key/block", {"key": key.token})
    assert decide(gateway, told["id"]).status_code == 200
    assert httpx.get(f"{gateway.url}{told['result']}", headers=key.bearer).status_code == 401
    assert state(gateway, told["id"])["status"] == "approved"
    assert seen(provider, "blocked meanwhile") == 0


def test_kill_9_in_the_middle(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> None:
    slow = make_model("slow", make_deployment(provider, "first_ms=3000"), policies=["accept"])
    config = settings(provider)
    config["models"].append(slow)
    with Gateway(tmp_path_factory.mktemp("killed"), config) as gateway:
        key = gateway.mint()
        told = ask(gateway, key, "accept", "survives").json()
        held = asked(gateway, key, "hold", "survives too")
        (row, *_) = [one for one in pending(gateway, key, 2) if one["policy"] == "hold"]
        gateway.kill()
        with pytest.raises(httpx.TransportError):
            held.result(30)
        gateway.start()
        assert decide(gateway, told["id"]).status_code == 200
        assert decide(gateway, row["id"]).status_code == 200
        answer = httpx.get(f"{gateway.url}{told['result']}", headers=key.bearer, timeout=60)
        assert answer.status_code == 200, answer.text
        assert ask(gateway, key, "hold", "survives too").status_code == 200
        assert (seen(provider, "survives too"), seen(provider, '"survives"')) == (1, 1)


SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class Channel(Listening):
    """What Slack and a webhook are told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    def answer(self, call: Call) -> Reply:
        self.told.append((call.path, call.headers, call.json()))
        return Reply()


def press(gateway: Gateway, user: str, approval: str, action: str = "approve", **more: Any) -> httpx.Response:
    payload = {
        "type": "block_actions",
        "user": {"id": user},
        "actions": [{"action_id": action, "value": approval}],
    }
    body = urlencode({"payload": json.dumps(payload)}).encode()
    stamp = str(more.get("at", int(time.time())))
    signature = hmac.new(
        more.get("secret", SECRET).encode(), f"v0:{stamp}:".encode() + body, "sha256"
    ).hexdigest()
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": stamp,
        "x-slack-signature": f"v0={signature}",
        **more.get("headers", {}),
    }
    return gateway.http.post("/v1/approvals/slack", content=body, headers=headers)


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Channel() as running:
        yield running


def test_slack_is_told_and_its_buttons_decide(
    provider: MockProvider, channel: Channel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    slack = {"signing_secret": SECRET, "users": {"U1": "ada", "U2": "nobody"}}
    channels = [
        {"name": "slack", "slack": f"{channel.url}/slack"},
        {"name": "hook", "webhook": f"{channel.url}/hook"},
    ]
    config = settings(provider, alerts={"channels": channels}, approvals={"slack": slack, "max_pending": 2})
    with Gateway(tmp_path_factory.mktemp("slack"), config) as gateway:
        gateway.call("/user/new", {"user_id": "ada", "user_role": "proxy_admin"})
        key = gateway.mint()
        answer = asked(gateway, key, "hold", "pressed")
        (row,) = pending(gateway, key)
        until(lambda: len(channel.told) == 2, "both are told")
        told = {path: body for path, _, body in channel.told}
        buttons = told["/slack"]["blocks"][1]["elements"]
        assert [(one["action_id"], one["value"]) for one in buttons] == [
            ("approve", row["id"]),
            ("reject", row["id"]),
        ]
        assert told["/hook"]["type"] == "approval_requested"
        assert told["/hook"]["data"]["approval_id"] == row["id"]
        assert "pressed" not in json.dumps(told)
        assert code(press(gateway, "U1", row["id"], secret="another")) == (401, "invalid_signature")
        assert code(press(gateway, "U1", row["id"], at=int(time.time()) - 600)) == (401, "invalid_signature")
        assert code(press(gateway, "U9", row["id"])) == (403, "not_a_reviewer")
        assert code(press(gateway, "U2", row["id"])) == (403, "not_a_reviewer")
        assert press(gateway, "U1", row["id"], action="bless").status_code == 400
        now = int(time.time())
        assert code(press(gateway, "U1", row["id"], at=now + 600)) == (401, "invalid_signature")
        for wrong in ({"x-slack-signature": "v0="}, {"x-slack-request-timestamp": str(now - 1)}):
            assert code(press(gateway, "U1", row["id"], at=now, headers=wrong)) == (401, "invalid_signature")
        # Delivered several times at once, it is taken once.
        presses = in_parallel(lambda _: press(gateway, "U1", row["id"], at=now), range(8), 8)
        (taken,) = [one for one in presses if one.status_code == 200]
        assert taken.json()["status"] == "approved"
        assert {code(one) for one in presses if one is not taken} == {(409, "replayed")}
        assert code(press(gateway, "U1", row["id"], at=now)) == (409, "replayed")
        assert code(press(gateway, "U1", row["id"], action="reject")) == (409, "approval_closed")
        assert answer.result(30).status_code == 200
        (vote,) = state(gateway, row["id"])["votes"]
        assert (vote["reviewer"], vote["via"]) == ("ada", "slack")
        # So many of one key may wait.
        for text in ("one", "two"):
            assert ask(gateway, key, "accept", text).status_code == 202
        assert ask(gateway, key, "accept", "three").status_code == 429
        assert gateway.metric("ailink_approvals_total", event="executed") == 1
    with closing(sqlite3.connect(gateway.data / "ailink.db")) as database:
        rows = database.execute("SELECT action FROM audit WHERE object_id = ? ORDER BY seq", (row["id"],))
        assert [action for (action,) in rows] == ["approval.request", "approval.approve", "approval.executed"]
