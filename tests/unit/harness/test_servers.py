"""The servers that other tests rely on."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis
from tests.harness import PostgresServer, RedisServer, Relay


def test_redis_is_empty_after_a_kill(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        with redis.Redis(port=server.port) as client:
            assert client.set("a", "1")
        server.kill()
        server.start()
        with redis.Redis(port=server.port) as client:
            assert client.get("a") is None


async def test_postgres_keeps_what_was_committed() -> None:
    with PostgresServer() as server:
        name = server.make_database()
        connection = await asyncpg.connect(server.url(name))
        await connection.execute("CREATE TABLE t (a BIGINT)")
        await connection.execute("INSERT INTO t VALUES (7)")
        connection.terminate()
        server.kill()
        server.start()
        assert server.run("SELECT a FROM t", name) == "7"


def test_fixtures_are_empty(redis_url: str, database_url: str, postgres_server: PostgresServer) -> None:
    with redis.Redis(port=urlsplit(redis_url).port or 0) as client:
        assert client.dbsize() == 0
    assert postgres_server.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    assert urlsplit(database_url).path.startswith("/test_")


def test_a_relay_swallows_and_refuses(redis_url: str) -> None:
    def ask(one: socket.socket) -> bytes:
        one.sendall(b"PING\r\n")
        return one.recv(100)

    with Relay(urlsplit(redis_url).port or 0) as relay:
        address = ("127.0.0.1", relay.port)
        with socket.create_connection(address, 2) as one:
            assert ask(one) == b"+PONG\r\n"
            relay.set("hole")
            one.settimeout(0.2)
            with pytest.raises(TimeoutError):
                ask(one)
        relay.set("refuse")
        with socket.create_connection(address, 2) as one:
            assert one.recv(100) == b""
        relay.set("pass")
        with socket.create_connection(address, 2) as one:
            assert ask(one) == b"+PONG\r\n"
