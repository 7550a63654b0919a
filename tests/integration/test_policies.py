"""Policies over HTTP: every action in every phase it has an effect in."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.listening import Call, Listening, Reply

CARD = "4111 1111 1111 1111"
DONE = "data: [DONE]"


class Hook(Listening):
    """A webhook that says what it is told to say, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []

    def answer(self, call: Call) -> Reply:
        self.seen.append((call.headers, call.json()))
        answers = {"/no": (200, {"verdict": False, "message": "not today"}), "/broken": (500, {})}
        return Reply(*answers.get(call.path, (200, {"verdict": True})))


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


def policies(hook: Hook) -> list[dict[str, Any]]:
    """One per model, named alike."""

    def one(name: str, then: Any, **fields: Any) -> dict[str, Any]:
        return {"name": name, "then": then if isinstance(then, list) else [then], **fields}

    schema = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
    return [
        one("p-deny", {"deny": {"status": 451, "message": "closed"}}, when="body.max_tokens > 100"),
        one(
            "p-allow", {"allow": {}}, priority=-1, when={"field": "headers.x-vip", "op": "eq", "value": "yes"}
        ),
        one("p-redact", {"redact": {"presets": ["cards"], "fields": ["user", "metadata.*"]}}),
        one(
            "p-transform",
            {
                "transform": [
                    {"append_system_prompt": "Be brief."},
                    {"regex_replace": {"pattern": "cat(s?)", "replacement": "dog$1"}},
                    {"set_body_field": {"field": "temperature", "value": 0.25}},
                    {"remove_body_field": "top_p"},
                    {"add_message": {"role": "user", "content": "Thanks.", "position": "last"}},
                    {"set_header": {"name": "x-client-request-id", "value": "by-policy"}},
                ]
            },
        ),
        one("p-override", {"override": {"set": {"max_tokens": 7, "response_format.type": "text"}}}),
        one("p-route", {"route": {"model": "plain"}}),
        one("p-route-denied", {"route": {"model": "secret"}}),
        one(
            "p-split",
            {
                "split": {
                    "by": "end_user",
                    "variants": [{"name": "a", "set": {"seed": 1}}, {"name": "b", "set": {"seed": 2}}],
                }
            },
        ),
        one("p-rate", {"rate_limit": {"requests": 2, "window": "1h", "by": "key"}}),
        one("p-throttle", {"throttle": {"delay": "300ms"}}),
        one("p-cache", {"cache": {"enabled": False}}),
        one("p-tag", [{"tag": {"tags": ["from-policy"]}}]),
        one("p-tagged", {"deny": {"message": "tagged"}}, when="'from-policy' in tags", priority=5),
        one("p-log", {"log": {"message": "seen it", "fields": ["model", "tokens.input"]}}),
        one("p-alert", {"alert": {"message": "look here", "url": f"{hook.url}/alert", "every": "1h"}}),
        one(
            "p-hook-no",
            {"webhook": {"url": f"{hook.url}/no", "wait": True, "body": True, "secret": "whsec_c2VjcmV0"}},
        ),
        one("p-hook-broken", {"webhook": {"url": f"{hook.url}/broken", "wait": True}}),
        one("p-hook-lax", {"webhook": {"url": f"{hook.url}/broken", "wait": True, "on_fail": "allow"}}),
        one("p-hook-later", {"webhook": {"url": f"{hook.url}/later"}}),
        one("p-tools", {"tool_scope": {"blocked": ["delete_*"]}}),
        one("p-tools-out", {"tool_scope": {"allowed": ["get_*"], "otherwise": "remove"}}),
        one("p-schema", {"validate_schema": {"schema": schema, "field": "metadata"}}),
        one("p-guard", {"guardrail": {"guardrails": ["codeword"]}}),
        one("p-cap", {"spend_cap": {"usd": "0.000001", "window": "1h"}}),
        one(
            "q-deny", {"deny": {"message": "no sound"}}, phase="post", when="response.text.contains('quack')"
        ),
        one("q-redact", {"redact": {"presets": ["cards"], "fields": ["id"]}}, phase="post"),
        one(
            "q-transform",
            {
                "transform": [
                    {"set_header": {"name": "x-seen", "value": "yes"}},
                    {"regex_replace": {"pattern": "cat", "replacement": "dog"}},
                ]
            },
            phase="post",
        ),
        one("q-schema", {"validate_schema": {"schema": schema}}, phase="post"),
        one("q-tools", {"tool_scope": {"blocked": ["get_weather"]}}, phase="post"),
        one("q-args", {"tool_scope": {"arguments": {"get_weather": {"required": ["zip"]}}}}, phase="post"),
        one("q-hook", {"webhook": {"url": f"{hook.url}/no", "wait": True}}, phase="post"),
        one("q-guard", {"guardrail": {"guardrails": ["codeword"]}}, phase="post"),
        one("s-deny", {"deny": {"message": "no streams of this"}}, phase="stream"),
        one("s-redact", {"redact": {"presets": ["cards"]}}, phase="stream"),
        one("s-tools", {"tool_scope": {"blocked": ["get_weather"]}}, phase="stream"),
        one(
            "s-transform", {"transform": [{"set_header": {"name": "x-seen", "value": "yes"}}]}, phase="stream"
        ),
        one(
            "a-log",
            {
                "log": {
                    "message": "afterwards",
                    "fields": ["response.status", "tokens.output", "response.text"],
                }
            },
            phase="async",
        ),
        one("shadow", {"deny": {"status": 418}}, mode="shadow"),
    ]


SAYS = {
    "q-deny": "text=ducks quack",
    "q-redact": f"text=pay with {CARD} today",
    "q-transform": "text=the cat sat",
    "q-guard": "text=the bluebird sings",
    "q-tools": "tool=1",
    "q-args": "tool=1",
    "s-redact": f"text=pay with {CARD} today",
    "s-tools": "tool=1",
    "p-guard": "text=the bluebird sings",
}


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, hook: Hook, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    rules = policies(hook)
    models = [
        make_model(
            rule["name"],
            make_deployment(provider, SAYS.get(rule["name"], ""), model=rule["name"]),
            policies=[rule["name"]],
            price={"input_per_million": 1, "output_per_million": 1},
        )
        for rule in rules
    ]
    models[0]["policies"].append("p-allow")
    models[[rule["name"] for rule in rules].index("p-tag")]["policies"].append("p-tagged")
    config = make_config(
        *models,
        make_model("plain", make_deployment(provider, "", model="plain")),
        make_model("secret", make_deployment(provider, "", model="secret")),
        policies=rules,
        guardrails=[{"name": "codeword", "words": ["bluebird"], "scan": ["output"], "action": "block"}],
        recording={"keep": 100},
        cache={"enabled": True},
    )
    with Gateway(tmp_path_factory.mktemp("policies"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway, key: Key, model: str, *, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = chat(model, **fields)
    return gateway.http.post(
        "/v1/chat/completions",
        json=body,
        headers={**key.bearer, "cache-control": "no-cache", **(headers or {})},
    )


def manage(gateway: Gateway, method: str, path: str, body: Any = None) -> Any:
    answer = gateway.http.request(method, path, json=body, headers=gateway.admin)
    assert answer.is_success, answer.text
    return answer.json()


def refused(response: httpx.Response, status: int, text: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == "policy_denied", error
    assert text in error["message"]


def sent(provider: MockProvider, mark: int) -> dict[str, Any]:
    (seen,) = provider.requests(mark)
    body = seen.json()
    assert isinstance(body, dict)
    return body


def test_a_policy_denies_with_its_status_and_words(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    refused(ask(gateway, key, "p-deny", max_tokens=101), 451, "closed")
    assert provider.requests(mark) == []
    passed = ask(gateway, key, "p-deny", max_tokens=100)
    assert passed.status_code == 200
    assert "x-ailink-policies" not in passed.headers


def test_allow_ends_the_questions(gateway: Gateway, key: Key):
    passed = ask(gateway, key, "p-deny", max_tokens=101, headers={"x-vip": "yes"})
    assert passed.status_code == 200
    assert passed.headers["x-ailink-policies"] == "p-allow;allow"


def test_a_request_is_redacted(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    messages = [{"role": "user", "content": f"my card is {CARD}"}]
    assert (
        ask(gateway, key, "p-redact", messages=messages, user="joe", metadata={"a": "b"}).status_code == 200
    )
    body = sent(provider, mark)
    assert CARD not in json.dumps(body)
    assert (body["user"], body["metadata"]) == ("[REDACTED]", {"a": "[REDACTED]"})


def test_a_request_is_transformed(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    messages = [{"role": "system", "content": "You know cats."}, {"role": "user", "content": "one cat"}]
    assert ask(gateway, key, "p-transform", messages=messages, top_p=0.5).status_code == 200
    (seen,) = provider.requests(mark)
    body = seen.json()
    text = json.dumps(body)
    assert "You know dogs.\\n\\nBe brief." in text
    assert "one dog" in text
    assert "Thanks." in text
    assert "top_p" not in body
    assert body["temperature"] == 0.25
    assert seen.headers.get("x-client-request-id") == "by-policy"


def test_fields_are_overridden(gateway: Gateway, key: Key, provider: MockProvider):
    mark = provider.mark()
    assert ask(gateway, key, "p-override", max_tokens=5000).status_code == 200
    assert sent(provider, mark)["max_tokens"] == 7


def test_a_route_goes_where_the_key_may(gateway: Gateway, key: Key):
    assert ask(gateway, key, "p-route").headers["x-ailink-model"] == "plain"
    narrow = gateway.mint(models=["p-route-denied"])
    denied = ask(gateway, narrow, "p-route-denied")
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "model_access_denied")


def test_a_split_keeps_its_sides(gateway: Gateway, key: Key, provider: MockProvider):
    seeds = set()
    for user in range(12):
        mark = provider.mark()
        for _ in range(2):
            assert ask(gateway, key, "p-split", user=f"u{user}").status_code == 200
        first, second = (request.json()["seed"] for request in provider.requests(mark))
        assert first == second
        seeds.add(first)
    assert seeds == {1, 2}


def test_a_rate_is_kept(gateway: Gateway):
    key = gateway.mint()
    assert [ask(gateway, key, "p-rate").status_code for _ in range(3)] == [200, 200, 429]
    assert ask(gateway, key, "p-rate").headers["retry-after"]
    assert ask(gateway, gateway.mint(), "p-rate").status_code == 200


def test_a_request_waits(gateway: Gateway, key: Key):
    answered = ask(gateway, key, "p-throttle")
    assert answered.status_code == 200
    assert answered.elapsed.total_seconds() >= 0.3
    assert int(answered.headers["x-ailink-overhead"]) < 250_000


def test_the_cache_is_left_out(gateway: Gateway, key: Key):
    asked = [
        ask(gateway, key, model, headers={"cache-control": "max-age=60"}, seed=77).headers["x-ailink-cache"]
        for model in ("p-cache", "p-cache", "plain", "plain")
    ]
    assert asked == ["bypass", "bypass", "miss", "hit"]


def test_tags_are_seen_by_later_policies(gateway: Gateway, key: Key):
    refused(ask(gateway, key, "p-tag"), 403, "tagged")


def test_logs_and_alerts_are_told(gateway: Gateway, key: Key, hook: Hook):
    assert ask(gateway, key, "p-log").status_code == 200
    until(lambda: "policy p-log: seen it model=p-log tokens.input=" in gateway.log, "the line is in the log")
    for _ in range(3):
        assert ask(gateway, key, "p-alert").status_code == 200
    until(lambda: any(body.get("type") == "policy.alert" for _, body in hook.seen), "the alert was told")
    alerts = [body for _, body in hook.seen if body.get("type") == "policy.alert"]
    assert len(alerts) == 1
    assert "look here" in alerts[0]["text"]


def test_a_webhook_has_the_word(gateway: Gateway, key: Key, hook: Hook):
    refused(ask(gateway, key, "p-hook-no"), 403, "not today")
    headers, body = next(seen for seen in hook.seen if seen[1]["policy"] == "p-hook-no")
    assert headers["webhook-signature"].startswith("v1,")
    assert body["request"]["model"] == "p-hook-no"
    refused(ask(gateway, key, "p-hook-broken"), 403, "answered 500")
    assert ask(gateway, key, "p-hook-lax").status_code == 200
    assert ask(gateway, key, "p-hook-later").status_code == 200
    until(lambda: any(body["policy"] == "p-hook-later" for _, body in hook.seen), "the webhook was told")


def test_tools_are_kept_within_their_scope(gateway: Gateway, key: Key, provider: MockProvider):
    def tool(name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}

    refused(ask(gateway, key, "p-tools", tools=[tool("get_x"), tool("delete_user")]), 403, "delete_user")
    assert ask(gateway, key, "p-tools", tools=[tool("get_x")]).status_code == 200
    mark = provider.mark()
    assert ask(gateway, key, "p-tools-out", tools=[tool("get_x"), tool("delete_user")]).status_code == 200
    body = sent(provider, mark)
    assert "get_x" in json.dumps(body["tools"])
    assert "delete_user" not in json.dumps(body)


def test_a_request_fits_its_schema(gateway: Gateway, key: Key):
    refused(ask(gateway, key, "p-schema", metadata={"city": 5}), 422, "`city` is not of type string")
    refused(ask(gateway, key, "p-schema"), 422, "is missing")
    assert ask(gateway, key, "p-schema", metadata={"city": "Bonn"}).status_code == 200


def test_a_guardrail_comes_with_a_policy(gateway: Gateway, key: Key):
    blocked = ask(gateway, key, "p-guard")
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (400, "content_policy_violation")


def test_spending_ends_at_its_cap(gateway: Gateway):
    key = gateway.mint()
    assert ask(gateway, key, "p-cap").status_code == 200
    capped = until(
        lambda: (last := ask(gateway, key, "p-cap")).status_code != 200 and last, "the cap is reached"
    )
    assert (capped.status_code, capped.json()["error"]["code"]) == (422, "budget_exceeded")


def test_answers_are_withheld(gateway: Gateway, key: Key):
    refused(ask(gateway, key, "q-deny"), 403, "no sound")
    # Asking for a stream is no way around it.
    refused(ask(gateway, key, "q-deny", stream=True), 403, "no sound")
    refused(ask(gateway, key, "q-schema"), 422, "missing")
    refused(ask(gateway, key, "q-hook"), 403, "not today")
    for stream in (False, True):
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
        refused(ask(gateway, key, "q-tools", stream=stream, tools=tools), 403, "get_weather")
        refused(ask(gateway, key, "q-args", stream=stream, tools=tools), 422, "zip")
    assert ask(gateway, key, "q-guard").json()["error"]["code"] == "content_policy_violation"


def test_answers_are_changed(gateway: Gateway, key: Key):
    redacted = ask(gateway, key, "q-redact").json()
    assert CARD not in json.dumps(redacted)
    assert redacted["id"] == "[REDACTED]"
    changed = ask(gateway, key, "q-transform")
    assert changed.headers["x-seen"] == "yes"
    assert changed.json()["choices"][0]["message"]["content"] == "the dog sat"
    refused(ask(gateway, key, "q-transform", stream=True), 400, "which a stream does not allow")


def test_streams_are_watched(gateway: Gateway, key: Key):
    refused(ask(gateway, key, "s-deny", stream=True), 403, "no streams of this")
    assert ask(gateway, key, "s-deny").status_code == 200
    redacted = ask(gateway, key, "s-redact", stream=True)
    assert "1111" not in redacted.text
    assert redacted.text.rstrip().endswith(DONE)
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    stopped = ask(gateway, key, "s-tools", stream=True, tools=tools)
    assert stopped.status_code == 200
    assert "get_weather" not in stopped.text.split("policy_denied")[0].replace("'get_weather'", "")
    assert "policy_denied" in stopped.text
    assert ask(gateway, key, "s-transform", stream=True).headers["x-seen"] == "yes"


@pytest.mark.parametrize("stream", [False, True])
def test_what_comes_afterwards_delays_nobody(gateway: Gateway, key: Key, stream: bool):
    assert ask(gateway, key, "a-log", stream=stream).status_code == 200
    until(lambda: "policy a-log: afterwards response.status=200" in gateway.log, "the line is in the log")


def test_shadow_has_no_effect(gateway: Gateway, key: Key):
    passed = ask(gateway, key, "shadow")
    assert passed.status_code == 200
    assert "x-ailink-policies" not in passed.headers


def test_one_story_from_draft_to_force_and_back(gateway: Gateway, key: Key):
    """Simulate a draft, replay it over what was, run it in shadow, promote it, roll it back."""
    draft: dict[str, Any] = {
        "phase": "pre",
        "when": "body.max_tokens > 1000 && key.id == '" + key.id + "'",
        "then": [{"deny": {"status": 403, "message": "too long"}}],
        "attach": {"models": ["plain"]},
    }
    for tokens in (10, 2000, 3000):
        assert ask(gateway, key, "plain", max_tokens=tokens).status_code == 200

    def admin(method: str, path: str, body: Any = None) -> Any:
        return manage(gateway, method, path, body)

    request = {"body": chat("plain", max_tokens=2000), "key_id": key.id}
    told = admin("POST", "/policies/simulate", {"request": request, "draft": {"name": "no-novels", **draft}})
    assert (told["outcome"], told["status"], told["by"]) == ("deny", 403, "no-novels")
    allowed = {**request, "body": chat("plain", max_tokens=20)}
    assert admin("POST", "/policies/simulate", {"request": allowed, "draft": draft})["outcome"] == "allow"
    replayed = admin("POST", "/policies/replay", {"draft": {"name": "no-novels", **draft}})
    assert replayed["denied"] == 2
    assert replayed["denied_by"] == {"no-novels": 2}

    shadow = {**draft, "mode": "shadow"}
    assert admin("PUT", "/policies/no-novels", {"policy": shadow})["version"] == 1
    assert ask(gateway, key, "plain", max_tokens=2000).status_code == 200
    assert ask(gateway, gateway.mint(), "plain", max_tokens=2000).status_code == 200
    report = admin("GET", "/policies/report?policy=no-novels")
    assert [row["shadow"] for row in report["policies"]] == [1]
    assert report["policies"][0]["shadow_by_key"] == {key.id: 1}
    assert report["latest"][0]["label"] == "deny"

    assert admin("POST", "/policies/no-novels/promote")["version"] == 2
    refused(ask(gateway, key, "plain", max_tokens=2000), 403, "too long")
    assert admin("POST", "/policies/no-novels/rollback", {"version": 1})["version"] == 3
    assert ask(gateway, key, "plain", max_tokens=2000).status_code == 200
    assert [one["version"] for one in admin("GET", "/policies/no-novels/versions")["versions"]] == [3, 2, 1]
    assert admin("POST", "/policies/no-novels/promote")["version"] == 4
    gateway.restart()
    refused(ask(gateway, key, "plain", max_tokens=2000), 403, "too long")
    assert admin("DELETE", "/policies/no-novels")["policy"] is None
    assert ask(gateway, key, "plain", max_tokens=2000).status_code == 200


def test_a_policy_that_cannot_work_is_refused_with_its_place(gateway: Gateway):
    def put(policy: dict[str, Any]) -> dict[str, Any]:
        answer = gateway.http.put(
            "/policies/bad",
            json={"policy": policy},
            headers=gateway.admin,
        )
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert isinstance(error, dict)
        return error

    deny = [{"deny": {}}]
    for policy, place, text in [
        ({"then": deny, "wehn": "stream"}, "policy.wehn", "did you mean `when`"),
        ({"then": [{"dney": {}}]}, "policy.then[0].dney", "did you mean `deny`"),
        ({"then": deny, "when": "modell == 'x'"}, "policy.when", "did you mean `model`"),
        ({"then": deny, "when": {"field": "model", "op": "equals", "value": 1}}, "policy.when", "equals"),
        ({"then": [{"route": {"model": "plane"}}]}, "policy.then[0].route.model", "did you mean `plain`"),
        ({"then": deny, "timezone": "Mars/Base"}, "policy.timezone", "no time zone"),
        ({"then": deny, "attach": {"routes": ["chatt"]}}, "policy", "no route"),
        ({"then": deny, "phase": "async"}, "policy.then[0]", "no effect in the phase"),
        ({"then": []}, "policy.then", "1 to 32"),
    ]:
        error = put(policy)
        assert error["param"] == place, error
        assert text in error["message"], error


def test_policies_are_inherited(gateway: Gateway):
    """From the team to its keys, and beside those of one key."""
    team = manage(gateway, "POST", "/team/new", {"team_alias": "red"})["team_id"]
    inside, outside = gateway.mint(team_id=team), gateway.mint()
    rule = {"then": [{"deny": {"message": "not for red"}}], "attach": {"teams": [team]}}
    manage(gateway, "PUT", "/policies/not-red", {"policy": rule})
    refused(ask(gateway, inside, "plain"), 403, "not for red")
    assert ask(gateway, outside, "plain").status_code == 200
    own = {"then": [{"deny": {"message": "not for you"}}], "attach": {"keys": [outside.id]}, "priority": -5}
    manage(gateway, "PUT", "/policies/not-you", {"policy": own})
    refused(ask(gateway, outside, "plain"), 403, "not for you")
    for name in ("not-red", "not-you"):
        manage(gateway, "DELETE", f"/policies/{name}")
    assert ask(gateway, inside, "plain").status_code == 200


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://[::1]:1/", "http://169.254.169.254/", "http://localhost:1/"]
)
def test_webhooks_of_the_api_stay_outside(gateway: Gateway, key: Key, url: str):
    rule = {"then": [{"webhook": {"url": url, "wait": True}}], "attach": {"keys": [key.id]}}
    manage(gateway, "PUT", "/policies/inner", {"policy": rule})
    refused(ask(gateway, key, "plain"), 403, "could not be made")
    manage(gateway, "DELETE", "/policies/inner")
    until(lambda: "is not a public address" in gateway.log, "the operator is told")
