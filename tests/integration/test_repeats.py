"""`Idempotency-Key` on the data plane: a repeat joins or gets the first answer, and is billed once."""

import threading
from collections.abc import Iterator

import httpx
import openai
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.leaving import leave

CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("quick", make_deployment(provider), price=CENT),
        make_model("slow", make_deployment(provider, "latency=400ms"), price=CENT),
        make_model("slower", make_deployment(provider, "latency=60s"), price=CENT),
        make_model("drip", make_deployment(provider, "gap=60ms;usage=10:20"), price=CENT),
        make_model("broken", make_deployment(provider, "status=500"), price=CENT, retries=0),
        make_model("long", make_deployment(provider, "bytes=2500000"), price=CENT),
        make_model("cut", make_deployment(provider, "events=6;reset_at_event=3"), price=CENT, retries=0),
    )
    with Gateway(tmp_path_factory.mktemp("repeats"), config) as running:
        yield running


@pytest.fixture
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, name: str, model: str = "quick", **more: object) -> httpx.Response:
    headers = {**key.bearer, "Idempotency-Key": name}
    return gateway.http.post(PATH, json=chat(model=model, **more), headers=headers)


def spent(gateway: Gateway, key: Key) -> float:
    info = gateway.call("/key/info", key=key.secret)["info"]
    return float(info["spend"])


def test_a_repeat_gets_the_first_answer_and_is_billed_once(
    gateway: Gateway, provider: MockProvider, key: Key
) -> None:
    mark = provider.mark()
    first, second = ask(gateway, key, "a"), ask(gateway, key, "a")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    same = {"x-request-id", "content-type", "x-ailink-deployment", "x-ailink-cost", "content-length"}
    assert {name: first.headers[name] for name in same} == {name: second.headers[name] for name in same}
    assert len(provider.requests(mark)) == 1
    until(lambda: spent(gateway, key) == 0.01, "billed once")


def test_keys_are_their_owners(gateway: Gateway, provider: MockProvider, key: Key) -> None:
    other = gateway.mint()
    mark = provider.mark()
    assert "idempotent-replayed" not in ask(gateway, key, "b").headers
    assert "idempotent-replayed" not in ask(gateway, other, "b").headers
    headers = {**key.bearer, "Idempotency-Key": "b"}
    elsewhere = gateway.http.post("/v1/completions", json={"model": "quick", "prompt": "x"}, headers=headers)
    assert "idempotent-replayed" not in elsewhere.headers
    assert len(provider.requests(mark)) == 3


def test_another_request_under_the_same_key_is_refused(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, "c").status_code == 200
    other = ask(gateway, key, "c", temperature=0.5)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    for bad in ("", "x" * 256):
        assert ask(gateway, key, bad).status_code == 400
    assert ask(gateway, key, "c").headers["idempotent-replayed"] == "true"


def test_repeats_join_what_is_under_way(gateway: Gateway, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    answers = in_parallel(lambda _: ask(gateway, key, "d", "slow"), range(8))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 7
    assert len(provider.requests(mark)) == 1
    until(lambda: spent(gateway, key) == 0.01, "billed once")


def test_streams_are_joined_and_replayed(gateway: Gateway, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    answers = in_parallel(lambda _: ask(gateway, key, "e", "drip", stream=True), range(4))
    answers.append(ask(gateway, key, "e", "drip", stream=True))
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].content.endswith(b"data: [DONE]\n\n")
    assert {answer.headers["content-type"] for answer in answers} == {"text/event-stream; charset=utf-8"}
    assert len(provider.requests(mark)) == 1
    # Whole and streamed are different requests.
    assert ask(gateway, key, "e", "drip").status_code == 422


def test_a_stream_goes_on_for_those_who_stay(gateway: Gateway, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    headers = {**key.bearer, "Idempotency-Key": "stainless-python-retry-1"}
    body = chat(model="drip", stream=True)
    found: list[bytes] = []
    with gateway.http.stream("POST", PATH, json=body, headers=headers) as first:
        lines = first.iter_raw()
        next(lines)
        stays = threading.Thread(
            target=lambda: found.append(gateway.http.post(PATH, json=body, headers=headers).content)
        )
        stays.start()
        until(lambda: gateway.metric("ailink_requests_in_flight") >= 2 or found, "both are under way")
        next(lines)
        threading.Event().wait(0.1)
    stays.join(20)
    assert found[0].endswith(b"data: [DONE]\n\n")
    assert len(provider.requests(mark)) == 1


def test_a_caller_who_left_finds_the_answer(gateway: Gateway, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    headers = {**key.bearer, "Idempotency-Key": "mine"}
    body = chat(model="slow")
    leave(gateway, provider, PATH, body, headers)
    again = gateway.http.post(PATH, json=body, headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert len(provider.requests(mark)) == 1
    until(lambda: spent(gateway, key) == 0.01, "billed once")


def test_keys_that_sdks_make_up_do_not_keep_a_request_alive(
    gateway: Gateway, provider: MockProvider, key: Key
) -> None:
    mark = provider.mark()
    made_up = {**key.bearer, "Idempotency-Key": "stainless-python-retry-2"}
    leave(gateway, provider, PATH, chat(model="slower"), made_up)
    until(lambda: provider.requests(mark)[0].end == "client_gone", "the provider is let go")


def test_failures_are_tried_again(gateway: Gateway, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    answers = [ask(gateway, key, "f", "broken") for _ in range(2)]
    assert all(answer.status_code >= 500 for answer in answers)
    assert not any("idempotent-replayed" in answer.headers for answer in answers)
    assert len(provider.requests(mark)) >= 2


def test_a_stream_that_broke_is_tried_again(gateway: Gateway, provider: MockProvider, key: Key) -> None:
    mark = provider.mark()
    answers = [ask(gateway, key, "g", "cut", stream=True) for _ in range(2)]
    assert all(b'"error"' in answer.content for answer in answers)
    assert "idempotent-replayed" not in answers[1].headers
    assert len(provider.requests(mark)) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_too_large_to_keep_is_made_anew(
    gateway: Gateway, provider: MockProvider, key: Key, stream: bool
) -> None:
    mark = provider.mark()
    answers = [ask(gateway, key, f"h{stream}", "long", stream=stream) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {200}
    assert all(len(answer.content) > 2_500_000 for answer in answers)
    assert "idempotent-replayed" not in answers[1].headers
    assert len(provider.requests(mark)) == 2


def test_the_official_sdk_sends_keys_and_is_unharmed(gateway: Gateway, key: Key) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret)
    for _ in range(2):
        answer = client.chat.completions.with_raw_response.create(
            model="quick", messages=[{"role": "user", "content": "x"}]
        )
        assert "idempotent-replayed" not in answer.headers
    mine = {"Idempotency-Key": "sdk"}
    ids = [
        client.chat.completions.create(
            model="quick", messages=[{"role": "user", "content": "x"}], extra_headers=mine
        ).id
        for _ in range(2)
    ]
    assert ids[0] == ids[1]
