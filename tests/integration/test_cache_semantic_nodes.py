"""Questions that mean the same, over nodes and restarts: what one stored the others find."""

import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.cache_nodes import MASTER, SEAL, call, running_nodes, tier, told
from tests.harness.meaning import write_static_model
from tests.harness.servers import RedisServer

RESET = "How do I reset the password of my account?"
RECOVER = "What are the steps to recover my login passphrase?"
PREFIX = "ailink:cache:"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def store(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def nodes(
    provider: MockProvider, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Gateway]]:
    directory = write_static_model(tmp_path_factory.mktemp("model"))
    config = make_config(
        make_model("m", make_deployment(provider, "echo"), cache={"scope": "team"}),
        make_model("other", make_deployment(provider, "echo"), cache={"scope": "team"}),
        cache={
            "enabled": True,
            "ttl": "1h",
            "redis": {"url": server.url, "timeout": "1s"},
            "semantic": {"directory": str(directory), "threshold": 0.9},
        },
        master_key=MASTER,
        encryption_key=SEAL,
    )
    with running_nodes(tmp_path_factory, config, 2) as running:
        yield running


@pytest.fixture(scope="module")
def keys(nodes: list[Gateway]) -> list[dict[str, str]]:
    """A key of each team at each node: teams have the same ids everywhere."""
    made: list[dict[str, str]] = []
    for node in nodes:
        for team in ("one", "two"):
            call(node, "/team/new", {"team_id": team})
        made.append({t: call(node, "/key/generate", {"team_id": t})["key"] for t in ("one", "two")})
    return made


def said(text: str, mark: str, model: str = "m") -> Any:
    body = chat(model, text)
    return {**body, "messages": [{"role": "system", "content": mark}, *body["messages"]]}


def ask(node: Gateway, key: str, body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return node.http.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()


def learned(node: Gateway) -> int:
    found: int = call(node, "/cache/stats")["semantic"]["learned"]
    return found


def questions(node: Gateway) -> int:
    found: int = call(node, "/cache/stats")["semantic"]["questions"]
    return found


def store_one(
    nodes: list[Gateway], keys: list[dict[str, str]], mark: str, model: str = "m"
) -> httpx.Response:
    """One question at the first node, until the second knows of it."""
    before = learned(nodes[1])
    answer = ask(nodes[0], keys[0]["one"], said(RESET, mark, model))
    assert told(answer) == "miss"
    until(lambda: learned(nodes[1]) > before, "the second node has learned the question")
    return answer


def test_a_second_node_finds_what_the_first_has_stored(
    nodes: list[Gateway], keys: list[dict[str, str]], store: Any, provider: MockProvider
) -> None:
    first = store_one(nodes, keys, "shared")
    mark = provider.mark()
    second = ask(nodes[1], keys[1]["one"], said(RECOVER, "shared"))
    assert (told(second), second.json()["id"]) == ("semantic", first.json()["id"])
    assert second.headers["x-ailink-cache-key"] == first.headers["x-ailink-cache-key"]
    assert provider.requests(since=mark) == []
    # Once it is in memory it is an entry like any other.
    assert told(ask(nodes[1], keys[1]["one"], said(RESET, "shared"))) == "hit"
    name = f"{PREFIX}q:{first.headers['x-ailink-cache-key']}"
    value = store.get(name)
    assert b"password" not in value
    assert 0 < store.pttl(name) <= 3_600_000


def test_nobody_else_finds_it(nodes: list[Gateway], keys: list[dict[str, str]]) -> None:
    store_one(nodes, keys, "apart")
    for body in (said(RECOVER, "apart", "other"), said(RECOVER, "apart?")):
        assert told(ask(nodes[1], keys[1]["one"], body)) == "miss"
    assert told(ask(nodes[1], keys[1]["two"], said(RECOVER, "apart"))) == "miss"


def test_no_answer_to_a_similar_question_crosses_a_tenant(
    nodes: list[Gateway], keys: list[dict[str, str]]
) -> None:
    """Random teams ask random forms of questions at random nodes; what they get was made for them."""
    chance = random.Random(20261122)
    forms = (RESET, RECOVER)
    made: dict[tuple[str, str, str], set[str]] = {}
    similar = 0
    for _ in range(120):
        number, team = chance.randrange(2), chance.choice(("one", "two"))
        mark, model = f"topic {chance.randrange(3)}", chance.choice(("m", "other"))
        answer = ask(nodes[number], keys[number][team], said(chance.choice(forms), mark, model))
        known = made.setdefault((team, mark, model), set())
        if told(answer) == "miss":
            known.add(answer.json()["id"])
        else:
            similar += told(answer) == "semantic"
            assert answer.json()["id"] in known, (team, mark, model, told(answer))
    assert similar > 10


def test_a_restart_keeps_questions(nodes: list[Gateway], keys: list[dict[str, str]]) -> None:
    store_one(nodes, keys, "survives")
    nodes[0].restart()
    until(lambda: questions(nodes[0]) >= 1, "the node has read the questions again")
    until(
        lambda: told(ask(nodes[0], keys[0]["one"], said(RECOVER, "survives"))) in {"semantic", "hit"},
        "its question is among them",
    )
    call(nodes[0], "/cache/stats")


def test_what_is_not_ours_is_passed_over(
    nodes: list[Gateway], keys: list[dict[str, str]], store: Any
) -> None:
    before = tier(nodes[1])["foreign"]
    good = store_one(nodes, keys, "good").headers["x-ailink-cache-key"]
    for number, value in enumerate((b"", b"garbage", store.get(f"{PREFIX}q:{good}"))):
        key = bytes([number]) * 32
        store.set(f"{PREFIX}q:{key.hex()}", value)
        store.xadd(f"{PREFIX}questions", {"k": key})
    store.xadd(f"{PREFIX}questions", {"k": b"short"})
    store.xadd(f"{PREFIX}questions", {"k": bytes(range(32))})
    until(lambda: tier(nodes[1])["foreign"] >= before + 3, "they are counted")
    store_one(nodes, keys, "behind them")
    assert told(ask(nodes[1], keys[1]["one"], said(RECOVER, "behind them"))) == "semantic"


def test_a_purge_reaches_the_questions_of_all_nodes(
    nodes: list[Gateway], keys: list[dict[str, str]], store: Any
) -> None:
    kept = store_one(nodes, keys, "stays", "other").headers["x-ailink-cache-key"]
    gone = store_one(nodes, keys, "goes").headers["x-ailink-cache-key"]
    assert call(nodes[0], "/cache/purge", {"model": "m"})["deleted"] >= 1
    left = store.keys(f"{PREFIX}q:*")
    assert f"{PREFIX}q:{kept}".encode() in left
    assert f"{PREFIX}q:{gone}".encode() not in left
    # Nobody is given what is gone, whatever he still remembers.
    for node, key in zip(nodes, keys, strict=True):
        until(lambda node=node: questions(node) == len(left), "the others are forgotten")
        assert told(ask(node, key["one"], said(RECOVER, "stays", "other"))) == "semantic"
    assert told(ask(nodes[1], keys[1]["one"], said(RECOVER, "goes"))) == "miss"
