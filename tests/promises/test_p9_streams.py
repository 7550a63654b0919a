"""P9: streams are byte-safe.

However a provider's stream is cut into pieces, with whatever line ends, comments, byte order mark and data
over several lines: the client gets the provider's bytes, less the usage event the gateway itself asked for.
Wherever the stream breaks off (reset, close, silence), what the client gets is a prefix of the provider's
events, in order, none twice, and ends in the dialect's terminator or an error event; before the first event
it is an error with a status. An event reaches the client when it arrives, not later.

Passes when all of this holds for every recorded stream in `streams/`, split and broken off at every byte, for
both dialects, over HTTP/1.1 and HTTP/2.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.harness import (
    Event,
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    make_config,
    make_deployment,
    make_model,
)
from tests.harness.process import free_port
from tests.harness.size import FULL
from tests.promises import workers
from tests.promises.conftest import Figures
from tests.promises.replay import Answer, End, Replay
from tests.promises.wire import Http1, Http2, encoded
from tests.promises.workers import Case

IDLE = 0.4
NEWLINES = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
RECORDED = sorted((Path(__file__).parent / "streams").glob("*.sse"))
STREAMS = [file.stem for file in RECORDED]
# For cuts, which take a connection each: one stream of each kind.
CUT = STREAMS if FULL else ["openai_chat", "multi_line", "anthropic_text"]
PROTOCOLS = ["http1", "http2"]


class Kind(NamedTuple):
    """Where a recorded stream is asked for, and how."""

    path: str
    body: dict[str, object]

    @property
    def asked(self) -> "Kind":
        """The same with the usage asked for by the client: then nothing has to be hidden."""
        if self.path == "/v1/messages":
            return self
        return self._replace(body={**self.body, "stream_options": {"include_usage": True}})


def kind_of(name: str) -> Kind:
    messages = [{"role": "user", "content": "hi"}]
    if name.startswith("anthropic"):
        return Kind(
            "/v1/messages", {"model": "anthropic", "max_tokens": 9, "stream": True, "messages": messages}
        )
    if name == "completions":
        return Kind("/v1/completions", {"model": "openai", "stream": True, "prompt": "hi"})
    return Kind("/v1/chat/completions", {"model": "openai", "stream": True, "messages": messages})


def recorded(name: str) -> bytes:
    return (Path(__file__).parent / "streams" / f"{name}.sse").read_bytes()


def without_usage(events: Iterable[Event]) -> list[Event]:
    """The obvious twin of what the gateway hides: chunks that tell usage and have no choice."""

    def is_usage(event: Event) -> bool:
        if event.done:
            return False
        data = event.json()
        return bool(data.get("usage")) and not data.get("choices", True)

    return [event for event in events if not is_usage(event)]


class Setup(NamedTuple):
    """A gateway before a replaying upstream."""

    gateway: Gateway
    replay: Replay
    key: Key

    async def open(self, protocol: str = "http1") -> Http1 | Http2:
        return await (Http2.open(self.gateway.port) if protocol == "http2" else Http1.open(self.gateway.port))

    async def ask(self, client: Http1 | Http2, kind: Kind, answer: Answer) -> bytes:
        """The body that a client gets."""
        status, body = await self.told(client, kind, answer)
        assert status == 200
        return body

    async def told(self, client: Http1 | Http2, kind: Kind, answer: Answer) -> tuple[int, bytes]:
        """The status and the body."""
        await client.post(kind.path, encoded(kind.body), {**self.key.bearer, **self.replay.add(answer)})
        return await client.head(), await client.rest()


@pytest.fixture(scope="module")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_port: int) -> Iterator[Gateway]:
    """One for all tests; each brings its own upstream at the port that the configuration names."""
    # Its only deployment fails all the time, and is to be asked again all the same.
    patience = {"timeouts": {"idle": f"{int(IDLE * 1000)}ms"}, "routing": {"breaker": {"open": "0s"}}}
    upstream = f"http://127.0.0.1:{upstream_port}"
    models = [
        make_model("openai", make_deployment(upstream), **patience),
        make_model("anthropic", make_deployment(upstream, dialect="anthropic"), **patience),
    ]
    with Gateway(tmp_path_factory.mktemp("gateway"), make_config(*models)) as gateway:
        yield gateway


@pytest.fixture
async def setup(gateway: Gateway, upstream_port: int) -> AsyncIterator[Setup]:
    async with Replay(upstream_port) as replay:
        yield Setup(gateway, replay, gateway.mint())


async def by_workers(setup: Setup, protocol: str, cases: Iterable[Case]) -> int:
    """Runs cases on a few connections; how many ran."""
    return await workers.by_workers(lambda: setup.open(protocol), cases)


def split_at(stream: bytes, at: int) -> list[bytes]:
    return [stream[:at], stream[at:]]


def each_byte(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def dressed(stream: bytes, newline: str, *, bom: bool = False, comments: bool = False) -> bytes:
    """A stream with other line ends, and with what clients must ignore."""
    if comments:
        stream = stream.replace(b"\ndata", b"\n: a comment\ndata").replace(b"\n\n", b"\n\n:\n\n")
    stream = stream.replace(b"\n", NEWLINES[newline])
    return b"\xef\xbb\xbf" + stream if bom else stream


def interesting(stream: bytes) -> list[int]:
    """Splits at and next to line ends, and inside characters of several bytes; with AILINK_FULL all."""
    near = {at + off for at, byte in enumerate(stream) if byte in b"\r\n" for off in (-1, 0, 1, 2)}
    inside = {at for at, byte in enumerate(stream) if byte & 0xC0 == 0x80}
    return sorted(at for at in (range(len(stream)) if FULL else near | inside) if 0 < at < len(stream))


@pytest.mark.parametrize("name", STREAMS)
async def test_every_split_gives_the_same_bytes(setup: Setup, name: str, figures: Figures) -> None:
    stream, kind = recorded(name), kind_of(name)

    def case(stream: bytes, pieces: list[bytes]) -> Callable[[Http1 | Http2], Awaitable[None]]:
        async def run(client: Http1 | Http2) -> None:
            body = await setup.ask(client, kind.asked, Answer(pieces))
            assert body == stream, f"{[len(piece) for piece in pieces]}"

        return run

    cases = [case(stream, split_at(stream, at)) for at in range(1, len(stream))]
    for newline in ("crlf", "cr"):
        other = dressed(stream, newline)
        cases += [case(other, split_at(other, at)) for at in interesting(other)]
    for newline in NEWLINES:
        for bom in (False, True):
            for comments in (False, True):
                other = dressed(stream, newline, bom=bom, comments=comments)
                cases += [
                    case(other, [other]),
                    case(other, each_byte(other)),
                    case(other, other.splitlines(keepends=True)),
                ]
    figures("split streams, byte-exact", await by_workers(setup, "http1", cases))
    over_http2 = [
        case(stream, each_byte(stream)),
        case(stream, split_at(stream, len(stream) // 2)),
        *cases[-36:],
    ]
    figures("the same over HTTP/2", await by_workers(setup, "http2", over_http2))


@pytest.mark.parametrize("name", [name for name in STREAMS if not name.startswith("anthropic")])
async def test_usage_that_was_not_asked_for_is_hidden_at_every_split(
    setup: Setup, name: str, figures: Figures
) -> None:
    kind = kind_of(name)

    def case(stream: bytes, pieces: list[bytes]) -> Callable[[Http1 | Http2], Awaitable[None]]:
        expected = without_usage(events_of(stream))

        async def run(client: Http1 | Http2) -> None:
            header = setup.replay.add(Answer(pieces))
            await client.post(kind.path, encoded(kind.body), {**setup.key.bearer, **header})
            assert await client.head() == 200
            assert events_of(await client.rest()) == expected, f"{[len(piece) for piece in pieces]}"
            seen = json.loads(setup.replay.seen.pop(header["x-client-request-id"]).body)
            assert seen["stream_options"] == {"include_usage": True}

        return run

    stream = recorded(name)
    assert len(events_of(stream)) == len(without_usage(events_of(stream))) + (name != "openrouter_chat")
    cases = [case(stream, split_at(stream, at)) for at in range(1, len(stream))]
    for newline in NEWLINES:
        for comments in (False, True):
            other = dressed(stream, newline, bom=comments, comments=comments)
            cases += [case(other, each_byte(other)), case(other, other.splitlines(keepends=True))]
            cases += [case(other, split_at(other, at)) for at in (interesting(other) if FULL else ())]
    figures("split streams with a hidden event", await by_workers(setup, "http1", cases))
    figures("the same over HTTP/2", await by_workers(setup, "http2", cases[-12:]))


def ends_of(stream: bytes) -> list[int]:
    """Offsets behind each event of a stream with LF, 0 among them."""
    return [0] + [at + 2 for at in range(len(stream)) if stream[at : at + 2] == b"\n\n"]


def is_terminated(events: list[Event]) -> bool:
    return any(event.done or event.name == "message_stop" for event in events)


def is_error(event: Event, name: str) -> bool:
    if event.done:
        return False
    data = event.json()
    error = data.get("error", {})
    if name.startswith("anthropic"):
        return event.name == data["type"] == "error" and bool(error["type"]) and bool(error["message"])
    return bool(error.get("message"))


def judge(name: str, stream: bytes, sent: int, told: tuple[int, bytes], *, lossy: bool) -> None:
    """What a client may get of a stream that broke off after `sent` bytes. `lossy`: a reset may overtake
    bytes.
    """
    status, body = told
    ends = [end for end in ends_of(stream) if end <= sent]
    if status != 200:
        error = json.loads(body)["error"]
        assert (status, error["type"] != "", error["message"] != "") in {(502, True, True), (504, True, True)}
        assert lossy or ends[-1] == 0, f"cut at {sent}: {status} after an event"
        return
    assert ends[-1] > 0, f"cut at {sent}: 200 before an event"
    delivered = next((end for end in reversed(ends) if body.startswith(stream[:end])), 0)
    assert lossy or delivered == ends[-1], (
        f"cut at {sent}: {ends[-1] - delivered} bytes lost: {body[-300:]!r}"
    )
    tail = events_of(body[delivered:])
    if is_terminated(events_of(stream[:delivered])):
        assert body[delivered:] == b"", f"cut at {sent}: after the terminator: {body[delivered:]!r}"
    elif name.startswith("anthropic"):
        assert [is_error(event, name) for event in tail] == [True], f"cut at {sent}: {body[delivered:]!r}"
    elif tail[0].done:
        # A provider that leaves the terminator out: legal only where the answer was complete.
        assert b'"finish_reason":"' in stream[:delivered].replace(b": ", b":"), f"cut at {sent}"
        assert len(tail) == 1
    else:
        assert is_error(tail[0], name), f"cut at {sent}: {body[delivered:]!r}"
        assert [event.done for event in tail] == [False, True], f"cut at {sent}: {body[delivered:]!r}"


def cuts(
    setup: Setup, name: str, at: Iterable[int], answer: Callable[[bytes], Answer]
) -> Iterable[Callable[[Http1 | Http2], Awaitable[None]]]:
    stream, kind = recorded(name), kind_of(name).asked

    def case(sent: int) -> Callable[[Http1 | Http2], Awaitable[None]]:
        async def run(client: Http1 | Http2) -> None:
            told = answer(stream[:sent])
            judge(name, stream, sent, await setup.told(client, kind, told), lossy=told.end == "reset")

        return run

    return [case(sent) for sent in at]


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("name", CUT)
async def test_broken_off_at_every_byte(setup: Setup, name: str, end: End, figures: Figures) -> None:
    everywhere = range(len(recorded(name)) + 1)
    events = ends_of(recorded(name))
    in_chunks = cuts(setup, name, everywhere, lambda sent: Answer([sent] if sent else [], end))
    count = await by_workers(setup, "http1", in_chunks)
    by_close = cuts(
        setup, name, everywhere if FULL else events, lambda sent: Answer([sent], end, chunked=False)
    )
    count += await by_workers(setup, "http1", by_close)
    figures(f"streams broken off by {end}", count)
    over_http2 = cuts(
        setup, name, everywhere if FULL else events, lambda sent: Answer([sent] if sent else [], end)
    )
    figures("the same over HTTP/2", await by_workers(setup, "http2", over_http2))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", CUT)
async def test_silence_ends_in_an_error_event(
    setup: Setup, name: str, protocol: str, figures: Figures
) -> None:
    stream, kind = recorded(name), kind_of(name).asked
    ends = ends_of(stream)[:-1]
    at = range(len(stream)) if FULL else sorted({max(end + off, 0) for end in ends for off in (-1, 0, 1)})
    waits: list[float] = []

    async def stalled(sent: int) -> None:
        async with await setup.open(protocol) as client:
            began = time.monotonic()
            told = await setup.told(client, kind, Answer([stream[:sent]] if sent else [], "stall"))
            waits.append(time.monotonic() - began)
        terminated = is_terminated(events_of(stream[:sent]))
        judge(name, stream, sent, told, lossy=False)
        assert terminated or b"timeout" in told[1], told

    limit = asyncio.Semaphore(100)

    async def bounded(sent: int) -> None:
        async with limit:
            await stalled(sent)

    async with asyncio.TaskGroup() as group:
        for sent in at:
            group.create_task(bounded(sent))
    figures(
        "stalled streams",
        f"{len(waits)}, ended after {min(waits):.2f} to {max(waits):.2f} s at idle {IDLE} s",
    )
    assert min(waits) >= IDLE


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("name", STREAMS)
async def test_an_event_is_forwarded_on_arrival(setup: Setup, name: str, newline: str, protocol: str) -> None:
    """The upstream sends an event only after the client has got the one before: held back, it would never
    come.
    """
    stream = recorded(name)
    ends = ends_of(stream)
    pieces = [dressed(stream[start:end], newline) for start, end in pairwise(ends)]
    got = b""
    arrived = asyncio.Event()

    async def gate(number: int) -> None:
        wanted = b"".join(pieces[:number])
        while not got.startswith(wanted):
            arrived.clear()
            await arrived.wait()

    async with await setup.open(protocol) as client, asyncio.timeout(20):
        kind = kind_of(name).asked
        header = setup.replay.add(Answer(pieces, gate=gate))
        await client.post(kind.path, encoded(kind.body), {**setup.key.bearer, **header})
        assert await client.head() == 200
        while piece := await client.some():
            got += piece
            arrived.set()
    assert got == b"".join(pieces)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_the_mock_providers_own_faults(tmp_path: Path, dialect: str) -> None:
    """The same promise seen with the mock provider: its line ends, splits, errors, garbage and breaks."""
    whole = [
        "newline=crlf;bom;comments;split=7",
        "newline=cr;split=5",
        "split=3;split_gap=1;events=3",
        "chunked",
    ]
    broken = [
        "reset_at_event=3;gap=5", "close_at_event=3;gap=5", "stall_at_event=3;gap=5", "reset_at_byte=900",
        "close_at_byte=900", "error_at_event=2", "garbage_at_event=2;close_at_event=4", "body=truncated",
    ]  # fmt: skip
    path = "/v1/messages" if dialect == "anthropic" else "/v1/chat/completions"
    with MockProvider(tmp_path / "provider") as provider:
        models = [
            make_model(
                f"m{index}",
                make_deployment(provider, f"events=8;{script}", dialect=dialect),
                timeouts={"idle": "400ms"},
            )
            for index, script in enumerate(whole + broken)
        ]
        with Gateway(tmp_path / "gateway", make_config(*models)) as gateway:
            key = gateway.mint()
            for index, script in enumerate(whole + broken):
                body = {**chat(f"m{index}", stream=True), "max_tokens": 64}
                answer = gateway.http.post(path, json=body, headers={**key.bearer})
                assert answer.status_code == 200
                events = events_of(answer.content.removeprefix(b"\xef\xbb\xbf").decode(errors="replace"))
                *content, last = events
                if script in whole:
                    assert last.done or last.name == "message_stop", script
                    assert not any(event.name == "error" or '"error"' in event.data for event in content), (
                        script
                    )
                elif dialect == "anthropic":
                    assert is_error(last, dialect) or last.name == "message_stop", (
                        f"{script}: {answer.text[-400:]}"
                    )
                else:
                    ended = is_error(content[-1], dialect) and last.done
                    ended |= is_error(last, dialect)
                    assert ended or '"finish_reason":"stop"' in answer.text, f"{script}: {answer.text[-400:]}"
