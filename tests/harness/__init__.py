"""What tests of the running product are written with: the real process, the mock provider, real clients.

    provider = MockProvider(directory)                     # a process of its own; outlives the gateway
    config   = make_config(make_model("m", make_deployment(provider, "status=500")))
    with Gateway(directory, config) as gateway:            # `python -m ailink serve`, ready
        key = gateway.mint(models=["m"])                   # through the real API
        gateway.http.post("/v1/chat/completions", headers=key.bearer, json=chat("m"))
        gateway.kill(); rows = gateway.restart().stop().ledger()
    provider.requests(); provider.journal()                # what the provider saw, and its own truth on disk

Modules: `process` (child processes, logs), `double` (a called service), `provider` (mock, script, journal),
`canned` (a provider of fixed bytes), `config` (files), `gateway`, `cluster` (several of them as one),
`ledger` (rows of a stopped gateway), `raw` (bytes over a socket), `sse` (events), `servers` (real
PostgreSQL and Redis; fixtures `redis_url` and `database_url`), `relay` (a network that can fail), `load`
(threads), `leaving` (who does not wait), `until` (polling with a deadline), `certificates` (TLS pairs),
`tenants` (calls as one key or another), `json_corpus` and `http_corpus` (bad input). What a script of
the mock may say: `rust/mock`.
"""

from tests.harness.cluster import Cluster
from tests.harness.config import (
    AWS_KEY,
    chat,
    hasty,
    make_config,
    make_deployment,
    make_model,
    message,
    write_config,
)
from tests.harness.double import Asked, Double
from tests.harness.gateway import Gateway, Key
from tests.harness.ledger import LedgerRow
from tests.harness.load import UNBOUNDED, Background, in_parallel
from tests.harness.process import Child, recent_logs
from tests.harness.provider import MockProvider, Seen
from tests.harness.raw import RawConnection, RawResponse
from tests.harness.relay import Relay
from tests.harness.servers import PostgresServer, RedisServer
from tests.harness.sse import Event, events_of
from tests.harness.until import until

__all__ = [
    "AWS_KEY",
    "UNBOUNDED",
    "Asked",
    "Background",
    "Child",
    "Cluster",
    "Double",
    "Event",
    "Gateway",
    "Key",
    "LedgerRow",
    "MockProvider",
    "PostgresServer",
    "RawConnection",
    "RawResponse",
    "RedisServer",
    "Relay",
    "Seen",
    "chat",
    "events_of",
    "hasty",
    "in_parallel",
    "make_config",
    "make_deployment",
    "make_model",
    "message",
    "recent_logs",
    "until",
    "write_config",
]
