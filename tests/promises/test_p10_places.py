"""P10: in every message, part, argument and choice, and in disguise. A secret is put into every text of a
rich request and of a rich answer of every dialect; none passes. What is disguised as the evasion suite knows
it is found in requests and, letter by letter, in streams.
"""

import copy
import importlib.util
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.dialects import DIALECTS, Ask, Told
from tests.harness import Gateway, Key, MockProvider, in_parallel, make_config, make_deployment, make_model
from tests.harness.process import free_port
from tests.promises.conftest import Figures
from tests.promises.guarded import PLACES, ROWS, Guarded, Place
from tests.promises.replay import Answer, Replay
from tests.promises.wire import Http1, Http2, encoded
from tests.promises.workers import Case, by_workers

EMAIL = "jane.doe@example.org"
SECRET = f"tell {EMAIL} all"
TEXTS = [place for place in PLACES if place.name == "text"]
DEEP = ["spacing", "base64", "hex"]
NOT_TEXT = {
    "model": "says which deployment is asked; this one does not exist",
    "modelId": "the same",
}


@cache
def evasion() -> Any:
    """The page's script: its figures and this test disguise alike."""
    file = Path(__file__).parents[2] / "scripts" / "guardrails_page.py"
    spec = importlib.util.spec_from_file_location("guardrails_page", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DISGUISES: Mapping[str, Callable[[str], str]] = evasion().DISGUISES


@pytest.fixture(scope="module")
def upstream_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider"), record=4096) as mock:
        yield mock


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, provider: MockProvider, upstream_port: int
) -> Iterator[Gateway]:
    upstream = f"http://127.0.0.1:{upstream_port}"
    rows = set(ROWS.values())
    config = make_config(
        *(
            make_model(f"{row}-free", make_deployment(provider, "tool;calls=2;think=well", dialect=row))
            for row in rows
        ),
        *(make_model(f"{row}-in", make_deployment(provider, dialect=row), guardrails=["in"]) for row in rows),
        *(
            make_model(f"{row}-out", make_deployment(upstream, dialect=row), guardrails=["out"])
            for row in rows
        ),
        *(
            make_model(f"{row}-cut", make_deployment(upstream, dialect=row), guardrails=["cut"])
            for row in rows
        ),
        guardrails=[
            {"name": "in", "presets": ["email"], "scan": ["input"], "action": "block", "normalise": DEEP},
            {"name": "out", "presets": ["email"], "scan": ["output"], "action": "block"},
            {"name": "cut", "presets": ["email"], "scan": ["output"], "action": "redact", "normalise": DEEP},
        ],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
        yield gateway


@pytest.fixture
async def guarded(gateway: Gateway, upstream_port: int) -> AsyncIterator[Guarded]:
    async with Replay(upstream_port) as replay:
        yield Guarded(gateway, replay, gateway.mint())


def send(gateway: Gateway, key: Key, dialect: str, model: str, body: Any) -> httpx.Response:
    path = DIALECTS[dialect].path(model, False)
    return gateway.http.post(path, json=body, headers=key.bearer)


def rich(gateway: Gateway, key: Key, dialect: str) -> tuple[Any, Any]:
    """A request with an image, tools, calls and their results, and an answer with thoughts and calls."""
    spoken, model = DIALECTS[dialect], f"{ROWS[dialect]}-free"
    answer = (
        send(gateway, key, dialect, model, spoken.write(Ask(tools=True), model)).raise_for_status().json()
    )
    history: Told = spoken.read(answer)
    return spoken.write(Ask(image=True, tools=True, history=history), model), answer


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where texts stand."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        for at, element in enumerate(value):
            yield from leaves(element, (*path, at))


def planted(value: Any, path: tuple[str | int, ...], text: str = SECRET) -> Any:
    """The same with another text there."""
    whole = copy.deepcopy(value)
    at = whole
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = text
    return whole


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_text_of_a_request_is_overlooked(
    gateway: Gateway, provider: MockProvider, dialect: str, figures: Figures
) -> None:
    key = gateway.mint()
    request, _ = rich(gateway, key, dialect)
    model = f"{ROWS[dialect]}-in"
    places = [path for path in leaves(request) if path[-1] not in NOT_TEXT]
    request |= {"model": model} if "model" in request else {}
    assert send(gateway, key, dialect, model, request).status_code == 200
    mark = provider.mark()

    def refused(path: tuple[str | int, ...]) -> bool:
        answer = send(gateway, key, dialect, model, planted(request, path))
        return answer.status_code == 400 and "Guardrail 'in'" in answer.text and EMAIL not in answer.text

    found = in_parallel(refused, places, threads=4)
    assert [path for path, good in zip(places, found, strict=True) if not good] == []
    assert provider.requests(mark) == []
    assert len(places) >= 12
    figures("texts of requests, all found", len(places))


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_text_of_an_answer_is_overlooked(guarded: Guarded, dialect: str, figures: Figures) -> None:
    _, answer = rich(guarded.gateway, guarded.key, dialect)
    model = f"{ROWS[dialect]}-out"
    body = encoded(DIALECTS[dialect].write(Ask(), model))
    places = list(leaves(answer))
    leaked: list[object] = []

    def case(path: tuple[str | int, ...]) -> Case:
        told = Answer([encoded(planted(answer, path))], content_type="application/json")

        async def run(client: Http1 | Http2) -> None:
            header = guarded.replay.add(told)
            await client.post(DIALECTS[dialect].path(model, False), body, {**guarded.key.bearer, **header})
            status = await client.head()
            if b"jane" in await client.rest() or status == 200:
                leaked.append((path, status))

        return run

    await by_workers(guarded.open, map(case, places))
    assert leaked == []
    figures("texts of answers, all found", len(places))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_disguises_of_a_request_are_seen_through(
    gateway: Gateway, provider: MockProvider, dialect: str, figures: Figures
) -> None:
    key, model = gateway.mint(), f"{ROWS[dialect]}-in"
    mark = provider.mark()
    for name, disguise in DISGUISES.items():
        body = DIALECTS[dialect].write(Ask(f"to {disguise(EMAIL)} now"), model)
        answer = send(gateway, key, dialect, model, body)
        assert answer.status_code == 400, name
        assert "Guardrail 'in'" in answer.text, name
    assert provider.requests(mark) == []
    figures("disguises of requests, all seen through", len(DISGUISES))


@pytest.mark.parametrize("place", TEXTS, ids=lambda place: place.id)
async def test_disguises_of_a_stream_are_seen_through(
    guarded: Guarded, place: Place, figures: Figures
) -> None:
    def case(name: str, parts: list[str]) -> Case:
        async def run(client: Http1 | Http2) -> None:
            body = await guarded.ask(
                client, place.dialect, f"{ROWS[place.dialect]}-cut", [place.stream(parts)]
            )
            said = place.said(body)
            # What only looks like a part of the disguise may stay: padding, marks between letters.
            before, _, after = said.partition("[EMAIL]")
            assert before.strip(" \u200b.") == "to", (name, said)
            assert after.strip(" \u200b.=\u0301") == "now", (name, said)

        return run

    cases = []
    for name, disguise in DISGUISES.items():
        text = f"to {disguise(EMAIL)} now"
        at = range(4, len(text), max(1, len(text) // 4))
        cases += [case(name, parts) for parts in [list(text), *([text[:one], text[one:]] for one in at)]]
    figures("disguised texts cut into events, leaks 0", await by_workers(guarded.open, cases))


def test_json_says_it_in_many_ways(gateway: Gateway, figures: Figures) -> None:
    key = gateway.mint()
    plain = json.dumps({"model": "openai-in", "messages": [{"role": "user", "content": SECRET}]})
    letters = "".join(f"\\u{ord(letter):04X}" for letter in SECRET)
    written = [
        plain.replace(SECRET, letters),
        plain.replace(SECRET, SECRET.replace("@", "\\u0040")),
        plain.replace('"messages"', '"mess\\u0061ges"').replace(SECRET, letters),
        plain.replace(SECRET, SECRET.replace("e", "\\u0435")),
        "\t" + plain.replace(": ", " :\n").replace(SECRET, SECRET.replace("@", "\\u0040")),
        plain.replace("}]", '}],"extra":[[[{"k":"' + SECRET + '"}]]]').replace(SECRET, "x", 1),
        plain.replace("}]", '}],"' + EMAIL + '":1').replace(SECRET, "x", 1),
    ]
    headers = {**key.bearer, "content-type": "application/json"}
    for body in written:
        answer = gateway.http.post("/v1/chat/completions", content=body.encode(), headers=headers)
        assert answer.status_code == 400, body
        assert "Guardrail 'in'" in answer.text, body
    figures("spellings of one JSON text, all found", len(written))
