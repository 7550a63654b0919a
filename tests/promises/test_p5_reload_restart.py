"""P5: reload and restart drop nothing.

Under load of clients that keep their connections alive, the configuration is replaced 50 times (a fifth of
them invalid) and the process 8 times (50 with AILINK_FULL=1): by SIGUSR2, when it executes itself anew and
keeps its listening socket, and by SIGTERM and a new start with a socket that a supervisor holds
(`LISTEN_FDS`). Running streams finish within the drain time; what still runs then ends in the dialect's error
event.

Passes when no request failed. The model of a client is that of `callers.py`: keep-alive, the next request
after less than `drain.delay`, honours `Connection: close` and GOAWAY, repeats nothing. A request that waits
in the backlog during a restart is late, not failed.
"""

import asyncio
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    events_of,
    make_config,
    make_deployment,
    make_model,
    until,
    write_config,
)
from tests.harness.size import sized
from tests.promises.activation import activated
from tests.promises.callers import Callers, Request
from tests.promises.conftest import Figures
from tests.promises.wire import Http1, Http2, encoded

SEED = 5
RELOADS = sized(50, 200)
RESTARTS = sized(4, 25)
"""Of each of the two kinds."""
DELAY = 0.3
THINK = 0.1
DONE = b"data: [DONE]"
STOP = b'data: {"type":"message_stop"}'
READY = "is ready after"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider"), journal=True) as provider:
        yield provider


def config(provider: MockProvider, *, extra: str = "", **drain: str) -> dict[str, Any]:
    models = [
        make_model("whole", make_deployment(provider, "latency=10")),
        make_model("stream", make_deployment(provider, "events=8;gap=10")),
        make_model("message", make_deployment(provider, "events=8;gap=10", dialect="anthropic")),
        make_model("long", make_deployment(provider, "events=60;gap=25")),
        make_model("long_message", make_deployment(provider, "events=60;gap=25", dialect="anthropic")),
        make_model("endless", make_deployment(provider, "events=6000;gap=20")),
        make_model("endless_message", make_deployment(provider, "events=6000;gap=20", dialect="anthropic")),
        make_model("slow", make_deployment(provider, "latency=60s")),
        make_model("slow_message", make_deployment(provider, "latency=60s", dialect="anthropic")),
        *([make_model(extra, make_deployment(provider))] if extra else []),
    ]
    return make_config(
        *models, server={"drain": {"delay": f"{int(DELAY * 1000)}ms", "timeout": "30s", **drain}}
    )


def body_of(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 10_000, "messages": [{"role": "user", "content": "hi"}], **more}


def path_of(model: str) -> str:
    return "/v1/messages" if model.endswith("message") else "/v1/chat/completions"


def request(model: str, key: Key) -> Request:
    whole = model == "whole"
    body = body_of(model) if whole else body_of(model, stream=True)
    expected = b"}" if whole else STOP if model.endswith("message") else DONE
    return Request(path_of(model), body, key.bearer, expected)


def fill(callers: Callers, key: Key) -> None:
    """Whole answers and streams in both dialects over both protocols."""
    callers.add(8, "http1", request("whole", key))
    callers.add(4, "http1", request("stream", key))
    callers.add(2, "http1", request("message", key))
    callers.add(2, "http2", request("whole", key))
    callers.add(2, "http2", request("stream", key))


def note(figures: Figures, callers: Callers, began: float) -> None:
    figures("requests answered", dict(callers.answered))
    figures("failed", len(callers.failures))
    figures("longest answer, s", round(callers.longest, 2))
    figures("seconds", round(time.monotonic() - began))


async def test_reloads_under_load(tmp_path: Path, provider: MockProvider, figures: Figures) -> None:
    chance = random.Random(SEED)
    began = time.monotonic()
    with Gateway(tmp_path, config(provider)) as gateway:
        key = gateway.mint()

        def reload(number: int) -> None:
            before = gateway.details()
            broken = number % 5 == 4
            text: Any = "models: [" if broken else config(provider, extra=f"extra-{number}")
            write_config(gateway.file, text)
            if chance.random() < 0.8:  # the others are noticed by the watcher
                gateway.child.signal(signal.SIGHUP)
            if broken:
                until(lambda: gateway.details()["errors"], "the new file is refused")
                assert gateway.details()["version"] == before["version"]
            else:
                until(lambda: gateway.details()["version"] > before["version"], "the new file is in force")
                assert gateway.details()["errors"] == []

        async with Callers(gateway.port, think=THINK, seed=SEED) as callers:
            fill(callers, key)
            await callers.more(50)
            for number in range(RELOADS):
                await asyncio.to_thread(reload, number)
            await callers.more(50)
        names = {model["id"] for model in gateway.http.get("/v1/models", headers=key.bearer).json()["data"]}
        last = max(number for number in range(RELOADS) if number % 5 != 4)
        assert f"extra-{last}" in names
        assert f"extra-{last - 1}" not in names
    note(figures, callers, began)
    assert callers.failures == []


async def test_a_stream_outlives_its_model(tmp_path: Path, provider: MockProvider) -> None:
    """A request finishes on the configuration it began with, even when its model is gone."""
    with Gateway(tmp_path, config(provider, extra="gone")) as gateway:
        key = gateway.mint()
        client = await Http1.open(gateway.port)
        async with client:
            await client.post(path_of("long"), encoded(body_of("long", stream=True)), key.bearer)
            assert await client.head() == 200
            await client.some()
            without = config(provider)
            without["models"] = [model for model in without["models"] if model["name"] != "long"]
            await asyncio.to_thread(gateway.reconfigure, without)
            refused = await asyncio.to_thread(
                gateway.http.post, path_of("long"), json=body_of("long"), headers=key.bearer
            )
            assert refused.status_code == 404
            assert events_of(await client.rest())[-1].done


def restart_in_place(gateway: Gateway) -> None:
    starts = gateway.log.count(READY)
    gateway.child.signal(signal.SIGUSR2)
    gateway.child.alive_until(
        lambda: gateway.log.count(READY) > starts, "the process has replaced itself", 60
    )


def stop_and_start(gateway: Gateway) -> None:
    gateway.stop(seconds=60)
    gateway.start()


async def test_restarts_in_place_under_load(tmp_path: Path, provider: MockProvider, figures: Figures) -> None:
    began = time.monotonic()
    with Gateway(tmp_path, config(provider)) as gateway:
        key, pid = gateway.mint(), gateway.child.pid
        async with Callers(gateway.port, think=THINK, seed=SEED) as callers:
            fill(callers, key)
            for _ in range(RESTARTS):
                await callers.more(100)
                await asyncio.to_thread(restart_in_place, gateway)
            await callers.more(50)
        assert gateway.child.pid == pid
        assert gateway.child.running
    note(figures, callers, began)
    assert callers.failures == []


async def test_restarts_with_a_supervisors_socket_under_load(
    tmp_path: Path, provider: MockProvider, figures: Figures
) -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        gateway = activated(tmp_path, config(provider), listener)
        with gateway:
            key = gateway.mint()
            async with Callers(gateway.port, think=THINK, seed=SEED) as callers:
                fill(callers, key)
                for _ in range(RESTARTS):
                    await callers.more(100)
                    await asyncio.to_thread(stop_and_start, gateway)
                await callers.more(50)
    note(figures, callers, began)
    assert callers.failures == []


STREAMS = [(protocol, model) for protocol in ("http1", "http2") for model in ("long", "long_message")] * 3
CUT = [(protocol, model) for protocol in ("http1", "http2") for model in ("endless", "endless_message")] * 3


async def begin(gateway: Gateway, key: Key, protocol: str, body: dict[str, Any]) -> Http1 | Http2:
    """A request under way."""
    client = await (Http2.open(gateway.port) if protocol == "http2" else Http1.open(gateway.port))
    await client.post(path_of(body["model"]), encoded(body), key.bearer)
    return client


async def begin_streams(gateway: Gateway, key: Key, wanted: list[tuple[str, str]]) -> list[Http1 | Http2]:
    """Streams that have begun."""

    async def one(protocol: str, model: str) -> Http1 | Http2:
        client = await begin(gateway, key, protocol, body_of(model, stream=True))
        assert await client.head() == 200
        await client.some()
        return client

    return list(await asyncio.gather(*(one(protocol, model) for protocol, model in wanted)))


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
async def test_running_streams_finish(tmp_path: Path, provider: MockProvider, number: int) -> None:
    with Gateway(tmp_path, config(provider)) as gateway:
        key = gateway.mint()
        clients = await begin_streams(gateway, key, STREAMS)
        starts = gateway.log.count(READY)
        gateway.child.signal(number)
        bodies = await asyncio.gather(*(client.rest() for client in clients))
        for (_, model), body in zip(STREAMS, bodies, strict=True):
            assert body.rstrip().endswith(STOP if model == "long_message" else DONE)
            assert b"error" not in body
        for client in clients:
            await client.__aexit__()
        if number == signal.SIGTERM:
            assert gateway.child.wait() == 0
        else:
            gateway.child.alive_until(lambda: gateway.log.count(READY) > starts, "started anew")


async def test_a_forced_cut_ends_in_the_dialects_error_event(
    tmp_path: Path, provider: MockProvider, figures: Figures
) -> None:
    with Gateway(tmp_path, config(provider, delay="0s", timeout="400ms")) as gateway:
        key = gateway.mint()
        clients = await begin_streams(gateway, key, CUT)
        began = time.monotonic()
        gateway.child.signal(signal.SIGTERM)
        bodies = await asyncio.gather(*(client.rest() for client in clients))
        figures("cut after, s, at a drain time of 0.4 s", round(time.monotonic() - began, 2))
        for (_, model), body in zip(CUT, bodies, strict=True):
            events = events_of(body)
            if model.endswith("message"):
                error = events[-1].json()
                assert (events[-1].name, error["type"]) == ("error", "error"), body[-400:]
            else:
                assert events[-1].done, body[-400:]
                error = events[-2].json()
                assert error["error"]["code"], error
            assert "shutting down" in error["error"]["message"]
        for client in clients:
            await client.__aexit__()
        assert gateway.child.wait() == 0
        rows = gateway.ledger()
    assert len(rows) == len(CUT)
    assert {row.source for row in rows} == {"estimated"}


@pytest.mark.parametrize("protocol", ["http1", "http2"])
@pytest.mark.parametrize("model", ["slow", "slow_message"])
async def test_a_forced_cut_answers_what_has_no_answer_yet(
    tmp_path: Path, provider: MockProvider, model: str, protocol: str
) -> None:
    """A request that still waits for the provider when the drain time is over gets an error, not a closed
    socket.
    """
    with Gateway(tmp_path, config(provider, delay="0s", timeout="400ms")) as gateway:
        key = gateway.mint()
        since = provider.mark()
        async with await begin(gateway, key, protocol, body_of(model)) as client:
            until(lambda: provider.requests(since), "at the provider")
            gateway.child.signal(signal.SIGTERM)
            status = await client.head()
            body = await client.rest()
            assert status == 503, body
            assert b"error" in body
        assert gateway.child.wait() == 0
        assert [row.source for row in gateway.ledger()] == ["estimated"]
