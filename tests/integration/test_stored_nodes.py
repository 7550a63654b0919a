"""Responses and conversations of several nodes: what one has answered, every other goes on from."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.harness import (
    Cluster,
    Key,
    MockProvider,
    PostgresServer,
    RedisServer,
    events_of,
    make_config,
    make_deployment,
    make_model,
    until,
)

PENDING = ("queued", "in_progress")


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """One of its own: it is stopped here."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(
    provider: MockProvider,
    database: PostgresServer,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    config = make_config(
        make_model("m", make_deployment(provider, "echo", dialect="anthropic")),
        make_model("native", make_deployment(provider, "echo", dialect="responses")),
        make_model("slow", make_deployment(provider, "latency=4s;echo", dialect="anthropic")),
        make_model("slower", make_deployment(provider, "latency=60s;echo", dialect="anthropic")),
    )
    url = database.url(database.make_database())
    directory = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, config, nodes=2, database_url=url, redis_urls=[redis_server.url]) as running:
        yield running


class Both:
    """One caller at both nodes."""

    def __init__(self, cluster: Cluster, key: Key, stack: ExitStack) -> None:
        self.key = key
        self.nodes = [
            stack.enter_context(
                openai.OpenAI(base_url=f"{node.url}/v1", api_key=key.secret, max_retries=0, timeout=30)
            )
            for node in cluster.nodes
        ]


@contextmanager
def caller(cluster: Cluster) -> Iterator[Both]:
    with ExitStack() as stack:
        key = cluster.mint()
        cluster.wait_for(1, key)
        yield Both(cluster, key, stack)


@pytest.fixture
def both(cluster: Cluster) -> Iterator[Both]:
    with caller(cluster) as made:
        yield made


def texts(provider: MockProvider, mark: Any) -> list[str]:
    (seen,) = provider.requests(mark)
    said = []
    for message in seen.json()["messages"]:
        content = message["content"]
        said += [content] if isinstance(content, str) else [part["text"] for part in content]
    return said


def test_a_conversation_goes_on_at_the_other_node(both: Both, provider: MockProvider) -> None:
    one, two = both.nodes
    previous = one.responses.create(model="m", input="0").id
    for turn in range(1, 8):
        # At once, and each time elsewhere.
        node = (one, two)[turn % 2]
        previous = node.responses.create(model="m", input=str(turn), previous_response_id=previous).id
    mark = provider.mark()
    last = one.responses.create(model="m", input="8", previous_response_id=previous)
    assert texts(provider, mark) == [text for turn in range(8) for text in (str(turn), str(turn))] + ["8"]
    items = two.responses.input_items.list(last.id, order="asc", limit=100).data
    assert len(items) == 17
    assert two.responses.retrieve(last.id).output_text == "8"


def test_streams_are_there_when_they_have_ended(both: Both) -> None:
    one, two = both.nodes
    for turn in range(20):
        with one.responses.stream(model="m", input=f"words {turn}") as stream:
            for event in stream:
                if event.type == "response.completed":
                    # Before the stream is closed.
                    found = two.responses.retrieve(event.response.id)
                    assert found.output_text == f"words {turn}"


def test_what_is_removed_at_one_node_is_gone_at_all(cluster: Cluster, both: Both) -> None:
    one, two = both.nodes
    made = one.responses.create(model="m", input="one")
    with caller(cluster) as stranger:
        for node in stranger.nodes:
            with pytest.raises(openai.NotFoundError):
                node.responses.retrieve(made.id)
            with pytest.raises(openai.NotFoundError):
                node.responses.delete(made.id)
            with pytest.raises(openai.NotFoundError):
                node.responses.create(model="m", input="x", previous_response_id=made.id)
    two.responses.delete(made.id)
    for node in both.nodes:
        with pytest.raises(openai.NotFoundError):
            node.responses.retrieve(made.id)


def test_a_provider_that_keeps_is_asked_by_every_node(both: Both, provider: MockProvider) -> None:
    one, two = both.nodes
    whole = one.responses.create(model="native", input="one")
    with one.responses.stream(model="native", input="one") as stream:
        streamed = stream.until_done().get_final_response()
    for id in (whole.id, streamed.id):
        mark = provider.mark()
        two.responses.create(model="native", input="two", previous_response_id=id)
        (seen,) = provider.requests(mark)
        assert seen.json()["previous_response_id"] == id


def test_conversations_are_those_of_all_nodes(both: Both, provider: MockProvider) -> None:
    one, two = both.nodes
    made = one.conversations.create(
        items=[{"type": "message", "role": "user", "content": "zero"}], metadata={"a": "b"}
    )
    assert two.conversations.retrieve(made.id).metadata == {"a": "b"}
    two.responses.create(model="m", input="one", conversation=made.id)
    mark = provider.mark()
    one.responses.create(model="m", input="two", conversation=made.id)
    assert texts(provider, mark) == ["zero", "one", "zero\none", "two"]
    items = two.conversations.items.list(made.id, order="asc").data
    assert len(items) == 5
    two.conversations.items.delete(items[0].id or "", conversation_id=made.id)
    assert len(one.conversations.items.list(made.id).data) == 4
    two.conversations.update(made.id, metadata={"a": "c"})
    assert one.conversations.retrieve(made.id).metadata == {"a": "c"}
    two.conversations.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        one.conversations.items.list(made.id)


def status(node: openai.OpenAI, id: str) -> str | None:
    return node.responses.retrieve(id).status


def test_the_background_is_asked_for_elsewhere(both: Both) -> None:
    one, two = both.nodes
    made = one.responses.create(model="slow", input="slowly", background=True)
    assert status(two, made.id) in PENDING
    with pytest.raises(openai.BadRequestError, match="still being made"):
        two.responses.create(model="m", input="x", previous_response_id=made.id)
    until(lambda: status(two, made.id) == "completed", "it is complete at the other node", 20)
    assert two.responses.retrieve(made.id).output_text == "slowly"


def test_the_background_is_stopped_from_elsewhere(both: Both, cluster: Cluster) -> None:
    one, two = both.nodes
    cancelled = one.responses.create(model="slower", input="x", background=True)
    removed = one.responses.create(model="slower", input="x", background=True)
    assert two.responses.cancel(cancelled.id).status == "cancelled"
    two.responses.delete(removed.id)
    assert status(one, cancelled.id) == status(two, cancelled.id) == "cancelled"
    with pytest.raises(openai.NotFoundError):
        one.responses.retrieve(removed.id)
    # The provider is not waited for any more.
    until(lambda: in_flight(cluster) == 0, "both are stopped", 10)


def in_flight(cluster: Cluster) -> int:
    told = cluster.call("/health/deployments", node=0)
    return sum(int(one["in_flight"]) for one in told["data"])


def test_a_stream_in_the_background_is_followed_elsewhere(both: Both, cluster: Cluster) -> None:
    one, _ = both.nodes
    stream = one.responses.create(model="slow", input="slowly", background=True, stream=True)
    first = next(iter(stream))
    assert first.type == "response.created"
    stream.close()
    id = first.response.id
    here = cluster.nodes[1].http.get(f"/v1/responses/{id}?stream=true", headers=both.key.bearer, timeout=30)
    events = [event.json() for event in events_of(here.content)]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [events[0]["type"], events[1]["type"]] == ["response.created", "response.queued"]
    assert (events[-1]["type"], events[-1]["response"]["id"]) == ("response.completed", id)
    there = cluster.nodes[0].http.get(f"/v1/responses/{id}?stream=true", headers=both.key.bearer)
    assert there.content == here.content


def test_a_node_that_dies_has_failed(both: Both, cluster: Cluster) -> None:
    one, two = both.nodes
    made = one.responses.create(model="slower", input="x", background=True)
    assert status(two, made.id) in PENDING
    cluster.nodes[0].kill()
    assert status(two, made.id) in PENDING
    until(lambda: status(two, made.id) == "failed", "it has failed", 45)
    cluster.nodes[0].start()
    assert status(one, made.id) == "failed"


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_without_the_database(
    how: str, both: Both, database: PostgresServer, cluster: Cluster, provider: MockProvider
) -> None:
    one, two = both.nodes
    before = one.responses.create(model="m", input="before")
    running = one.responses.create(model="slow", input="slowly", background=True)
    if how == "frozen":
        database.child.freeze()
    else:
        database.kill()
    try:
        # Nothing hangs, and what was answered is kept at the node that has.
        whole = one.with_options(timeout=8).responses.create(model="m", input="whole")
        with one.with_options(timeout=8).responses.stream(model="m", input="streamed") as stream:
            streamed = stream.until_done().get_final_response()
        assert (whole.output_text, streamed.output_text) == ("whole", "streamed")
        quick = one.with_options(timeout=8)
        assert quick.responses.retrieve(whole.id).output_text == "whole"
        later = quick.responses.create(model="m", input="later", previous_response_id=whole.id)
        for node in (two, one):
            for call in (node.with_options(timeout=8).responses.retrieve, node.responses.delete):
                with pytest.raises(openai.InternalServerError) as refused:
                    call(before.id)
                assert refused.value.status_code == 503
                assert refused.value.response.headers["retry-after"]
                assert refused.value.response.json()["error"]["code"] == "store_unavailable"
        with pytest.raises(openai.InternalServerError):
            two.with_options(timeout=8).responses.retrieve(whole.id)
    finally:
        if how == "frozen":
            database.child.thaw()
        else:
            database.start()
    for made in (whole, streamed, later):
        until(lambda id=made.id: is_known(two, id), "it has moved", 15)  # type: ignore[misc]
        assert two.responses.retrieve(made.id).output_text == made.output_text
    assert two.responses.retrieve(before.id).output_text == "before"
    until(lambda: status(two, running.id) == "completed", "the background has gone on", 20)
    mark = provider.mark()
    two.responses.create(model="m", input="on", previous_response_id=later.id)
    assert texts(provider, mark) == ["whole", "whole", "later", "later", "on"]


def is_known(node: openai.OpenAI, id: str) -> bool:
    try:
        node.responses.retrieve(id)
    except openai.NotFoundError:
        return False
    except openai.InternalServerError as refused:
        # A node that has just lost the database does not try it again at once.
        if refused.status_code != 503:
            raise
        return False
    return True


def test_what_is_kept_is_sealed(both: Both, database: PostgresServer) -> None:
    one, _ = both.nodes
    made = one.responses.create(model="m", input="a secret word")
    sql = f"SELECT position('secret' IN encode(document, 'escape')) FROM stored_object WHERE id = '{made.id}'"
    assert database.run(sql, "test_1") == "0"


def test_what_a_node_had_before_it_shared_is_moved(
    provider: MockProvider, database: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    config = make_config(make_model("m", make_deployment(provider, "echo", dialect="anthropic")))
    url = database.url(database.make_database())
    body = json.dumps({"id": "resp_old", "object": "response", "status": "completed", "output": []})
    with (
        Cluster(tmp_path, config, nodes=2, database_url=url, redis_urls=[redis_server.url]) as cluster,
        caller(cluster) as both,
    ):
        one, two = both.nodes
        cluster.nodes[0].kill()
        with closing(sqlite3.connect(cluster.nodes[0].data / "stored.db")) as db, db:
            db.executescript(
                """CREATE TABLE IF NOT EXISTS response (
                    owner TEXT NOT NULL, id TEXT NOT NULL, model TEXT NOT NULL, deployment TEXT,
                    input TEXT NOT NULL, body TEXT NOT NULL, expires INTEGER NOT NULL,
                    PRIMARY KEY (owner, id)) WITHOUT ROWID;"""
            )
            row = (f"key:{both.key.id}", "resp_old", "m", None, "[]", body, int(time.time()) + 1000)
            db.execute("INSERT INTO response VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        assert not is_known(two, "resp_old")
        cluster.nodes[0].start()
        assert is_known(one, "resp_old")
        until(lambda: is_known(two, "resp_old"), "it has moved", 10)
