"""The store on PostgreSQL: what is kept, and what happens while it is away."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    PostgresServer,
    Relay,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)

ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One of its own: it is stopped here."""
    with PostgresServer() as server:
        yield server


def config(provider: MockProvider, url: str) -> dict[str, object]:
    model = make_model("m", make_deployment(provider))
    return make_config(model, database_url=url, encryption_key=ENCRYPTION_KEY)


def ask(gateway: Gateway, key: Key) -> int:
    return gateway.http.post("/v1/chat/completions", json=chat(), headers=key.bearer).status_code


def mint(gateway: Gateway) -> httpx.Response:
    return gateway.http.post("/key/generate", json={}, headers=gateway.admin)


def test_keys_live_in_the_database(server: PostgresServer, provider: MockProvider, tmp_path: Path) -> None:
    url = server.url(server.make_database())
    with Gateway(tmp_path / "one", config(provider, url)) as one:
        key = one.mint(models=["m"], key_alias="shared")
        assert ask(one, key) == 200
        again = one.http.post("/key/generate", json={"key_alias": "shared"}, headers=one.admin)
        assert (again.status_code, again.json()["error"]["code"]) == (400, "key_alias_exists")
        one.stop()
    # Another node, with nothing but the address and the encryption key.
    with Gateway(tmp_path / "two", config(provider, url)) as two:
        assert ask(two, key) == 200
        two.call("/key/block", {"key": key.secret})
        assert ask(two, key) == 401
        two.restart()
        assert ask(two, key) == 401


def test_serving_goes_on_while_the_database_is_away(
    server: PostgresServer, provider: MockProvider, tmp_path: Path
) -> None:
    url = server.url(server.make_database())
    with Gateway(tmp_path / "gateway", config(provider, url)) as gateway:
        key = gateway.mint()

        def away() -> None:
            until(lambda: mint(gateway).status_code == 503, "management says so", 30)
            refused = mint(gateway)
            assert refused.json()["error"]["code"] == "database_unavailable", refused.text
            assert [ask(gateway, key) for _ in range(20)] == [200] * 20
            details = gateway.http.get("/health/readiness/details", headers=gateway.admin).json()
            assert (details["status"], details["db"]) == ("degraded", "disconnected")
            assert gateway.http.get("/health/ready").status_code == 200

        server.kill()
        away()
        server.start()
        until(lambda: mint(gateway).status_code == 200, "management is back", 30)
        server.child.freeze()
        away()
        server.child.thaw()
        until(lambda: mint(gateway).status_code == 200, "management is back", 30)
        assert ask(gateway, key) == 200


def test_a_network_that_swallows_is_no_different(
    server: PostgresServer, provider: MockProvider, tmp_path: Path
) -> None:
    with Relay(server.port) as relay:
        url = server.url(server.make_database(), relay.port)
        with Gateway(tmp_path / "gateway", config(provider, url)) as gateway:
            key = gateway.mint()
            relay.set("hole")
            assert mint(gateway).status_code == 503
            assert ask(gateway, key) == 200
            relay.set("pass")
            until(lambda: mint(gateway).status_code == 200, "management is back", 30)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://ailink@127.0.0.1:1/x", "the database does not answer"),
        ("postgresql://ailink@127.0.0.1:{port}/nowhere", 'database "nowhere" does not exist'),
        ("postgresql://nobody@127.0.0.1:{port}/postgres", 'role "nobody" does not exist'),
    ],
)
def test_a_wrong_address_ends_the_start_with_a_reason(
    server: PostgresServer, provider: MockProvider, tmp_path: Path, address: str, said: str
) -> None:
    gateway = Gateway(tmp_path / "gateway", config(provider, address.format(port=server.port)))
    gateway.child.start()
    assert gateway.child.wait(30) == 1
    assert said in gateway.log
    gateway.http.close()
