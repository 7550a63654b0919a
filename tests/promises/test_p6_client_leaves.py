"""P6: a client that leaves stops the bill.

Whatever the gateway is doing for a client when that leaves (reading its body, connecting, sending, waiting
for the first byte, waiting before a retry, streaming, listening to a silent stream, collecting a whole
answer), the upstream connection is closed at once; the attempt, if one was sent, is in the ledger as an
estimate. HTTP/1.1: FIN and RST; HTTP/2: RST_STREAM and the end of the connection. (This version has no queue
in front of providers.)

Passes when the provider sees the close ≤ 100 ms after the client's, at the 99th percentile over all ways to
leave. Times are the provider's own stamps against this process's clock, both CLOCK_MONOTONIC. The same is
measured with clients that leave the provider itself: what the machine adds there is not the gateway's. A
round that misses the figure is run again, twice at most, because the machine may be busy with something else;
the notes say how often.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from itertools import count
from statistics import quantiles
from typing import Any, NamedTuple, Self

import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until
from tests.harness.size import sized
from tests.promises.conftest import Figures
from tests.promises.eventually import eventually
from tests.promises.sockets import ESTABLISHED, SYN_SENT, connections_to, deaf, unreachable
from tests.promises.wire import Http1, Http2, encoded

pytestmark = pytest.mark.alone

LIMIT_MS = 100.0
CLIENTS = sized(25, 250)
# As many retries as the retry budget grants at once.
RETRYING_CLIENTS = 25
# Each of these holds a body of megabytes.
HEAVY_CLIENTS = sized(8, 50)
# More than the kernel takes for a peer that does not read.
HEAVY_BODY = b" " * (6 << 20)
PATIENCE = 20.0
ROUNDS = 3
RETRY_AFTER = 2

SCRIPTS = {
    "waiting": "latency=60s",
    "back_off": f"status=503;retry_after={RETRY_AFTER}",
    "streaming": "events=10000;gap=10",
    "silent": "stall_at_event=3",
    "whole": "events=3000;split=100;split_gap=20",
    "raw": "bytes=100000;split=500;split_gap=20",
}
WAYS = ["http1-fin", "http1-rst", "http2-reset", "http2-close"]


class Place(NamedTuple):
    """Everything a phase needs."""

    gateway: Gateway
    provider: MockProvider
    unreachable: int
    deaf: int


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("leaving")
    with MockProvider(directory / "provider") as provider, unreachable() as nowhere, deaf() as silent:
        models = [
            make_model(name, make_deployment(provider, script), retries=1) for name, script in SCRIPTS.items()
        ]
        models += [
            make_model(
                "connecting", make_deployment(f"http://127.0.0.1:{nowhere}"), timeouts={"connect": "60s"}
            ),
            make_model(
                "sending", make_deployment(f"http://127.0.0.1:{silent}"), timeouts={"first_byte": "60s"}
            ),
        ]
        with Gateway(directory / "gateway", make_config(*models)) as gateway:
            yield Place(gateway, provider, nowhere, silent)


Client = Http1 | Http2


async def opened(way: str, port: int) -> Client:
    return await (Http2.open(port) if way.startswith("http2") else Http1.open(port))


def leave_by(way: str, client: Client) -> None:
    """Ends the request the client's way."""
    if way == "http1-rst":
        client.reset()
    elif way == "http2-reset":
        assert isinstance(client, Http2)
        client.cancel()
    else:
        client.close()


_numbers = count()


class Party:
    """Some clients in the same phase. `left_ns` says when each one left, by its request's id."""

    def __init__(self, port: int, way: str) -> None:
        self.port = port
        self.way = way
        self.clients: dict[str, Client] = {}
        self.left_ns: dict[str, int] = {}

    async def enter(self, size: int, key: Key | None, path: str, body: bytes) -> None:
        """All clients send their request."""

        async def one() -> None:
            client = await opened(self.way, self.port)
            name = f"leaving-{next(_numbers)}"
            self.clients[name] = client
            await client.post(path, body, {**(key.bearer if key else {}), "x-client-request-id": name})

        await asyncio.gather(*(one() for _ in range(size)))

    async def read(self, size: int) -> None:
        """Each has got at least so many bytes of its answer."""

        async def one(client: Client) -> None:
            assert await client.head() == 200
            got = 0
            while got < size:
                got += len(await client.some())

        await asyncio.gather(*map(one, self.clients.values()))

    async def leave(self) -> None:
        """They leave one after the other, as strangers do."""
        for name, client in self.clients.items():
            self.left_ns[name] = time.monotonic_ns()
            leave_by(self.way, client)
            await asyncio.sleep(0.002)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients.values():
            client.close()
        await asyncio.gather(
            *(client.writer.wait_closed() for client in self.clients.values()), return_exceptions=True
        )


def body_for(model: str, **more: Any) -> bytes:
    return encoded({"model": model, "messages": [{"role": "user", "content": "hi"}], **more})


def noticed_ms(provider: MockProvider, party: Party, since: int) -> list[float]:
    """For each client, how long after it the provider's connection was closed."""
    ends = {
        seen.headers.get("x-client-request-id", ""): seen
        for seen in provider.requests(since)
        if seen.end == "client_gone" and seen.end_ns is not None
    }
    return [(ends[name].end_ns - left) / 1e6 for name, left in party.left_ns.items() if name in ends]  # type: ignore[operator]


def p99(values: list[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


async def leave_and_measure(party: Party, provider: MockProvider, since: int) -> list[float]:
    await party.leave()
    wanted = len(party.left_ns)
    await eventually(
        lambda: len(noticed_ms(provider, party, since)) == wanted, "every upstream connection closed"
    )
    return noticed_ms(provider, party, since)


async def control(provider: MockProvider) -> float:
    """The 99th percentile for clients of the provider itself, whatever else the machine does now, ms."""
    since = provider.mark()
    async with Party(provider.port, "http1-fin") as party:
        await party.enter(CLIENTS, None, "/v1/chat/completions", body_for("m?latency=60s"))
        await eventually(lambda: provider.stats()["in_flight"] >= CLIENTS, "control waits")
        return p99(await leave_and_measure(party, provider, since))


class Rounds:
    """Measures every way to leave, again where the machine was disturbed, and says what was found."""

    def __init__(self, machine: float, figures: Figures) -> None:
        self.count = 0
        self._limit = LIMIT_MS + machine
        self._machine = machine
        self._figures = figures

    async def run(self, measure: Callable[[str], Awaitable[list[float]]]) -> None:
        found: dict[str, list[float]] = {}
        for way in WAYS:
            for _ in range(ROUNDS):
                self.count += 1
                values = await measure(way)
                if way not in found or p99(values) < p99(found[way]):
                    found[way] = values
                if p99(values) <= self._limit:
                    break
        every = [value for values in found.values() for value in values]
        each = ", ".join(f"{way} {p99(values):.1f}" for way, values in found.items())
        again = f"; {self.count - len(WAYS)} rounds run again" if self.count > len(WAYS) else ""
        text = f"{p99(every):.1f} ({each}); max {max(every):.1f}; machine alone {self._machine:.1f}{again}"
        self._figures("p99, ms", text)
        assert p99(every) <= self._limit


def rows_of(place: Place, key: Key, wanted: int) -> list[dict[str, Any]]:
    """All rows of a phase's key, once there are enough."""

    def rows() -> list[dict[str, Any]]:
        return place.gateway.spend_logs(api_key=key.token)

    until(lambda: len(rows()) >= wanted, f"{wanted} rows", PATIENCE)
    return rows()


@pytest.fixture
async def rounds(place: Place, figures: Figures) -> Rounds:
    return Rounds(await control(place.provider), figures)


@pytest.mark.parametrize("phase", ["waiting", "streaming", "silent", "whole", "raw"])
async def test_upstream_is_closed(place: Place, phase: str, rounds: Rounds) -> None:
    gateway, provider = place.gateway, place.provider
    key = gateway.mint()
    path, body = "/v1/chat/completions", body_for(phase, stream=phase in {"streaming", "silent"})
    if phase == "raw":
        path, body = "/v1/audio/speech", encoded({"model": "raw", "input": "hi", "voice": "alloy"})

    async def measure(way: str) -> list[float]:
        since = provider.mark()
        async with Party(gateway.port, way) as party:
            await party.enter(CLIENTS, key, path, body)
            if phase in {"waiting", "whole"}:
                await eventually(lambda: len(provider.requests(since)) == CLIENTS, "all at the provider")
            else:
                await party.read(400)
            return await leave_and_measure(party, provider, since)

    await rounds.run(measure)
    wanted = CLIENTS * rounds.count
    rows = rows_of(place, key, wanted)
    assert len(rows) == wanted
    assert {(row["source"], row["outcome"]) for row in rows} == {("estimated", "client_gone")}
    assert all(row["prompt_tokens"] > 0 for row in rows) or phase == "raw"
    assert all(row["completion_tokens"] > 0 for row in rows) or phase not in {"streaming", "silent"}


async def gone_ms(party: Party, here: Callable[[], int]) -> list[float]:
    """Leaves all together; for each client that `here` misses, how long that took, to the beginning of the
    look that missed it.
    """
    before = len(party.clients)
    assert here() == before
    left = time.monotonic_ns()
    for client in party.clients.values():
        leave_by(party.way, client)
    await asyncio.sleep(0)
    found: list[float] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < before:
        looked = time.monotonic_ns()
        missed = before - await asyncio.to_thread(here)
        found += [(looked - left) / 1e6] * (missed - len(found))
        assert time.monotonic() < deadline, f"{before - len(found)} of {before} still there"
    return found


async def test_connecting_is_given_up(place: Place, rounds: Rounds) -> None:
    key = place.gateway.mint()

    def here() -> int:
        return len(connections_to(place.unreachable, SYN_SENT))

    async def measure(way: str) -> list[float]:
        async with Party(place.gateway.port, way) as party:
            await party.enter(CLIENTS, key, "/v1/chat/completions", body_for("connecting"))
            await eventually(lambda: here() == CLIENTS, "all connecting")
            return await gone_ms(party, here)

    await rounds.run(measure)
    await eventually(lambda: in_flight(place) == 0, "gateway at rest")
    assert rows_of(place, key, 0) == [], "nothing was sent, so nothing may be billed"


async def test_sending_to_a_deaf_provider_is_given_up(place: Place, rounds: Rounds) -> None:
    key = place.gateway.mint()
    body = body_for("sending")[:-1] + HEAVY_BODY + b"}"

    def stuck() -> int:
        return len([end for end in connections_to(place.deaf, ESTABLISHED) if end.unsent])

    async def measure(way: str) -> list[float]:
        async with Party(place.gateway.port, way) as party:
            await party.enter(HEAVY_CLIENTS, key, "/v1/chat/completions", body)
            await eventually(lambda: stuck() == HEAVY_CLIENTS, "all stuck in sending")
            return await gone_ms(party, lambda: len(connections_to(place.deaf, ESTABLISHED)))

    await rounds.run(measure)
    wanted = HEAVY_CLIENTS * rounds.count
    rows = rows_of(place, key, wanted)
    assert len(rows) == wanted
    assert {(row["source"], row["outcome"]) for row in rows} == {("estimated", "client_gone")}


def in_flight(place: Place) -> int:
    return int(place.gateway.metrics()["ailink_requests_in_flight"])


async def test_a_retry_is_not_made_for_nobody(place: Place, rounds: Rounds) -> None:
    provider, key = place.provider, place.gateway.mint()
    begun = provider.mark()

    async def measure(way: str) -> list[float]:
        since = provider.mark()
        async with Party(place.gateway.port, way) as party:
            await party.enter(RETRYING_CLIENTS, key, "/v1/chat/completions", body_for("back_off"))
            await eventually(lambda: len(provider.requests(since)) == RETRYING_CLIENTS, "all refused once")
            return await gone_ms(party, lambda: in_flight(place))

    await rounds.run(measure)
    wanted = RETRYING_CLIENTS * rounds.count
    # Long after the latest retry would have been due.
    over = time.monotonic() + RETRY_AFTER + 0.5
    await eventually(lambda: time.monotonic() > over, "time passes")
    assert len(provider.requests(begun)) == wanted, "retried for a client that had left"
    rows = rows_of(place, key, wanted)
    assert {(row["source"], row["status_code"]) for row in rows} == {("reported", 503)}
    assert sum(Decimal(row["spend"]) for row in rows) == 0
    assert len(rows) == wanted


async def test_a_body_that_never_ends_is_dropped(place: Place, rounds: Rounds) -> None:
    """The client leaves while it sends its request: nothing reaches the provider, memory is free again."""
    provider, key = place.provider, place.gateway.mint()
    since = provider.mark()
    body = body_for("waiting")

    async def measure(way: str) -> list[float]:
        async with Party(place.gateway.port, way) as party:
            for number in range(CLIENTS):
                client = await opened(way, place.gateway.port)
                party.clients[str(number)] = client
                if isinstance(client, Http2):
                    client.start("/v1/chat/completions", key.bearer)
                    await client.send(body[:-5], end=False)
                else:
                    length = {"content-length": str(len(body) + 1000)}
                    await client.post("/v1/chat/completions", body, {**key.bearer, **length})
            await eventually(lambda: in_flight(place) == CLIENTS, "all half sent")
            return await gone_ms(party, lambda: in_flight(place))

    await rounds.run(measure)
    assert place.gateway.metrics()["ailink_body_bytes_in_flight"] == 0
    assert provider.requests(since) == []
    assert rows_of(place, key, 0) == []
