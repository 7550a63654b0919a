"""Every client dialect with every provider dialect: what is asked arrives, what is told comes back.

Cases are made of the tables here; the readers of `tests/dialects` judge. `--update-golden` renders the table
of `docs/dialects.md` from the same tables.
"""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from tests.dialects import ARGUMENTS, DIALECTS, OTHER_ARGUMENTS, PNG, RESULTS, SCHEMA, TOOLS, Ask, Asked, Told
from tests.harness import Gateway, Key, MockProvider, make_config, make_model

TEXT = 'Hällo "wörld" \\ 😀'
THOUGHT = "Let me see…"
SIGNATURE = "bW9jayBzaWduYXR1cmU="
SOURCE = "https://example.com/a"
PRICE = {"input_per_million": 1, "output_per_million": 2, "cache_read_per_million": 0.1}
COST = "0.00008"
"""10 new tokens, 300 from the cache, 20 of the answer."""
APART = {"messages", "converse"}
"""They count cached tokens apart from the input."""
SIGNS = {"messages", "converse", "responses"}
"""Providers that prove their thoughts."""
SIGNS_CALLS = SIGNS | {"gemini"}
"""… or calls, which is the same to a client."""
KEEPS_PROOFS = {"chat", "responses", "messages", "gemini", "converse"}
"""Clients that can give a proof back."""
SENDS_CALLS_WHOLE = {"gemini"}

PAIRS = list(product(DIALECTS, DIALECTS))


class Feature(NamedTuple):
    """One column: the mock's script, what is asked, what must be true, and what the documentation says."""

    title: str
    script: str
    ask: Ask
    check: Callable[[Told, Asked, str, str], None]
    cell: Callable[[str, str], str] = lambda _client, _provider: "yes"
    drops: Callable[[str, str], set[str]] = lambda _client, _provider: set()
    """What a translated request loses."""


def whole_text(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert (told.text, told.finish) == (TEXT, "stop")
    assert asked.texts == ["hello"]
    assert (told.thought, told.calls, told.proofs, told.error) == ("", [], [], None)


def calls(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert [(call.name, call.arguments) for call in told.calls] == [
        ("weather", ARGUMENTS),
        ("light", OTHER_ARGUMENTS),
    ]
    assert told.finish == "tools"
    assert len({call.id for call in told.calls}) == 2 or client == provider == "gemini"
    assert asked.tools == TOOLS


def streamed_calls(told: Told, asked: Asked, client: str, provider: str) -> None:
    calls(told, asked, client, provider)
    assert (told.fragments > 2) == (pieces(client, provider) == "in pieces")


def pieces(client: str, provider: str) -> str:
    return "whole" if {client, provider} & SENDS_CALLS_WHOLE else "in pieces"


def image(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert asked.images == [("image/png", PNG)]
    assert asked.texts == ["hello"]
    assert told.text == "hello"


def structured(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert asked.schema == SCHEMA
    assert told.text == '{"days":1,"place":"mock"}'


def reasoning(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert (told.thought, told.text, told.finish) == (THOUGHT, TEXT, "stop")
    assert asked.thinks
    assert bool(told.proofs) == (signed(client, provider) == "signed")


def signed(client: str, provider: str) -> str:
    return "signed" if provider in SIGNS and client in KEEPS_PROOFS else "text"


def loop(told: Told, asked: Asked, client: str, provider: str) -> None:
    """The answer to a request that gives calls, results and reasoning back."""
    assert [(call.name, call.arguments) for call in asked.calls] == [
        ("weather", ARGUMENTS),
        ("light", OTHER_ARGUMENTS),
    ]
    assert asked.results == [(call.id, result) for call, result in zip(asked.calls, RESULTS, strict=True)]
    assert asked.proofs == ([SIGNATURE] if back(client, provider) == "signed" else [])


def back(client: str, provider: str) -> str:
    return "signed" if provider in SIGNS_CALLS and client in KEEPS_PROOFS else "yes"


def sources(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert told.sources == [SOURCE]


def refused(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert told.error == "slow down"


def broken(told: Told, asked: Asked, client: str, provider: str) -> None:
    assert told.error == "too much"


SAYS = f"text={quote(TEXT)};think={quote(THOUGHT)}"


def lost_history(client: str, provider: str) -> set[str]:
    """Reasoning without its provider's proof is of no use to it; Google asks for proofs of calls only."""
    lost = set() if back(client, provider) == "signed" or provider == "gemini" else {"reasoning_history"}
    # Anthropic does not go on thinking in a loop whose reasoning was not given back.
    return lost | ({"reasoning"} if provider in APART and client not in KEEPS_PROOFS else set())


FEATURES = {
    "text": Feature("text", f"text={quote(TEXT)}", Ask(), whole_text),
    "stream": Feature("stream", f"text={quote(TEXT)}", Ask(stream=True), whole_text),
    "tools": Feature("parallel tools", "tool;calls=2", Ask(tools=True), calls),
    "streamed-tools": Feature(
        "streamed tools", "tool;calls=2", Ask(tools=True, stream=True), streamed_calls, pieces
    ),
    "image": Feature("image", "echo", Ask(image=True), image),
    "structured": Feature("structured output", "", Ask(schema=True), structured),
    "streamed-structured": Feature("…streamed", "", Ask(schema=True, stream=True), structured),
    "reasoning": Feature("reasoning", SAYS, Ask(think=True), reasoning, signed),
    "streamed-reasoning": Feature("…streamed", SAYS, Ask(think=True, stream=True), reasoning, signed),
    "loop": Feature(
        "tool loop",
        f"tool;calls=2;think={quote(THOUGHT)}",
        Ask(tools=True, think=True),
        loop,
        back,
        lost_history,
    ),
    "sources": Feature("sources", f"text={quote(TEXT)};cite={SOURCE}", Ask(), sources),
    "streamed-sources": Feature("…streamed", f"text={quote(TEXT)};cite={SOURCE}", Ask(stream=True), sources),
    "error": Feature("error", "status=429;retry_after=7;error_message=slow down", Ask(), refused),
    "inside": Feature(
        "error in a stream", "error_at_event=2;error_message=too much", Ask(stream=True), broken
    ),
}


def usage_script(provider: str) -> str:
    return f"usage={10 if provider in APART else 310}:20;cached=300"


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("mock")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(mock: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(provider: str, script: str) -> dict[str, Any]:
        settings = DIALECTS[provider].deployment
        root = f"{mock.url}/v1" if settings["provider"] == "openai_compatible" else mock.url
        name = f"{settings.get('model', 'upstream')}?{script};{usage_script(provider)}"
        return {**settings, "base_url": root, "model": name}

    models = [
        make_model(f"{provider}-{name}", at(provider, feature.script), price=PRICE)
        for provider in DIALECTS
        for name, feature in FEATURES.items()
    ]
    with Gateway(tmp_path_factory.mktemp("gateway"), make_config(*models)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="matrix")


class Side(NamedTuple):
    """One client with one provider."""

    gateway: Gateway
    key: Key
    mock: MockProvider
    client: str
    provider: str

    def send(self, feature: str, ask: Ask) -> tuple[httpx.Response, Asked]:
        dialect, model = DIALECTS[self.client], f"{self.provider}-{feature}"
        mark = self.mock.mark()
        path, body = dialect.path(model, ask.stream), dialect.write(ask, model)
        answer = self.gateway.http.post(path, json=body, headers=self.key.bearer)
        seen = self.mock.requests(mark)
        assert len(seen) == 1, answer.text
        return answer, DIALECTS[self.provider].asked(seen[0].json())

    def told(self, answer: httpx.Response, ask: Ask) -> Told:
        dialect = DIALECTS[self.client]
        if answer.status_code != 200:
            return Told(error=dialect.read_error(answer))
        if not ask.stream:
            return dialect.read(answer.json())
        told = dialect.read_stream(answer.content)
        assert told.ended or told.error, answer.text
        return told


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize(("client", "provider"), PAIRS, ids=["-to-".join(pair) for pair in PAIRS])
def test_matrix(
    gateway: Gateway, key: Key, mock: MockProvider, client: str, provider: str, feature: str
) -> None:
    side, wanted = Side(gateway, key, mock, client, provider), FEATURES[feature]
    ask = wanted.ask
    answer, asked = side.send(feature, ask)
    told = side.told(answer, ask)
    if feature == "loop":
        ask = Ask(tools=True, think=True, history=told)
        answer, asked = side.send(feature, ask)
        told = side.told(answer, ask)
    wanted.check(told, asked, client, provider)
    dropped = set(answer.headers.get("x-ailink-dropped", "").replace(" ", "").split(",")) - {""}
    assert dropped == (wanted.drops(client, provider) if client != provider else set())
    if feature == "error":
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "7"
    elif feature != "inside":
        assert told.usage == (310, 20, 300)
        assert ask.stream or answer.headers["x-ailink-cost"] == COST


@pytest.mark.parametrize(("client", "provider"), PAIRS, ids=["-to-".join(pair) for pair in PAIRS])
def test_streams_have_their_row(
    gateway: Gateway, key: Key, mock: MockProvider, client: str, provider: str
) -> None:
    answer, _ = Side(gateway, key, mock, client, provider).send("stream", Ask(stream=True))
    (row,) = gateway.attempts_of(answer.headers["x-ailink-request-id"])
    assert row["spend"] == COST, row


def table() -> str:
    head = ["client", "provider", *(feature.title for feature in FEATURES.values())]
    rows = [head, ["---"] * len(head)]
    rows += [
        [client, provider, *(feature.cell(client, provider) for feature in FEATURES.values())]
        for client, provider in PAIRS
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_the_documented_matrix_is_the_one_that_is_tested(request: pytest.FixtureRequest) -> None:
    page = Path(__file__).parents[2] / "docs" / "dialects.md"
    before, rest = page.read_text().split("<!-- begin: matrix -->\n")
    now, after = rest.split("<!-- end: matrix -->")
    if request.config.getoption("--update-golden"):
        page.write_text(f"{before}<!-- begin: matrix -->\n{table()}<!-- end: matrix -->{after}")
    else:
        assert now == table(), "run this test with --update-golden"
