"""The life of a virtual key over HTTP: what management says, the data plane does at once, on every thread."""

import hashlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    RawConnection,
    chat,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)
from tests.harness.raw import request

PRICE = {"input_per_million": 0.15, "output_per_million": 0.6, "per_request": 0.000001}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model(
            "m", make_deployment(provider), make_deployment(provider, dialect="anthropic"), price=PRICE
        ),
        make_model("org/one", make_deployment(provider)),
        make_model("org/two", make_deployment(provider), aliases=["second"]),
        make_model("slow", make_deployment(provider, "latency=60s")),
        server={"trusted_proxies": ["127.0.0.0/8"], "threads": 2},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def ask(gateway: Gateway, key: Key | str, model: str = "m", **headers: str) -> httpx.Response:
    secret = key if isinstance(key, str) else key.secret
    return gateway.http.post(
        "/v1/chat/completions", json=chat(model), headers={"Authorization": f"Bearer {secret}", **headers}
    )


def code(response: httpx.Response) -> tuple[int, str]:
    if response.is_success:
        return response.status_code, ""
    return response.status_code, response.json()["error"]["code"]


def everywhere(gateway: Gateway, key: Key | str) -> Counter[tuple[int, str]]:
    """What a dozen new connections hear, so that every I/O thread is asked."""

    def once(_: int) -> tuple[int, str]:
        with httpx.Client(base_url=gateway.url, timeout=30) as client:
            secret = key if isinstance(key, str) else key.secret
            headers = {"Authorization": f"Bearer {secret}"}
            return code(client.post("/v1/chat/completions", json=chat(), headers=headers))

    return Counter(in_parallel(once, range(12), threads=4))


def last_use(gateway: Gateway, key: Key) -> tuple[str | None, str | None]:
    info = gateway.call("/key/info", key=key.secret)["info"]
    return info["last_active"], info["last_active_address"]


def exact(response: httpx.Response) -> Any:
    return json.loads(response.text, parse_float=Decimal)


# ── made, changed, blocked, rotated, deleted ────────────────────────────────────────────────────────────────


def test_a_new_key_works_at_once(gateway: Gateway) -> None:
    made = gateway.call("/key/generate", {"key_alias": "new", "metadata": {"team": "a"}, "user_id": "u1"})
    assert made["key"].startswith("sk-")
    assert len(made["key"]) >= 40
    assert everywhere(gateway, made["key"]) == {(200, ""): 12}
    info = gateway.call("/key/info", key=made["key"])["info"]
    assert (info["key_alias"], info["metadata"], info["user_id"]) == ("new", {"team": "a"}, "u1")
    # The secret is shown once; afterwards only enough to recognise it.
    assert made["key"] not in json.dumps(gateway.call("/key/list", return_full_object="true", size=100))
    assert made["key"][-4:] in info["key_name"]


def test_a_key_of_ones_own(gateway: Gateway) -> None:
    secret = "sk-0123456789abcdef-chosen"
    assert gateway.call("/key/generate", {"key": secret})["key"] == secret
    assert ask(gateway, secret).status_code == 200
    again = gateway.http.post("/key/generate", json={"key": secret}, headers=gateway.admin)
    assert again.status_code == 400


def test_block_and_unblock(gateway: Gateway) -> None:
    key = gateway.mint()
    with httpx.Client(base_url=gateway.url, headers=key.bearer) as kept:
        # A connection remembers whose it is; that must not outlive the block.
        assert kept.post("/v1/chat/completions", json=chat()).status_code == 200
        gateway.call("/key/block", {"key": key.secret})
        assert code(kept.post("/v1/chat/completions", json=chat())) == (401, "blocked_key")
        assert everywhere(gateway, key) == {(401, "blocked_key"): 12}
        assert kept.get("/v1/models").status_code == 401
        assert kept.get("/key/info").status_code == 401
        gateway.call("/key/unblock", {"key": key.token})
        assert kept.post("/v1/chat/completions", json=chat()).status_code == 200
    assert everywhere(gateway, key) == {(200, ""): 12}


def test_delete(gateway: Gateway) -> None:
    key, other = gateway.mint(key_alias="doomed"), gateway.mint()
    assert gateway.call("/key/delete", {"keys": [key.secret]}) == {"deleted_keys": [key.secret]}
    assert everywhere(gateway, key) == {(401, "invalid_api_key"): 12}
    assert ask(gateway, other).status_code == 200
    again = gateway.http.post("/key/delete", json={"keys": [key.secret]}, headers=gateway.admin)
    assert again.status_code == 404
    # The alias is free again, and what the key spent is not forgotten.
    gateway.mint(key_alias="doomed")
    assert gateway.call("/key/info", key=key.token)["info"]["status"] == "deleted"


def test_delete_is_all_or_nothing(gateway: Gateway) -> None:
    key = gateway.mint(key_alias="kept")
    answer = gateway.http.post(
        "/key/delete", json={"keys": [key.secret, "sk-unknown-0000000000"]}, headers=gateway.admin
    )
    assert answer.status_code == 404
    assert ask(gateway, key).status_code == 200
    gateway.call("/key/delete", {"key_aliases": ["kept"]})
    assert code(ask(gateway, key)) == (401, "invalid_api_key")


def test_expiry(gateway: Gateway) -> None:
    key = gateway.mint(duration="4s")
    assert ask(gateway, key).status_code == 200
    until(lambda: code(ask(gateway, key)) == (401, "expired_key"), "the key has expired", 20)
    assert gateway.http.get("/v1/models", headers=key.bearer).status_code == 401
    assert gateway.http.get("/key/info", headers=key.bearer).status_code == 401
    assert gateway.call("/key/info", key=key.secret)["info"]["status"] == "expired"
    gateway.call("/key/update", {"key": key.secret, "duration": None})
    assert ask(gateway, key).status_code == 200


def test_regenerate(gateway: Gateway) -> None:
    key = gateway.mint(models=["m"], rpm_limit=100)
    ask(gateway, key)
    made = gateway.call("/key/regenerate", {"key": key.secret})
    assert everywhere(gateway, key) == {(401, "invalid_api_key"): 12}
    assert everywhere(gateway, made["key"]) == {(200, ""): 12}
    assert (made["key_id"], made["models"], made["rpm_limit"]) == (key.id, ["m"], 100)
    assert made["rotation_count"] == 1
    assert Decimal(str(made["spend"])) > 0
    other = gateway.call(f"/key/{made['key']}/regenerate", {"new_key": "sk-my-own-rotated-key"})
    assert other["key"] == "sk-my-own-rotated-key"
    assert ask(gateway, "sk-my-own-rotated-key").status_code == 200
    assert code(ask(gateway, made["key"])) == (401, "invalid_api_key")


def test_the_ways_to_name_a_key(gateway: Gateway) -> None:
    key = gateway.mint(key_alias="named")
    hashed = hashlib.sha256(key.secret.encode()).hexdigest()
    for name in (key.secret, key.token, hashed):
        assert gateway.call("/key/info", key=name)["info"]["key_alias"] == "named"
    assert gateway.http.get("/key/info", params={"key": "no"}, headers=gateway.admin).status_code == 404


def test_keys_survive_a_restart(provider: MockProvider, tmp_path: Path) -> None:
    config = make_config(make_model("m", make_deployment(provider), price=PRICE))
    with Gateway(tmp_path, config) as gateway:
        good, blocked, deleted = gateway.mint(), gateway.mint(), gateway.mint()
        limited = gateway.mint(models=["other"])
        gateway.call("/key/block", {"key": blocked.secret})
        gateway.call("/key/delete", {"keys": [deleted.secret]})
        ask(gateway, good)
        spend = gateway.call("/key/info", key=good.secret)["info"]["spend"]
        assert spend > 0
        used = last_use(gateway, good)
        assert used[1] == "127.0.0.1"
        gateway.restart()
        assert last_use(gateway, good) == used
        assert last_use(gateway, limited) == (None, None)
        assert ask(gateway, good).status_code == 200
        assert code(ask(gateway, blocked)) == (401, "blocked_key")
        assert code(ask(gateway, deleted)) == (401, "invalid_api_key")
        assert code(ask(gateway, limited)) == (403, "model_access_denied")
        gateway.kill().start()
        assert ask(gateway, good).status_code == 200
        info = gateway.call("/key/info", key=good.secret)["info"]
        assert Decimal(str(info["spend"])) == 3 * Decimal(str(spend))


def test_the_last_use_outlives_a_killed_process(provider: MockProvider, tmp_path: Path) -> None:
    config = make_config(
        make_model("m", make_deployment(provider)), server={"trusted_proxies": ["127.0.0.0/8"]}
    )
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        ask(gateway, key, **{"X-Forwarded-For": "198.51.100.7"})
        used = last_use(gateway, key)
        assert used[1] == "198.51.100.7"

        def written() -> bool:
            with closing(sqlite3.connect(next(tmp_path.rglob("ailink.db")))) as database:
                return database.execute("SELECT count(*) FROM key_use").fetchone() == (1,)

        until(written, "the last use is written down", 20)
        gateway.kill().start()
        assert last_use(gateway, key) == used


# ── what a key may do ───────────────────────────────────────────────────────────────────────────────────────


def test_models(gateway: Gateway) -> None:
    key = gateway.mint(models=["m", "org/*"])
    assert [ask(gateway, key, model).status_code for model in ("m", "org/one", "org/two")] == [200] * 3
    assert ask(gateway, key, "second").status_code == 200
    assert code(ask(gateway, key, "slow")) == (403, "model_access_denied")
    gateway.call("/key/update", {"key": key.secret, "models": ["org/two"]})
    assert code(ask(gateway, key)) == (403, "model_access_denied")
    assert ask(gateway, key, "org/two").status_code == 200
    gateway.call("/key/update", {"key": key.secret, "models": []})
    assert ask(gateway, key).status_code == 200
    alias = gateway.mint(models=["second"])
    assert ask(gateway, alias, "second").status_code == 200
    assert code(ask(gateway, alias, "org/two")) == (403, "model_access_denied")
    nothing = gateway.mint(models=["no-default-models"])
    assert code(ask(gateway, nothing)) == (403, "model_access_denied")
    assert gateway.http.get("/v1/models", headers=nothing.bearer).json()["data"] == []


def test_endpoints(gateway: Gateway) -> None:
    key = gateway.mint(allowed_routes=["/v1/chat/completions"])
    assert ask(gateway, key).status_code == 200
    assert gateway.http.post("/chat/completions", json=chat(), headers=key.bearer).status_code == 200
    refused = gateway.http.post("/v1/embeddings", json={"model": "m", "input": "x"}, headers=key.bearer)
    assert code(refused) == (403, "endpoint_access_denied")
    refused = gateway.http.post("/v1/messages", json=message(), headers=key.bearer)
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "permission_error"
    gateway.call("/key/update", {"key": key.secret, "allowed_routes": ["llm_api_routes"]})
    assert gateway.http.post("/v1/messages", json=message(), headers=key.bearer).status_code == 200
    scraper = gateway.mint(allowed_routes=["/metrics"])
    assert gateway.http.get("/metrics", headers=scraper.bearer).status_code == 200
    assert code(ask(gateway, scraper)) == (403, "endpoint_access_denied")


def test_addresses(gateway: Gateway) -> None:
    key = gateway.mint(allowed_ips=["10.1.0.0/16", "2001:db8::/32"])
    assert code(ask(gateway, key)) == (403, "address_not_allowed")
    assert ask(gateway, key, **{"x-forwarded-for": "10.1.2.3"}).status_code == 200
    assert ask(gateway, key, **{"x-forwarded-for": "2001:db8::7"}).status_code == 200
    # Only the last hop is vouched for by the proxy that we trust.
    assert code(ask(gateway, key, **{"x-forwarded-for": "10.1.2.3, 10.2.0.1"})) == (
        403,
        "address_not_allowed",
    )
    assert ask(gateway, key, **{"x-forwarded-for": "10.2.0.1, 10.1.2.3, 127.0.0.9"}).status_code == 200
    for lie in ("10.1.2.3, nonsense", "10.1.2.3;", "127.0.0.1"):
        assert code(ask(gateway, key, **{"x-forwarded-for": lie})) == (403, "address_not_allowed")
    gateway.call("/key/update", {"key": key.secret, "allowed_ips": ["127.0.0.1"]})
    assert ask(gateway, key).status_code == 200


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_requests_per_minute(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint(rpm_limit=5)
    mark = provider.mark()
    # What is refused for another reason is not counted.
    assert code(ask(gateway, key, "nothing"))[0] == 404
    answers = in_parallel(lambda _: ask(gateway, key), range(20), threads=8)
    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 15}
    assert len(provider.requests(mark)) == 5
    for answer in answers:
        if answer.status_code == 429:
            assert code(answer) == (429, "rate_limit_exceeded")
            assert 1 <= int(answer.headers["retry-after"]) <= 61
            assert "x-ailink-cost" not in answer.headers
    # A larger limit counts from now on, on top of what the window holds already.
    gateway.call("/key/update", {"key": key.secret, "rpm_limit": 7})
    answers = in_parallel(lambda _: ask(gateway, key), range(10), threads=4)
    assert Counter(answer.status_code for answer in answers) == {200: 2, 429: 8}
    gateway.call("/key/update", {"key": key.secret, "rpm_limit": None})
    assert ask(gateway, key).status_code == 200
    rows = until(lambda: rows if len(rows := gateway.spend_logs(api_key=key.secret)) >= 8 else [])
    assert len(rows) == 8


def test_another_secret_does_not_reset_the_window(gateway: Gateway) -> None:
    key = gateway.mint(rpm_limit=2)
    assert [ask(gateway, key).status_code for _ in range(3)] == [200, 200, 429]
    made = gateway.call("/key/regenerate", {"key": key.secret})
    assert ask(gateway, made["key"]).status_code == 429
    gateway.call("/key/block", {"key": made["key"]})
    gateway.call("/key/unblock", {"key": made["key"]})
    assert ask(gateway, made["key"]).status_code == 429


def test_parallel_requests(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint(max_parallel_requests=2)
    mark = provider.mark()
    body = json.dumps(chat("slow")).encode()
    held = [
        RawConnection(gateway.port).send(
            request("POST", "/v1/chat/completions", body, authorization=f"Bearer {key.secret}")
        )
        for _ in range(2)
    ]
    try:
        until(lambda: len(provider.requests(mark)) == 2, "two requests are at the provider")
        answers = in_parallel(lambda _: ask(gateway, key), range(6), threads=3)
        assert {code(answer) for answer in answers} == {(429, "concurrency_limit_exceeded")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert len(provider.requests(mark)) == 2
    finally:
        for connection in held:
            connection.close()
    # Who leaves gives his place back.
    until(lambda: ask(gateway, key).status_code == 200, "a place is free again")
    assert [ask(gateway, key).status_code for _ in range(5)] == [200] * 5


def test_a_refusal_takes_nothing_of_the_other_limit(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint(max_parallel_requests=1, rpm_limit=2)
    mark = provider.mark()
    body = json.dumps(chat("slow")).encode()
    with RawConnection(gateway.port) as held:
        held.send(request("POST", "/v1/chat/completions", body, authorization=f"Bearer {key.secret}"))
        until(lambda: provider.requests(mark), "the request is at the provider")
        assert {code(ask(gateway, key))[1] for _ in range(3)} == {"concurrency_limit_exceeded"}
    until(lambda: provider.requests(mark)[0].end, "the provider knows that the client left")
    assert ask(gateway, key).status_code == 200
    assert [code(ask(gateway, key))[1] for _ in range(3)] == ["rate_limit_exceeded"] * 3
    # Refused by the window, the place in flight was given back each time.
    gateway.call("/key/update", {"key": key.secret, "rpm_limit": 100})
    assert ask(gateway, key).status_code == 200


# ── spend ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_spend_is_there_in_two_seconds_and_is_that_of_the_ledger(
    provider: MockProvider, tmp_path: Path
) -> None:
    config = make_config(
        make_model("m", make_deployment(provider), price=PRICE),
        make_model("odd", make_deployment(provider, "usage=333333:777777"), price=PRICE),
    )
    with Gateway(tmp_path, config) as gateway:
        keys = [gateway.mint() for _ in range(3)]
        costs = {key.id: Fraction(0) for key in keys}

        def once(number: int) -> tuple[str, Fraction]:
            key = keys[number % len(keys)]
            answer = ask(gateway, key, "odd" if number % 2 else "m")
            usage = answer.json()["usage"]
            cost = (
                Fraction(usage["prompt_tokens"]) * Fraction("0.15") / 10**6
                + Fraction(usage["completion_tokens"]) * Fraction("0.6") / 10**6
                + Fraction("0.000001")
            )
            assert Fraction(answer.headers["x-ailink-cost"]) == cost
            return key.id, cost

        def spends() -> dict[str, Fraction]:
            found = {}
            for key in keys:
                answer = gateway.http.get("/key/info", params={"key": key.secret}, headers=gateway.admin)
                found[key.id] = Fraction(exact(answer)["info"]["spend"])
            return found

        made = 0

        def took() -> float:
            nonlocal made
            for key_id, cost in in_parallel(once, range(60), threads=6):
                costs[key_id] += cost
            made += 60
            began = time.monotonic()
            until(lambda: spends() == costs, f"spend is {costs}")
            return time.monotonic() - began

        # One busy moment is no defect: more requests then.
        assert any(took() <= 2 for _ in range(3))
        until(lambda: exact(gateway.http.get("/global/spend", headers=gateway.admin))["api_requests"] == made)
        total = exact(gateway.http.get("/global/spend", headers=gateway.admin))
        assert Fraction(total["spend"]) == sum(costs.values())
        gateway.stop()
        rows = gateway.ledger()
        for key in keys:
            spent = sum(row.cost_pico for row in rows if row.key == key.id)
            assert Fraction(spent, 10**12) == costs[key.id]
        assert gateway.rollup_pico() == sum(row.cost_pico for row in rows)
        assert len(rows) == made


# ── who may manage ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_normal_key_manages_nothing(gateway: Gateway) -> None:
    key, victim = gateway.mint(), gateway.mint(key_alias="victim")
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/key/generate", {}),
        ("POST", "/key/update", {"key": key.secret, "rpm_limit": 1_000_000}),
        ("POST", "/key/delete", {"keys": [victim.secret]}),
        ("POST", "/key/block", {"key": victim.secret}),
        ("POST", "/key/unblock", {"key": key.secret}),
        ("POST", "/key/regenerate", {"key": victim.secret}),
        ("POST", f"/key/{victim.secret}/regenerate", {}),
        ("GET", "/key/list", None),
        ("GET", "/spend/logs", None),
        ("GET", "/global/spend", None),
        ("GET", "/credentials", None),
        ("POST", "/credentials", {"credential_name": "x", "credential_values": {"api_key": "y"}}),
        ("DELETE", "/credentials/x", None),
        ("GET", "/health/readiness/details", None),
    ]
    for method, path, body in calls:
        answer = gateway.http.request(method, path, json=body, headers=key.bearer)
        assert answer.status_code == 403, (path, answer.text)
        assert answer.json()["error"]["type"] == "permission_error"
        nobody = gateway.http.request(method, path, json=body)
        assert nobody.status_code == 401, (path, nobody.text)
        assert nobody.json()["error"]["type"] == "authentication_error"
    assert ask(gateway, victim).status_code == 200


def test_a_key_sees_itself_only(gateway: Gateway) -> None:
    key, other = gateway.mint(key_alias="self"), gateway.mint(key_alias="other")
    mine = gateway.http.get("/key/info", headers=key.bearer).json()["info"]
    assert mine["key_alias"] == "self"
    named = gateway.http.get("/key/info", params={"key": key.secret}, headers=key.bearer)
    assert named.json()["info"]["key_alias"] == "self"
    foreign = gateway.http.get("/key/info", params={"key": other.secret}, headers=key.bearer)
    missing = gateway.http.get("/key/info", params={"key": "sk-not-there-0000000"}, headers=key.bearer)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json() == missing.json()


def test_the_master_key(provider: MockProvider, tmp_path: Path) -> None:
    secret = "sk-master-9f2Kq7Lx0Zr4Tb8W"
    config = make_config(make_model("m", make_deployment(provider)), master_key="${AILINK_MASTER_KEY}")
    with Gateway(tmp_path, config, env={"AILINK_MASTER_KEY": secret}) as gateway:
        headers = {"Authorization": f"Bearer {secret}"}
        assert gateway.http.post("/key/generate", json={}, headers=headers).status_code == 200
        assert ask(gateway, secret).status_code == 200
        assert not (gateway.data / "admin.key").exists()
        assert secret not in gateway.log
        blocked = gateway.http.post("/key/block", json={"key": secret}, headers=headers)
        assert blocked.status_code in {400, 404}
        assert ask(gateway, secret).status_code == 200


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"rpm_limit": 0}, "rpm_limit"),
        ({"rpm_limit": "5"}, "rpm_limit"),
        ({"rpm_limit": 1.5}, "rpm_limit"),
        ({"max_parallel_requests": -1}, "max_parallel_requests"),
        ({"models": "m"}, "models"),
        ({"models": [1]}, "models"),
        ({"duration": "soon"}, "duration"),
        ({"duration": "-5s"}, "duration"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips"),
        ({"allowed_ips": ["example.com"]}, "allowed_ips"),
        ({"allowed_routes": ["/nope"]}, "allowed_routes"),
        ({"key": "short"}, "key"),
        ({"key": "sk-with space-000000000"}, "key"),
        ({"key_alias": ""}, "key_alias"),
        ({"key_alias": "a\nb"}, "key_alias"),
        ({"metadata": []}, "metadata"),
        ({"nonsense": 1}, "nonsense"),
        ([], ""),
        ("x", ""),
    ],
)
def test_bad_settings_are_named(gateway: Gateway, body: Any, word: str) -> None:
    answer = gateway.http.post("/key/generate", json=body, headers=gateway.admin)
    assert answer.status_code in {400, 422}, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert word in error["message"] + str(error["param"])
