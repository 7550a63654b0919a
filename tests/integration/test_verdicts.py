"""What guardrails and policies said of requests: beside what was spent, and where a request is
explained; from SQLite and from PostgreSQL alike.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    PostgresServer,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)

SEAL = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
MAIL = "ada@example.org"
RULES = [
    {"name": "pii", "presets": ["pii"], "scan": ["input"], "action": "redact"},
    {"name": "codeword", "words": ["bluebird"], "scan": ["input"], "action": "block"},
    {"name": "watched", "words": ["cuckoo"], "scan": ["output"], "action": "block", "mode": "shadow"},
]
POLICIES: list[dict[str, Any]] = [
    {"name": "closed", "when": "model == 'closed'", "then": [{"deny": {"status": 403, "message": "no"}}]},
    {
        "name": "short",
        "when": "'long' in tags",
        "mode": "shadow",
        "then": [{"override": {"set": {"max_tokens": 5}}}],
    },
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def gateway(
    request: pytest.FixtureRequest, provider: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    more: dict[str, Any] = {}
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        more = {"database_url": server.url(server.make_database()), "encryption_key": SEAL}
    config = make_config(
        make_model("m", make_deployment(provider, "echo"), guardrails=["pii", "codeword", "watched"]),
        make_model("free", make_deployment(provider, "echo")),
        make_model("closed", make_deployment(provider, "echo")),
        guardrails=RULES,
        policies=POLICIES,
        defaults={"policies": ["closed", "short"]},
        routing={"explain": {"keep": 100, "percent": 100}},
        **more,
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, text: str, model: str = "m", **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=key.bearer)


def id_of(response: httpx.Response) -> str:
    return str(response.headers["x-ailink-request-id"])


def verdicts(gateway: Gateway, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.call("/guardrails/verdicts", **query)["data"]
    return found


def test_they_stand_beside_what_was_spent(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, f"{MAIL} heard a cuckoo")
    assert answer.status_code == 200
    rows = gateway.attempts_of(id_of(answer))
    expected = [
        {"kind": "guardrail", "name": "pii", "label": "EMAIL", "action": "redact", "shadow": False,
         "side": "input", "place": "messages[0].content", "matches": 1},
        {"kind": "guardrail", "name": "watched", "label": "REDACTED", "action": "block", "shadow": True,
         "side": "output", "place": "choices[0].message.content", "matches": 1},
    ]  # fmt: skip
    assert [row["verdicts"] for row in rows] == [expected]
    (paged,) = gateway.call("/spend/logs/v2", request_id=id_of(answer))["data"]
    assert paged["verdicts"] == expected
    found = verdicts(gateway, request_id=id_of(answer))
    assert [row["name"] for row in reversed(found)] == ["pii", "watched"]
    assert {row["api_key"] for row in found} == {key.token}
    # What was found is never told.
    assert MAIL not in json.dumps([rows, paged, found])


def test_one_that_nothing_was_found_in_has_none(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "nothing to see")
    (row,) = gateway.attempts_of(id_of(answer))
    assert row["verdicts"] == []
    assert verdicts(gateway, request_id=id_of(answer)) == []
    explained = gateway.call(f"/routing/explain/{id_of(answer)}")
    assert (explained["verdicts"], explained["kept"], len(explained["attempts"])) == ([], True, 1)
    assert [one["attempt_id"] for one in explained["spend"]] == [row["attempt_id"]]


def test_streams_have_theirs(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "a cuckoo, streamed", stream=True)
    (row,) = gateway.attempts_of(id_of(answer))
    assert [(one["name"], one["shadow"]) for one in row["verdicts"]] == [("watched", True)]


@pytest.mark.parametrize(
    ("model", "text", "kind", "name"),
    [("m", "a bluebird", "guardrail", "codeword"), ("closed", "hello", "policy", "closed")],
)
def test_refused_requests_are_explained(
    gateway: Gateway, key: Key, model: str, text: str, kind: str, name: str
) -> None:
    refused = ask(gateway, key, text, model)
    assert refused.status_code in (400, 403), refused.text
    (row,) = verdicts(gateway, request_id=id_of(refused))
    assert (row["kind"], row["name"], row["model"], row["shadow"]) == (kind, name, model, False)
    assert gateway.call("/spend/logs", request_id=id_of(refused)) == []
    explained = gateway.call(f"/routing/explain/{id_of(refused)}")
    assert [one["name"] for one in explained["verdicts"]] == [name]
    where = ["--url", gateway.url, "--key", gateway.admin_key]
    command = [sys.executable, "-m", "ailink", "explain", id_of(refused), *where]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert name in shown


def test_policies_in_shadow(gateway: Gateway) -> None:
    answer = ask(gateway, gateway.mint(tags=["long"]), "hello", "free")
    (row,) = gateway.attempts_of(id_of(answer))
    (verdict,) = row["verdicts"]
    assert (verdict["kind"], verdict["name"], verdict["shadow"]) == ("policy", "short", True)
    assert (verdict["action"], verdict["side"], verdict["place"]) == ("override", "pre", "version 1")
    assert gateway.metric("ailink_policy_verdicts_total", policy="short", mode="shadow") >= 1


def test_they_are_found_by_what_they_are(gateway: Gateway, key: Key) -> None:
    other = gateway.mint()
    ids = [id_of(ask(gateway, other, f"{MAIL} and a cuckoo")) for _ in range(3)]
    until(lambda: len(verdicts(gateway, api_key=other.secret)) == 6, "all are there")
    mine = verdicts(gateway, api_key=other.secret, name="pii")
    assert [row["request_id"] for row in mine] == ids[::-1]
    assert len(verdicts(gateway, api_key=other.secret, shadow="true")) == 3
    assert len(verdicts(gateway, api_key=other.secret, limit=2)) == 2
    assert verdicts(gateway, api_key=other.secret, kind="policy") == []


def test_a_restart_keeps_them(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, f"{MAIL} before")
    gateway.restart()
    assert [row["name"] for row in verdicts(gateway, request_id=id_of(answer))] == ["pii"]
    (row,) = gateway.attempts_of(id_of(answer))
    assert [one["name"] for one in row["verdicts"]] == ["pii"]
    assert [one["name"] for one in gateway.call(f"/routing/explain/{id_of(answer)}")["verdicts"]] == ["pii"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"request_id": "x"}, "request_id"),
        ({"kind": "x"}, "kind"),
        ({"limit": "0"}, "limit"),
        ({"x": "1"}, "x"),
    ],
)
def test_bad_input(gateway: Gateway, query: dict[str, str], param: str) -> None:
    refused = gateway.http.get("/guardrails/verdicts", params=query, headers=gateway.admin)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_they_are_the_administrators(gateway: Gateway, key: Key) -> None:
    assert gateway.http.get("/guardrails/verdicts", headers=key.bearer).status_code in (401, 403)
