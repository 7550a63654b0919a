"""What the cache saved, whose entries are, and how they go: the API and the command line."""

import itertools
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model, until

PRICE = {"input_per_million": 0, "output_per_million": 0, "per_request": 1}
numbers = itertools.count()


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("m", make_deployment(provider, "usage=7:9;echo"), price=PRICE),
        make_model("other", make_deployment(provider, "echo"), price=PRICE),
        make_model("slow", make_deployment(provider, "latency=700;echo")),
        make_model("small", make_deployment(provider, "echo")),
        *(
            make_model(f"by-{scope}", make_deployment(provider, "echo"), cache={"scope": scope})
            for scope in ("key", "user", "team", "organization")
        ),
        cache={"enabled": True, "ttl": "1h", "max_entry_bytes": "64KiB"},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def ask(gateway: Gateway, secret: str, text: str, model: str = "m", **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {secret}"} | headers
    return gateway.http.post("/v1/chat/completions", json=chat(model, text), headers=sent).raise_for_status()


def told(response: httpx.Response) -> str:
    return str(response.headers["x-ailink-cache"])


def test_stats_tell_what_was_saved(gateway: Gateway) -> None:
    key = gateway.mint()
    for _ in range(3):
        ask(gateway, key.secret, "worth a dollar")
    ask(gateway, key.secret, "worth a dollar", **{"cache-control": "no-store"})
    stats = gateway.call("/cache/stats")
    [mine] = [row for row in stats["by_key"] if row["name"] == key.id]
    assert (mine["hits"], mine["misses"], mine["bypassed"]) == (2, 1, 1)
    assert (mine["saved_usd"], mine["saved_input_tokens"], mine["saved_output_tokens"]) == (2, 14, 18)
    assert mine["hit_rate"] == pytest.approx(2 / 3)
    assert mine["saved_seconds"] > 0
    assert stats["entries"] >= 1
    assert {row["name"] for row in stats["by_model"]} >= {"m"}
    assert {row["name"] for row in stats["by_endpoint"]} == {"chat"}
    # Hits cost nothing: one dollar for the miss, one for the request that went around the cache.
    until(lambda: len(gateway.spend_logs(api_key=key.token)) == 2, "two attempts in the ledger")


def test_an_entry_explained_and_deleted(gateway: Gateway) -> None:
    key = gateway.mint(tags=["blue"])
    name = ask(gateway, key.secret, "explained").headers["x-ailink-cache-key"]
    entry = gateway.call("/cache/explain", key=name)
    assert (entry["model"], entry["tenant"], entry["tags"]) == ("m", f"key:{key.id}", ["blue"])
    assert (entry["input_tokens"], entry["output_tokens"], entry["cost_pico"]) == (7, 9, 10**12)
    assert "explained" not in json.dumps(entry)
    assert gateway.call("/cache/delete", {"keys": [name]}) == {"status": "success", "deleted": 1}
    assert told(ask(gateway, key.secret, "explained")) == "miss"
    missing = gateway.http.get("/cache/explain", params={"key": "0" * 64}, headers=gateway.admin)
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("purge", "goes", "stays"),
    [
        ({"model": "other"}, [("a", "other")], [("a", "m"), ("b", "m")]),
        ({"tag": "red"}, [("b", "m"), ("b", "other")], [("a", "m")]),
        ({"key": "a"}, [("a", "m"), ("a", "other")], [("b", "m")]),
        ({"tenant": "a"}, [("a", "m")], [("b", "m")]),
        ({"key": "a", "model": "m"}, [("a", "m")], [("a", "other"), ("b", "m")]),
    ],
)
def test_purges(gateway: Gateway, purge: dict[str, str], goes: Any, stays: Any) -> None:
    keys = {"a": gateway.mint(), "b": gateway.mint(tags=["red"])}
    text = f"purged {next(numbers)}"
    for (_, key), model in itertools.product(keys.items(), ("m", "other")):
        ask(gateway, key.secret, text, model)
    if "key" in purge:
        purge = purge | {"key": keys[purge["key"]].id}
    if "tenant" in purge:
        purge = purge | {"tenant": f"key:{keys[purge['tenant']].id}"}
    assert gateway.call("/cache/purge", purge)["deleted"] >= len(goes)
    for key, model in stays:
        assert told(ask(gateway, keys[key].secret, text, model)) == "hit"
    for key, model in goes:
        assert told(ask(gateway, keys[key].secret, text, model)) == "miss"


def test_a_namespace_is_purged(gateway: Gateway) -> None:
    key = gateway.mint()
    named = {"x-ailink-cache-namespace": "n1"}
    ask(gateway, key.secret, "named", **named)
    ask(gateway, key.secret, "named")
    assert gateway.call("/cache/purge", {"namespace": "n1"})["deleted"] == 1
    assert told(ask(gateway, key.secret, "named", **named)) == "miss"
    assert told(ask(gateway, key.secret, "named")) == "hit"


def test_a_purge_during_a_fill_does_not_bring_the_entry_back(
    gateway: Gateway, provider: MockProvider
) -> None:
    key, mark = gateway.mint(), provider.mark()
    filling = threading.Thread(target=lambda: ask(gateway, key.secret, "being filled", "slow"))
    filling.start()
    until(lambda: provider.requests(since=mark), "the provider is asked")
    gateway.call("/cache/flushall", {})
    filling.join()
    assert told(ask(gateway, key.secret, "being filled", "slow")) == "miss"
    assert told(ask(gateway, key.secret, "being filled", "slow")) == "hit"


def test_what_is_too_large_is_not_kept(gateway: Gateway) -> None:
    key, text = gateway.mint(), "x" * 100_000
    before = gateway.call("/cache/stats")["not_stored"]
    for _ in range(2):
        assert told(ask(gateway, key.secret, text, "small")) == "miss"
    assert gateway.call("/cache/stats")["not_stored"] == before + 2


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/cache/purge", {}, "keys"),
        ("/cache/purge", {"keys": ["short"]}, "keys"),
        ("/cache/delete", {"keys": []}, "keys"),
        ("/cache/delete", {"keys": ["z" * 64]}, "keys"),
    ],
)
def test_bad_input(gateway: Gateway, path: str, body: dict[str, Any], param: str) -> None:
    refused = gateway.http.post(path, json=body, headers=gateway.admin)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_management_is_the_administrators(gateway: Gateway) -> None:
    key = gateway.mint()
    for method, path in (("GET", "stats"), ("GET", "ping"), ("POST", "flushall"), ("POST", "purge")):
        refused = gateway.http.request(method, f"/cache/{path}", headers=key.bearer)
        assert refused.status_code in (401, 403)


def test_ping(gateway: Gateway) -> None:
    assert gateway.call("/cache/ping")["status"] == "healthy"


def test_the_command_line(gateway: Gateway) -> None:
    key = gateway.mint()
    name = ask(gateway, key.secret, "by hand").headers["x-ailink-cache-key"]

    def run(*arguments: str) -> str:
        where = ["--url", gateway.url, "--key", gateway.admin_key]
        command = [sys.executable, "-m", "ailink", "cache", *arguments, *where]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert json.loads(run("explain", name))["model"] == "m"
    assert "hit rate" in run("stats", "--by", "key")
    assert json.loads(run("stats", "--json"))["enabled"]
    assert run("purge", "--tenant", f"key:{key.id}") == "1 entries removed\n"
    assert told(ask(gateway, key.secret, "by hand")) == "miss"


def test_no_answer_ever_crosses_a_tenant(gateway: Gateway) -> None:
    """Random keys ask random questions of models of every scope; each hit must come from the same tenant."""
    for organization in ("x1", "x2"):
        gateway.call(
            "/organization/new", {"organization_id": organization, "organization_alias": organization}
        )
        for team in ("a", "b"):
            team_id = f"{organization}{team}"
            gateway.call("/team/new", {"team_id": team_id, "organization_id": organization})
    for user in ("v1", "v2"):
        gateway.call("/user/new", {"user_id": user, "auto_create_key": False})
    made: list[dict[str, Any]] = [{}, {}, {"user_id": "v1"}, {"user_id": "v1"}, {"user_id": "v2"}]
    made += [{"team_id": team} for team in ("x1a", "x1a", "x1b", "x2a", "x2b", "x2b")]
    keys = [(gateway.mint(**settings), settings) for settings in made]

    def tenant(number: int, scope: str) -> str:
        key, settings = keys[number]
        team = settings.get("team_id")
        owners = {"user": settings.get("user_id"), "team": team, "organization": team and team[:2]}
        return str(owners.get(scope) or key.id)

    chance = random.Random(20261121)
    answered: dict[tuple[str, str, str, str], set[str]] = {}
    hits = 0
    for _ in range(600):
        number = chance.randrange(len(keys))
        scope = chance.choice(("key", "user", "team", "organization"))
        text = f"question {chance.randrange(6)}"
        namespace = chance.choice(("", "n", f"key:{keys[0][0].id}"))
        named = {"x-ailink-cache-namespace": namespace} if namespace else {}
        response = ask(gateway, keys[number][0].secret, text, f"by-{scope}", **named)
        known = answered.setdefault((tenant(number, scope), scope, text, namespace), set())
        identity = response.json()["id"]
        if told(response) == "hit":
            hits += 1
            assert identity in known, (number, scope, text)
        else:
            assert not known, (number, scope, text)
        known.add(identity)
    assert hits > 100
