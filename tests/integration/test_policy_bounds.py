"""Much of everything: rules, patterns, text, depth. It works or is refused, and never is a 5xx."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

RULES = 2_000
WORDS = 80_000
DEEP = 100_000
PROMPT = 10_000_000


def rules() -> list[dict[str, Any]]:
    """Each of them is asked, and the last one holds for one word of a long list."""
    when = [
        "headers['x-team'] == 'red{n}'",
        "body.max_tokens > {n}00000",
        "metadata.plan.startsWith('p{n}-')",
        "'tag{n}' in tags",
    ]
    many = [
        {"name": f"rule-{n}", "when": when[n % 4].format(n=n), "then": [{"deny": {"message": f"rule {n}"}}]}
        for n in range(RULES)
    ]
    words = [f"word{n:08}" for n in range(WORDS)]
    return [
        {"name": "deep", "when": "body.x[*] == 7", "then": [{"deny": {"message": "deep"}}]},
        {"name": "needle", "when": "body.messages[*].content.matches('needle$')", "then": [{"deny": {}}]},
        {"name": "list", "priority": 1, "then": [{"redact": {"words": words, "action": "block"}}]},
        *many,
    ]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = rules()
    config = make_config(
        make_model("m", make_deployment(provider)),
        make_model("listed", make_deployment(provider), policies=["list"]),
        make_model("long", make_deployment(provider), policies=["needle", "deep"]),
        make_model("many", make_deployment(provider), policies=[one["name"] for one in made[3:]]),
        policies=made,
        # JSON is YAML that is read quickly.
        recording={"keep": 10},
    )
    with Gateway(tmp_path_factory.mktemp("bounds"), json.dumps(config)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**key.bearer, "content-type": "application/json", **headers}
    return gateway.http.post("/v1/chat/completions", content=content, headers=headers)


def test_thousands_of_policies_are_asked(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, chat("many")).status_code == 200
    last = RULES - 4
    refused = ask(gateway, key, chat("many"), **{"x-team": f"red{last}"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (403, f"rule {last}")


def test_a_list_of_a_megabyte_finds_its_words(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, chat("listed", "word99999999 word0000000")).status_code == 200
    found = ask(gateway, key, chat("listed", f"there is word{WORDS - 1:08} in it"))
    assert (found.status_code, found.json()["error"]["code"]) == (400, "content_policy_violation")


def test_a_long_prompt_is_read_to_its_end(gateway: Gateway, key: Key) -> None:
    passed = ask(gateway, key, chat("long", "x" * PROMPT))
    refused = ask(gateway, key, chat("long", "x" * PROMPT + " needle"))
    assert (passed.status_code, refused.status_code) == (200, 403), passed.text[:300] + refused.text[:300]


@pytest.mark.parametrize("value", ["[" * DEEP + "7" + "]" * DEEP, '{"a":' * DEEP + "7" + "}" * DEEP])
def test_deep_bodies_are_refused_or_answered(gateway: Gateway, key: Key, value: str) -> None:
    body = f'{{"model":"long","messages":[{{"role":"user","content":"hi"}}],"x":{value}}}'.encode()
    answer = ask(gateway, key, body)
    assert answer.status_code in (200, 400), answer.text[:300]
    assert ask(gateway, key, chat("long")).status_code == 200


@pytest.mark.parametrize(
    "when",
    [
        "(" * DEEP + "stream" + ")" * DEEP,
        "!" * DEEP + "stream",
        "model in [" + "[" * 50_000 + "]" * 50_000 + "]",
        json.loads('{"not":' * 400 + '{"field":"stream","op":"eq","value":true}' + "}" * 400),
        "model == 'x' || " * 10_000 + "stream",
    ],
    ids=["parentheses", "negations", "lists", "mappings", "long"],
)
def test_deep_conditions_are_refused(gateway: Gateway, when: Any) -> None:
    body = {"policy": {"when": when, "then": [{"deny": {}}]}}
    answer = gateway.http.put("/policies/odd", json=body, headers=gateway.admin)
    assert answer.status_code == 400, answer.text[:300]
    assert answer.json()["error"]["code"] in ("invalid_policy", "invalid_json"), answer.text[:300]


@pytest.mark.skipif(os.environ.get("AILINK_FULL") != "1", reason="compiles the long list again")
def test_a_policy_is_put_beside_thousands(gateway: Gateway, key: Key) -> None:
    began = time.monotonic()
    body = {"policy": {"then": [{"deny": {"message": "new"}}], "attach": {"models": ["m"]}}}
    assert gateway.http.put("/policies/new", json=body, headers=gateway.admin).status_code == 200
    assert ask(gateway, key, chat("m")).status_code == 403
    assert time.monotonic() - began < 10
