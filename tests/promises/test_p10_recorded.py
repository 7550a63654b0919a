"""P10: recorded streams of every dialect, their bytes cut into packets at every place. The same bytes leave
whatever the packets, nothing of what was found is in them, for callers of the same dialect and of all others.
"""

import re
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.dialects import DIALECTS
from tests.harness import Gateway, make_config, make_deployment, make_model
from tests.harness.process import free_port
from tests.harness.size import FULL, sized
from tests.promises.conftest import Figures
from tests.promises.guarded import ROWS, Guarded, recorded, told
from tests.promises.replay import Replay
from tests.promises.wire import Http1, Http2
from tests.promises.workers import Case, by_workers

RULES = ["redact-window", "redact-hold", "block-window", "block-hold"]
SECRETS = ["Zürich", "e see"]
"""The first stands in one event, the second in two. Thoughts come before the text."""
MADE_HERE = re.compile(
    rb"""(req_|chatcmpl-|msg_|resp_|call_|"created(?:_at)?": ?|'latencyMs': )[0-9a-zA-Z_-]+"""
)
"""What a gateway makes up anew for each answer."""


def packets(stream: bytes) -> list[list[bytes]]:
    """The stream in two at every place (without AILINK_FULL at some), in its bytes, and in lines."""
    step = 1 if FULL else max(1, len(stream) // 20)
    return [
        *([stream[:at], stream[at:]] for at in range(1, len(stream), step)),
        [stream[at : at + 1] for at in range(len(stream))],
        stream.splitlines(keepends=True),
    ]


@pytest.fixture(scope="module")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_port: int) -> Iterator[Gateway]:
    upstream = f"http://127.0.0.1:{upstream_port}"
    native = {name: make_deployment(upstream, dialect=row) for name, row in ROWS.items()}
    # Others ask in their own words, whatever a provider with several formats could do itself.
    spoken = {
        f"only-{name}": make_deployment(upstream, dialect=ROWS[name]) | dialect.deployment
        for name, dialect in DIALECTS.items()
    }
    config = make_config(
        *(
            make_model(f"{name}-{rule}", deployment, guardrails=[rule])
            for name, deployment in (native | spoken).items()
            for rule in RULES
        ),
        guardrails=[
            {"name": rule, "patterns": SECRETS, "scan": ["output"], "action": action, "stream": mode}
            for rule in RULES
            for action, _, mode in [rule.partition("-")]
        ],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
        yield gateway


@pytest.fixture
async def guarded(gateway: Gateway, upstream_port: int) -> AsyncIterator[Guarded]:
    async with Replay(upstream_port) as replay:
        yield Guarded(gateway, replay, gateway.mint())


def clean(body: bytes, dialect: str) -> bytes:
    """What two answers have to have in common; frames are told by their contents, which checksums follow."""
    if dialect == "converse":
        body = repr(list(told(dialect, body))).encode()
    return MADE_HERE.sub(rb"\1", body)


def judged(body: bytes, dialect: str, rule: str) -> None:
    """Nothing that was found is in it, and its end says what happened."""
    events = list(told(dialect, body))
    text = repr(events)
    assert "rich" not in text, text
    if rule.startswith("block"):
        assert sum(f"Guardrail '{rule}'" in str(data) for _, data in events) == 1, text
        assert "Let m" in text if rule == "block-window" else "Let" not in text, text
    else:
        assert "[REDACTED]" in text, text


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dialect", ROWS)
async def test_every_packet_gives_the_same(
    guarded: Guarded, dialect: str, rule: str, figures: Figures
) -> None:
    stream = recorded(dialect)
    async with await guarded.open() as client:
        whole = await guarded.ask(client, dialect, f"{dialect}-{rule}", [stream])
    judged(whole, dialect, rule)
    expected = clean(whole, dialect)

    def case(pieces: list[bytes]) -> Case:
        async def run(client: Http1 | Http2) -> None:
            body = await guarded.ask(client, dialect, f"{dialect}-{rule}", pieces)
            assert clean(body, dialect) == expected, [len(piece) for piece in pieces]

        return run

    count = await by_workers(guarded.open, map(case, packets(stream)))
    figures("recorded streams cut into packets, one outcome", count)


@pytest.mark.parametrize("speaks", DIALECTS)
async def test_translated_streams_are_no_way_around(guarded: Guarded, speaks: str, figures: Figures) -> None:
    stream = recorded(speaks)
    step = len(stream) // sized(3, 200)
    some = [[stream[:at], stream[at:]] for at in range(1, len(stream), step)]
    outcomes: dict[tuple[str, str], set[bytes]] = {}

    def case(caller: str, rule: str, pieces: list[bytes]) -> Case:
        async def run(client: Http1 | Http2) -> None:
            body = await guarded.ask(client, caller, f"only-{speaks}-{rule}", pieces, speaks=speaks)
            judged(body, caller, rule)
            outcomes.setdefault((caller, rule), set()).add(clean(body, caller))

        return run

    count = await by_workers(
        guarded.open,
        [
            case(caller, rule, pieces)
            for caller in DIALECTS
            if caller != speaks
            for rule in RULES
            for pieces in [[stream], *some, stream.splitlines(keepends=True)]
        ],
    )
    assert {pair: len(found) for pair, found in outcomes.items() if len(found) > 1} == {}
    figures("translated streams cut into packets, one outcome", count)
