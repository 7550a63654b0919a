"""Answers to questions that mean the same, over HTTP: whom they are given, and whom not."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import httpx
import pytest
from tests.harness import (
    Gateway,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)
from tests.harness.meaning import Embedder, write_static_model

RESET = "How do I reset the password of my account?"
RECOVER = "What are the steps to recover my login passphrase?"
CHAT = "/v1/chat/completions"


class Ask(NamedTuple):
    body: Any
    path: str = CHAT
    key: str = "a"
    headers: dict[str, str] = {}


def model(provider: MockProvider, name: str, **settings: Any) -> dict[str, Any]:
    places = [make_deployment(provider, model=name)]
    places += [
        make_deployment(provider, model=name, dialect=other)
        for other in ("anthropic", "gemini", "cohere", "bedrock")
    ]
    return make_model(name, *places, **settings)


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = write_static_model(tmp_path_factory.mktemp("model"))
    config = make_config(
        model(provider, "m"),
        model(provider, "other"),
        model(provider, "of-team", cache={"scope": "team"}),
        make_model("calls", make_deployment(provider, "tool=1")),
        model(provider, "exact", cache={"semantic": False}),
        model(provider, "brief", cache={"ttl": "300ms"}),
        model(provider, "aging", cache={"ttl": "50ms", "stale": "1h"}),
        cache={"enabled": True, "semantic": {"directory": str(directory), "threshold": 0.9}},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        for team in ("t1", "t2"):
            running.call("/team/new", {"team_id": team})
        yield running


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> dict[str, str]:
    settings: dict[str, dict[str, Any]] = {
        "a": {}, "b": {}, "t1": {"team_id": "t1"}, "t1-too": {"team_id": "t1"}, "t2": {"team_id": "t2"},
    }  # fmt: skip
    return {name: gateway.call("/key/generate", wanted)["key"] for name, wanted in settings.items()}


@pytest.fixture
def send(gateway: Gateway, keys: dict[str, str]) -> Callable[[Ask], httpx.Response]:
    def send(ask: Ask) -> httpx.Response:
        headers = {"authorization": f"Bearer {keys[ask.key]}", **ask.headers}
        response = httpx.post(f"{gateway.url}{ask.path}", json=ask.body, headers=headers, timeout=20)
        assert response.status_code == 200, response.text
        return response

    return send


_marks = count()


def said(text: str, mark: str, model: str = "m", **more: Any) -> Any:
    """A conversation that no other test has."""
    body = chat(model, text, **more)
    return {**body, "messages": [{"role": "system", "content": mark}, *body["messages"]]}


Pair = tuple[Callable[[str], Ask], Callable[[str], Ask]]


def pair(first: str, second: str, **more: Any) -> Pair:
    return lambda mark: Ask(said(first, mark, **more)), lambda mark: Ask(said(second, mark, **more))


def claude(text: str, **more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask(message("m", text, system=mark, **more), path="/v1/messages")


def gemini(text: str) -> Callable[[str], Ask]:
    return lambda mark: Ask(
        {
            "systemInstruction": {"parts": [{"text": mark}]},
            "contents": [{"role": "user", "parts": [{"text": text}]}],
        },
        path="/v1beta/models/m:generateContent",
    )


def responses(text: str) -> Callable[[str], Ask]:
    return lambda mark: Ask({"model": "m", "instructions": mark, "input": text}, path="/v1/responses")


def converse(text: str) -> Callable[[str], Ask]:
    return lambda mark: Ask(
        {"system": [{"text": mark}], "messages": [{"role": "user", "content": [{"text": text}]}]},
        path="/bedrock/model/m/converse",
    )


def on(name: str, key: str, text: str) -> Callable[[str], Ask]:
    return lambda mark: Ask(said(text, mark, model=name), key=key)


def history(text: str, before: str) -> Callable[[str], Ask]:
    def ask(mark: str) -> Ask:
        body = said(text, mark)
        earlier = [{"role": "user", "content": before}, {"role": "assistant", "content": "yes"}]
        return Ask({**body, "messages": [body["messages"][0], *earlier, body["messages"][1]]})

    return ask


def picture(text: str, url: str) -> Callable[[str], Ask]:
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return lambda mark: Ask({"model": "m", "messages": [{"role": "user", "content": parts}], "user": mark})


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]

HITS: dict[str, Pair] = {
    "a paraphrase": pair(RESET, RECOVER),
    "a paraphrase as a stream": (
        lambda mark: Ask(said(RESET, mark)),
        lambda mark: Ask(said(RECOVER, mark, stream=True)),
    ),
    "of a stream": (
        lambda mark: Ask(said(RESET, mark, stream=True)),
        lambda mark: Ask(said(RECOVER, mark, stream=True)),
    ),
    "with the same tools": pair(RESET, RECOVER, tools=TOOLS),
    "with the same history": (history(RESET, "hello"), history(RECOVER, "hello")),
    "Anthropic's": (claude(RESET), claude(RECOVER)),
    "Anthropic's as a stream": (claude(RESET), claude(RECOVER, stream=True)),
    "Google's": (gemini(RESET), gemini(RECOVER)),
    "Responses": (responses(RESET), responses(RECOVER)),
    "Converse": (converse(RESET), converse(RECOVER)),
    "keys of a team": (on("of-team", "t1", RESET), on("of-team", "t1-too", RECOVER)),
    "asked for as Portkey does": (
        lambda mark: Ask(said(RESET, mark)),
        lambda mark: Ask(said(RECOVER, mark), headers={"x-portkey-cache": "semantic"}),
    ),
    "the order of words": pair("Why is the sky blue?", "The sky is blue, but why?"),
}

MISSES: dict[str, Pair] = {
    "another question": pair(RESET, "How do I cook rice?"),
    "a number": pair("Refund my order within 14 days", "Refund my order within 30 days"),
    "a negation": pair("Is my order refund possible?", "Is my order refund not possible?"),
    "an opposite": pair("How do I enable logging on the server?", "How do I disable logging on the server?"),
    "a name": pair("What is the weather in Paris?", "What is the weather in London?"),
    "another model": (on("m", "a", RESET), on("other", "a", RECOVER)),
    "another key": (on("m", "a", RESET), on("m", "b", RECOVER)),
    "another team": (on("of-team", "t1", RESET), on("of-team", "t2", RECOVER)),
    "other instructions": (
        lambda mark: Ask(said(RESET, mark)),
        lambda mark: Ask(said(RECOVER, f"{mark} briefly")),
    ),
    "another parameter": (
        lambda mark: Ask(said(RESET, mark, temperature=0.1)),
        lambda mark: Ask(said(RECOVER, mark, temperature=0.9)),
    ),
    "other tools": (
        lambda mark: Ask(said(RESET, mark, tools=TOOLS)),
        lambda mark: Ask(said(RECOVER, mark)),
    ),
    "another history": (history(RESET, "hello"), history(RECOVER, "goodbye")),
    "another picture": (picture(RESET, "https://a.test/1.png"), picture(RECOVER, "https://a.test/2.png")),
    "another format": (lambda mark: Ask(said(RESET, mark)), claude(RECOVER)),
    "exact only": (
        lambda mark: Ask(said(RESET, mark)),
        lambda mark: Ask(said(RECOVER, mark), headers={"x-portkey-cache": "simple"}),
    ),
    "a model without it": (on("exact", "a", RESET), on("exact", "a", RECOVER)),
    "not kept": (
        lambda mark: Ask(said(RESET, mark), headers={"cache-control": "no-store"}),
        lambda mark: Ask(said(RECOVER, mark)),
    ),
    "a fresh answer": (
        lambda mark: Ask(said(RESET, mark)),
        lambda mark: Ask(said(RECOVER, mark), headers={"cache-control": "no-cache"}),
    ),
    "another namespace": (
        lambda mark: Ask(said(RESET, mark), headers={"x-ailink-cache-namespace": "n"}),
        lambda mark: Ask(said(RECOVER, mark)),
    ),
}


@pytest.mark.parametrize("name", HITS)
def test_what_means_the_same_is_answered_the_same(name, send):
    first, second = HITS[name]
    mark = f"mark {next(_marks)}"
    asked, given = send(first(mark)), send(second(mark))
    assert asked.headers["x-ailink-cache"] == "miss"
    assert given.headers["x-ailink-cache"] == "semantic"
    assert 0.9 <= float(given.headers["x-ailink-cache-similarity"]) <= 1
    assert given.headers["x-ailink-cache-key"] == asked.headers["x-ailink-cache-key"]
    assert "x-ailink-deployment" not in given.headers
    assert send(first(mark)).headers["x-ailink-cache"] == "hit"


@pytest.mark.parametrize("name", MISSES)
def test_what_does_not_is_asked(name, send):
    first, second = MISSES[name]
    mark = f"mark {next(_marks)}"
    send(first(mark))
    assert send(second(mark)).headers["x-ailink-cache"] in {"miss", "refresh"}


def test_a_model_without_it_says_so(send):
    ask = Ask(said(RESET, "off", model="exact"), headers={"x-portkey-cache": "semantic"})
    assert send(ask).headers["x-ailink-cache-semantic"] == "off"
    assert send(ask).headers["x-ailink-cache"] == "hit"
    assert "x-ailink-cache-semantic" not in send(Ask(said(RESET, "off", model="exact"))).headers


def test_what_was_purged_is_not_found(gateway, send):
    first, second = Ask(said(RESET, "purge")), Ask(said(RECOVER, "purge"))
    key = send(first).headers["x-ailink-cache-key"]
    assert gateway.call("/cache/delete", {"keys": [key]}) == {"status": "success", "deleted": 1}
    assert send(second).headers["x-ailink-cache"] == "miss"


def test_what_has_expired_is_not_found(send):
    send(Ask(said(RESET, "brief", model="brief")))
    time.sleep(0.35)
    assert send(Ask(said(RECOVER, "brief", model="brief"))).headers["x-ailink-cache"] == "miss"


def test_what_is_old_is_refreshed_behind_the_caller(provider, send):
    send(Ask(said(RESET, "aging", model="aging")))
    time.sleep(0.1)
    second = Ask(said(RECOVER, "aging", model="aging"))
    assert send(second).headers["x-ailink-cache"] == "semantic"
    until(lambda: send(second).headers["x-ailink-cache"] == "hit")


def test_an_answer_that_calls_a_tool_is_given_to_equal_requests_alone(provider, send):
    first = send(Ask(said(RESET, "tool call", model="calls", tools=TOOLS)))
    assert first.json()["choices"][0]["message"]["tool_calls"]
    again = Ask(said(RECOVER, "tool call", model="calls", tools=TOOLS))
    assert send(again).headers["x-ailink-cache"] == "miss"


def test_what_it_does_is_reported(gateway, send):
    for first, second in (HITS["a paraphrase"], MISSES["a number"], MISSES["an opposite"]):
        mark = f"report {next(_marks)}"
        send(first(mark))
        send(second(mark))
    report = gateway.call("/cache/stats")
    semantic = report["semantic"]
    assert semantic["questions"] > 0
    assert semantic["hits"] > 0
    assert semantic["looks"] > semantic["hits"]
    assert semantic["refused"]["number"] >= 1
    assert semantic["refused"]["opposite"] >= 1
    assert report["total"]["saved_usd"] >= 0


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    with Embedder() as running:
        yield running


@pytest.fixture(scope="module")
def routed(provider, embedder, tmp_path_factory) -> Iterator[Gateway]:
    config = make_config(
        model(provider, "m"),
        make_model("embed", make_deployment(embedder.url), price={"input_per_million": 1}),
        make_model("judge", make_deployment(embedder.url), price={"input_per_million": 1}),
        cache={
            "enabled": True,
            "semantic": {
                "embedding_model": "embed", "judge": "judge", "threshold": 0.9, "mode": "opt_in",
            },
        },
    )  # fmt: skip
    with Gateway(tmp_path_factory.mktemp("routed"), config) as running:
        yield running


@pytest.fixture
def ask(routed: Gateway) -> Callable[..., httpx.Response]:
    key = routed.call("/key/generate", {})["key"]

    def ask(text: str, mark: str, **headers: str) -> httpx.Response:
        wanted = {"authorization": f"Bearer {key}", "x-portkey-cache": "semantic", **headers}
        return httpx.post(f"{routed.url}{CHAT}", json=said(text, mark), headers=wanted, timeout=20)

    return ask


def test_vector_and_judge_are_asked_in_the_callers_name(routed, embedder, ask):
    first, second = ask(RESET, "route"), ask(RECOVER, "route")
    assert [response.headers["x-ailink-cache"] for response in (first, second)] == ["miss", "semantic"]
    asked = embedder.asked[-3:]
    assert [body.get("input") for body in asked] == [RESET, RECOVER, None]
    # Both chats were misses' vectors first; one chat, two vectors and one verdict stand in the ledger.
    rows = until(lambda: found if len(found := routed.spend_logs()) >= 4 else None)
    assert sorted(row["model_group"] for row in rows) == ["embed", "embed", "judge", "m"]
    assert len({row["api_key"] for row in rows}) == 1
    assert RESET in asked[2]["messages"][1]["content"]
    assert RECOVER in asked[2]["messages"][1]["content"]


def test_what_the_judge_denies_is_asked(embedder, ask):
    embedder.verdict = "No, they differ."
    try:
        ask(RESET, "denied")
        assert ask(RECOVER, "denied").headers["x-ailink-cache"] == "miss"
    finally:
        embedder.verdict = "YES"


def test_a_broken_embedder_is_a_miss(embedder, ask):
    embedder.broken = True
    try:
        for _ in range(3):
            response = ask(RESET, "broken", **{"cache-control": "no-cache"})
            assert (response.status_code, response.headers["x-ailink-cache"]) == (200, "refresh")
    finally:
        embedder.broken = False


def test_only_who_asks_for_it_gets_it(ask):
    ask(RESET, "opt in")
    assert ask(RECOVER, "opt in", **{"x-portkey-cache": "simple"}).headers["x-ailink-cache"] == "miss"


def test_a_config_object_of_portkeys_asks_for_it(ask):
    semantic, simple = (
        {"x-portkey-cache": "", "x-portkey-config": json.dumps({"cache": {"mode": mode, "max_age": 60}})}
        for mode in ("semantic", "simple")
    )
    ask(RESET, "config object", **semantic)
    assert ask(RECOVER, "config object", **simple).headers["x-ailink-cache"] == "miss"
    ask(RESET, "config object again", **semantic)
    assert ask(RECOVER, "config object again", **semantic).headers["x-ailink-cache"] == "semantic"
