"""The connection to Redis or Valkey: one server, Sentinel, a cluster; TLS where the address says so.

    redis://user:password@host:6379/0        rediss://…  (TLS)
    redis+sentinel://:password@host1:26379,host2:26379/mymaster/0
    redis+cluster://host1:6379,host2:6379    rediss+cluster://…

All that AILink keeps there lies under one prefix with a hash tag, so in one slot of a cluster.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as SlowError

from ailink.config.store_checks import REDIS_SCHEMES

BASE = "ailink:{1}"
CONNECTIONS = 8
CONNECT_S = 1.0
# What a lease call may take: a request may be waiting for it.
ANSWER_S = 0.5
TROUBLE = (RedisError, OSError, TimeoutError)
TIMEOUTS = (SlowError, TimeoutError)


class AddressError(ValueError):
    """`redis_url` is none of ours."""


def connect(url: str) -> Any:
    """A client; connects when it is first used. Raises `AddressError`.

    `Any`: Redis and RedisCluster have the commands in common, but no type.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in REDIS_SCHEMES or not rest:
        raise AddressError(f"redis_url: expected one of {', '.join(f'{name}://' for name in REDIS_SCHEMES)}")
    plain, _, kind = scheme.partition("+")
    options: dict[str, Any] = {"socket_timeout": ANSWER_S, "socket_connect_timeout": CONNECT_S}
    try:
        if kind == "cluster":
            return _cluster(plain, rest, options)
        if kind == "sentinel":
            return _sentinel(plain, rest, options)
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=ANSWER_S, **options)
    except (ValueError, RedisError) as error:
        raise AddressError(f"redis_url: {error}") from None
    return Redis.from_pool(pool)


def _cluster(scheme: str, rest: str, options: dict[str, Any]) -> Any:
    authority = rest.partition("/")[0]
    login, at, hosts = authority.rpartition("@")
    first, *others = hosts.split(",")
    parts = [urlsplit(f"redis://{host}") for host in others]
    nodes = [ClusterNode(part.hostname or "localhost", part.port or 6379) for part in parts]
    return RedisCluster.from_url(f"{scheme}://{login}{at}{first}", startup_nodes=nodes, **options)


def _sentinel(scheme: str, rest: str, options: dict[str, Any]) -> Any:
    authority, _, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    name, _, number = path.partition("/")
    if not name:
        raise AddressError("redis_url: name the master: redis+sentinel://HOST:26379/MASTER/0")
    parts = urlsplit(f"redis://{login}@x" if login else "redis://x")
    places = [
        (host or "localhost", int(port or 26379))
        for host, _, port in (one.partition(":") for one in hosts.split(","))
    ]
    options = {**options, "ssl": True} if scheme == "rediss" else options
    sentinel = Sentinel(places, sentinel_kwargs=options, **options)  # type: ignore[no-untyped-call]
    return sentinel.master_for(
        name,
        db=int(number or 0),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


async def close(client: Any) -> None:
    """Closes all connections, those to sentinels too. Raises what `TROUBLE` lists."""
    await client.aclose()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


async def run_id(client: Any) -> str:
    """Names the server process that holds our keys. Raises what `TROUBLE` lists."""
    # As a script it goes where the keys are, also in a cluster that is not known yet or has changed.
    said = await client.eval("return redis.call('INFO', 'server')", 1, BASE)
    lines = (said.decode() if isinstance(said, bytes) else str(said)).splitlines()
    return next((line.removeprefix("run_id:") for line in lines if line.startswith("run_id:")), "")
