"""P8: retries do not make storms, and nothing falls back after the first token.

Every deployment of a model answers 429, and callers come at a fixed rate however slowly they are answered.
Passes when the provider sees at most 1.2 attempts per request, whether deployments are left out for seconds
(the default), for moments only, or there is just one, which is never left out for that. For streams that
break in the middle: no text twice, no second attempt.
"""

from collections.abc import Iterator

import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    events_of,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.size import sized
from tests.promises.conftest import Figures
from tests.promises.generator import generator

pytestmark = pytest.mark.alone

RATE = 1_000
SECONDS = sized(4, 20)
MOST = 1.2
STREAMS = sized(40, 400)
REFUSING = "status=429"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def pair(name: str, **settings: object) -> dict[str, object]:
        deployments = [make_deployment(provider, REFUSING, model=f"{name}-{n}") for n in range(2)]
        return make_model(name, *deployments, retries=3, **settings)

    breaking = [make_deployment(provider, script) for script in ("reset_at_event=3", "stall_at_event=3")]
    config = make_config(
        pair("left-out"),
        pair("short", routing={"breaker": {"open": "50ms", "open_max": "50ms"}}),
        make_model("alone", make_deployment(provider, f"{REFUSING};retry_after=0"), retries=3),
        # Were both left out, the fallback would answer, rightly, from the beginning.
        make_model(
            "breaking",
            *breaking,
            retries=3,
            timeouts={"idle": "500ms"},
            fallbacks=["good"],
            routing={"breaker": {"open": "0s"}},
        ),
        make_model("good", make_deployment(provider)),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.mark.parametrize("model", ["left-out", "short", "alone"])
def test_all_deployments_refuse(
    gateway: Gateway, key: Key, provider: MockProvider, figures: Figures, model: str
) -> None:
    before = provider.stats()["requests"]
    load = generator(
        gateway, key, f"storm-{model}", "--rate", str(RATE), "--duration", f"{SECONDS}s", "--model", model,
        "--expect-status", "429",
    ).start()  # fmt: skip
    report = load.report(SECONDS + 60)
    requests = report["sent"]
    assert requests >= RATE * SECONDS * 0.5, report
    until(lambda: provider.stats()["in_flight"] == 0)
    attempts = provider.stats()["requests"] - before
    figures(f"{model}: attempts per request", f"{attempts / requests:.3f} of {requests}")
    assert attempts <= MOST * requests


def test_no_text_twice(gateway: Gateway, key: Key, provider: MockProvider, figures: Figures) -> None:
    mark = provider.mark()

    def text(_: int) -> str:
        answer = gateway.http.post(
            "/v1/chat/completions", json=chat("breaking", stream=True), headers=key.bearer
        )
        events = [event.json() for event in events_of(answer.content) if event.data.startswith("{")]
        deltas = [event["choices"][0]["delta"].get("content") for event in events if event.get("choices")]
        return "".join(delta for delta in deltas if delta)

    texts = in_parallel(text, range(STREAMS), threads=8)
    # Each is what the provider sent before it broke off, once.
    assert len(set(texts)) == 1, set(texts)
    served = [seen for seen in provider.requests(mark) if seen.status == 200]
    assert len(served) == STREAMS
    figures("streams broken off", STREAMS)
