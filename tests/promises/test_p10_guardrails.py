"""P10: guardrails cannot be split around. A text is cut into events at every place, in every place of every
dialect where a text grows; what a client gets must not depend on it, and the secret must never be in it.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.harness import Gateway, make_config, make_deployment, make_model
from tests.harness.process import free_port
from tests.harness.size import FULL
from tests.promises.conftest import Figures
from tests.promises.guarded import PLACES, ROWS, Guarded, Place, told
from tests.promises.replay import Replay
from tests.promises.wire import Http1, Http2
from tests.promises.workers import Case, by_workers

EMAIL = "jane.doe@example.org"
TEXTS = {
    f"write to {EMAIL} today": "write to [EMAIL] today",
    "to jane\u200b.doe@\uff45xample.org, ok": "to [EMAIL], ok",
    f"{EMAIL}": "[EMAIL]",
    f'{{"to": "{EMAIL}"}}': '{"to": "[EMAIL]"}',
}
REDACTED = ["redact-window", "redact-hold"]
BLOCKED = ["block-window", "block-hold"]


def cuts(text: str, *, thrice: bool) -> list[list[str]]:
    """The text in two at every place, and in its characters; `thrice`: in three at every two places, too."""
    every = [[text[:at], text[at:]] for at in range(len(text) + 1)] + [list(text)]
    if thrice:
        every += [
            [text[:one], text[one:two], text[two:]]
            for one in range(1, len(text))
            for two in range(one + 1, len(text))
        ]
    return every


@pytest.fixture(scope="module")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream_port: int) -> Iterator[Gateway]:
    upstream = f"http://127.0.0.1:{upstream_port}"
    rules = REDACTED + BLOCKED
    models = [
        make_model(f"{row}-{rule}", make_deployment(upstream, dialect=row), guardrails=[rule])
        for row in set(ROWS.values())
        for rule in rules
    ]
    guardrails = [
        {"name": rule, "presets": ["email"], "scan": ["output"], "action": action, "stream": mode}
        for rule in rules
        for action, _, mode in [rule.partition("-")]
    ]
    config = make_config(*models, guardrails=guardrails)
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
        yield gateway


@pytest.fixture
async def guarded(gateway: Gateway, upstream_port: int) -> AsyncIterator[Guarded]:
    async with Replay(upstream_port) as replay:
        yield Guarded(gateway, replay, gateway.mint())


def redacted(guarded: Guarded, place: Place, rule: str, text: str, parts: list[str]) -> Case:
    async def run(client: Http1 | Http2) -> None:
        model = f"{ROWS[place.dialect]}-{rule}"
        body = await guarded.ask(client, place.dialect, model, [place.stream(parts)])
        assert place.said(body) == TEXTS[text], parts
        assert b"doe" not in body

    return run


def blocked(guarded: Guarded, place: Place, rule: str, text: str, parts: list[str]) -> Case:
    before = TEXTS[text].partition("[EMAIL]")[0] if rule.endswith("window") else ""

    async def run(client: Http1 | Http2) -> None:
        model = f"{ROWS[place.dialect]}-{rule}"
        body = await guarded.ask(client, place.dialect, model, [place.stream(parts)])
        assert place.said(body) == before, parts
        assert b"doe" not in body
        errors = [data for _, data in told(place.dialect, body) if f"Guardrail '{rule}'" in str(data)]
        assert len(errors) == 1, body

    return run


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.id)
async def test_every_split_of_a_text_gives_the_same(guarded: Guarded, place: Place, figures: Figures) -> None:
    cases = []
    for make, rules in ((redacted, REDACTED), (blocked, BLOCKED)):
        for rule in rules:
            for number, text in enumerate(TEXTS):
                # A rule's every cut with AILINK_FULL; else all of one rule and a few of the others.
                first = number == 0 and rule.endswith("window")
                step = 1 if FULL or (first and make is redacted) else 12
                parts = cuts(text, thrice=FULL and first)[::step]
                cases += [make(guarded, place, rule, text, cut) for cut in parts]
    figures("texts cut into events, leaks 0", await by_workers(guarded.open, cases))
