"""Responses that are kept, conversations, and whose they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until
from tests.harness.canned import CannedProvider, answer

PRICE = {"input_per_million": 1, "output_per_million": 2}
NATIVE: dict[str, Any] = {
    "id": "resp_native1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "up",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
}


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    with CannedProvider() as server:
        server.answers["native"] = server.answers["other"] = answer(json.dumps(NATIVE).encode())
        server.answers["leaving"] = answer(json.dumps(NATIVE).encode(), connection="keep-alive")
        server.leaving.add("leaving")
        yield server


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, canned: CannedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    config = make_config(
        make_model("claude", make_deployment(provider, "echo", dialect="anthropic")),
        make_model(
            "slow", make_deployment(provider, "latency=1500ms;echo", dialect="anthropic", price=PRICE)
        ),
        make_model("openai", make_deployment(provider, "echo", dialect="responses", price=PRICE)),
        make_model("throttled", make_deployment(provider, "status=429", dialect="anthropic")),
        make_model("gemini", make_deployment(provider, "echo", dialect="gemini")),
        make_model(
            "native",
            make_deployment(canned.base("native"), weight=1),
            make_deployment(canned.base("other"), weight=1),
        ),
        make_model("leaving", make_deployment(canned.base("leaving"))),
        # Connections rest where they were opened.
        server={"threads": 1},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(scope="module")
def client(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def stranger(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.mint().secret, max_retries=0) as made:
        yield made


def texts_of(provider: MockProvider, mark: Any) -> list[str]:
    """What the last request said, in order."""
    (seen,) = provider.requests(mark)
    said = []
    for message in seen.json()["messages"]:
        content = message["content"]
        said += [content] if isinstance(content, str) else [part["text"] for part in content]
    return said


def test_a_conversation_goes_on(client: openai.OpenAI, provider: MockProvider) -> None:
    first = client.responses.create(model="claude", input="one")
    assert (first.id.startswith("resp_"), first.store) == (True, True)
    second = client.responses.create(model="claude", input="two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    mark = provider.mark()
    third = client.responses.create(model="claude", input="three", previous_response_id=second.id)
    assert texts_of(provider, mark) == ["one", "one", "two", "two", "three"]
    # Another model of another format goes on from it as well.
    other = client.responses.create(model="gemini", input="four", previous_response_id=third.id)
    assert other.output_text == "four"
    items = client.responses.input_items.list(third.id, order="asc").data
    assert [item.role for item in items if item.type == "message"] == ["user", "assistant"] * 2 + ["user"]


def test_streams_are_kept(client: openai.OpenAI, provider: MockProvider) -> None:
    with client.responses.stream(model="claude", input="streamed words") as stream:
        first = stream.until_done().get_final_response()
    assert client.responses.retrieve(first.id).output_text == "streamed words"
    mark = provider.mark()
    client.responses.create(model="claude", input="more", previous_response_id=first.id)
    assert texts_of(provider, mark) == ["streamed words", "streamed words", "more"]


def test_what_is_kept_is_had_again_and_removed(client: openai.OpenAI, stranger: openai.OpenAI) -> None:
    made = client.responses.create(model="claude", input="one", metadata={"a": "b"})
    found = client.responses.retrieve(made.id)
    assert (found.output_text, found.usage, found.metadata) == ("one", made.usage, {"a": "b"})
    with pytest.raises(openai.BadRequestError, match="in the background"):
        client.responses.cancel(made.id)
    for call in (stranger.responses.retrieve, stranger.responses.delete, stranger.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    with pytest.raises(openai.NotFoundError) as foreign:
        stranger.responses.create(model="claude", input="x", previous_response_id=made.id)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(model="claude", input="x", previous_response_id="resp_none")
    assert foreign.value.param == unknown.value.param == "previous_response_id"
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_what_is_not_to_be_kept_is_not(client: openai.OpenAI) -> None:
    made = client.responses.create(model="claude", input="one", store=False)
    assert made.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_team_shares_what_it_keeps(gateway: Gateway) -> None:
    team = gateway.call("/team/new", {"team_alias": "readers"})["team_id"]
    keys = [gateway.mint(team_id=team) for _ in range(2)]
    body = {"model": "claude", "input": "ours"}
    made = gateway.http.post("/v1/responses", json=body, headers=keys[0].bearer).json()
    found = gateway.http.get(f"/v1/responses/{made['id']}", headers=keys[1].bearer)
    assert (found.status_code, found.json()["id"]) == (200, made["id"])


def test_a_restart_forgets_nothing(gateway: Gateway, key: Key) -> None:
    body = {"model": "claude", "input": "before"}
    made = gateway.http.post("/v1/responses", json=body, headers=key.bearer).json()
    gateway.restart()
    found = gateway.http.get(f"/v1/responses/{made['id']}", headers=key.bearer)
    assert (found.status_code, found.json()) == (200, made)


def test_a_connection_that_is_being_closed_costs_no_answer(
    gateway: Gateway, canned: CannedProvider, key: Key, client: openai.OpenAI
) -> None:
    """The provider hangs up on the second request of a connection, as one does whose patience ends."""
    made = client.responses.create(model="leaving", input="x")
    kept = gateway.http.get(f"/v1/responses/{made.id}/input_items", headers=key.bearer)
    assert kept.status_code == 200, kept.text
    seen = canned.requests["leaving"]
    assert [request.split(b" ", 1)[0] for request in seen] == [b"POST", b"GET", b"GET"]
    # What costs money is asked twice only where the operator allows retries.
    refused = gateway.http.post("/v1/responses", json={"model": "leaving", "input": "x"}, headers=key.bearer)
    assert (refused.status_code, len(seen)) == (502, 4), refused.text


def test_a_provider_that_keeps_is_asked_again(
    gateway: Gateway, canned: CannedProvider, client: openai.OpenAI, stranger: openai.OpenAI
) -> None:
    made = client.responses.create(model="native", input="x")
    (holder,) = [name for name in ("native", "other") if canned.requests.get(name)]
    canned.requests.clear()
    key = {"Authorization": f"Bearer {client.api_key}"}
    answers = [
        client.responses.with_raw_response.create(model="native", input="y", previous_response_id=made.id),
        gateway.http.get(f"/v1/responses/{made.id}", headers=key),
        gateway.http.get(f"/v1/responses/{made.id}/input_items?limit=5", headers=key),
        gateway.http.post(f"/v1/responses/{made.id}/cancel", headers=key),
        gateway.http.delete(f"/v1/responses/{made.id}", headers=key),
    ]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert [float(answer.headers.get("x-ailink-cost", 0)) for answer in answers[1:]] == [0] * 4
    # Every one of them went to the deployment that made it.
    assert set(canned.requests) == {holder}
    lines = [request.split(b" HTTP/", 1)[0].decode() for request in canned.requests[holder]]
    path = f"/{holder}/v1/responses"
    assert lines == [
        f"POST {path}",
        f"GET {path}/{made.id}",
        f"GET {path}/{made.id}/input_items?limit=5",
        f"POST {path}/{made.id}/cancel",
        f"DELETE {path}/{made.id}",
    ]
    assert made.id.encode() in canned.requests[holder][0]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    again = client.responses.create(model="native", input="x")
    with pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(again.id)


def test_conversations(client: openai.OpenAI, stranger: openai.OpenAI, provider: MockProvider) -> None:
    made = client.conversations.create(
        items=[{"role": "user", "content": "zero"}], metadata={"topic": "numbers"}
    )
    client.responses.create(model="claude", input="one", conversation=made.id)
    mark = provider.mark()
    client.responses.create(model="gemini", input="two", conversation=made.id)
    (seen,) = provider.requests(mark)
    # What the user said in two items was answered with both.
    said = [part["text"] for content in seen.json()["contents"] for part in content["parts"]]
    assert "\n".join(said).split("\n") == ["zero", "one", "zero", "one", "two"]
    items = client.conversations.items.list(made.id, order="asc").data
    assert len(items) == 5
    assert client.conversations.items.retrieve(items[0].id or "", conversation_id=made.id).type == "message"
    client.conversations.items.delete(items[0].id or "", conversation_id=made.id)
    added = client.conversations.items.create(made.id, items=[{"role": "user", "content": "last"}])
    assert len(added.data) == 1
    assert len(client.conversations.items.list(made.id).data) == 5
    assert client.conversations.update(made.id, metadata={"topic": "letters"}).metadata == {
        "topic": "letters"
    }
    assert client.conversations.retrieve(made.id).metadata == {"topic": "letters"}
    for call in (
        stranger.conversations.retrieve,
        stranger.conversations.delete,
        stranger.conversations.items.list,
    ):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    with pytest.raises(openai.NotFoundError):
        stranger.responses.create(model="claude", input="x", conversation=made.id)
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)


def test_bad_input_is_told(gateway: Gateway, key: Key) -> None:
    def post(path: str, body: Any) -> Any:
        return gateway.http.post(path, json=body, headers=key.bearer)

    base = {"model": "claude", "input": "x"}
    for more, parameter in [
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"conversation": 5}, "conversation"),
        ({"store": "yes"}, "store"),
        ({"previous_response_id": "a", "conversation": "b"}, "conversation"),
    ]:
        answer = post("/v1/responses", {**base, **more})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, parameter), answer.text
    assert post("/v1/conversations", {"items": [5]}).status_code == 400
    assert post("/v1/conversations", {"items": [{}] * 21}).status_code == 400
    assert post("/v1/conversations", {"metadata": []}).status_code == 400
    for path in ("/v1/responses/a%2Fb", "/v1/responses/x/none", "/v1/conversations/x/y/z"):
        assert gateway.http.get(path, headers=key.bearer).status_code == 404
    assert gateway.http.get("/v1/responses/x").status_code == 401
    limited = gateway.mint(allowed_routes=["/v1/chat/completions"])
    assert gateway.http.get("/v1/responses/x", headers=limited.bearer).status_code == 403


# ── in the background ───────────────────────────────────────────────────────────────────────────────────────


def ended(client: openai.OpenAI, id: str) -> Any:
    """The response when nobody makes it any more."""

    def look() -> Any:
        found = client.responses.retrieve(id)
        return None if found.status in {"queued", "in_progress"} else found

    return until(look, "an end")


@pytest.mark.parametrize("model", ["slow", "openai"])
def test_a_response_in_the_background(gateway: Gateway, model: str) -> None:
    key = gateway.mint()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as client:
        made = client.responses.create(model=model, input="one", background=True, metadata={"a": "b"})
        assert (made.status, made.background, made.metadata) == ("queued", True, {"a": "b"})
        if model == "slow":
            assert client.responses.retrieve(made.id).status == "in_progress"
            with pytest.raises(openai.BadRequestError, match="still being made"):
                client.responses.create(model="claude", input="two", previous_response_id=made.id)
        found = ended(client, made.id)
        assert (found.id, found.status, found.output_text, found.background) == (
            made.id,
            "completed",
            "one",
            True,
        )
        assert found.usage.output_tokens > 0
        # Asking costs nothing, and stopping what is done changes nothing.
        assert client.responses.cancel(made.id).status == "completed"
        items = client.responses.input_items.list(made.id, order="asc").data
        assert [item.role for item in items if item.type == "message"] == ["user"]
        later = client.responses.create(model="claude", input="two", previous_response_id=made.id)
        assert later.output_text == "two"
    rows = until(lambda: (r := gateway.spend_logs(api_key=key.token)) and len(r) >= 2 and r, "two rows")
    assert [row["model_group"] for row in rows].count(model) == 1
    assert len(rows) == 2


def test_a_response_in_the_background_is_stopped(
    gateway: Gateway, client: openai.OpenAI, stranger: openai.OpenAI
) -> None:
    made = client.responses.create(model="slow", input="one", background=True)
    for call in (stranger.responses.retrieve, stranger.responses.cancel, stranger.responses.delete):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    removed = client.responses.create(model="slow", input="one", background=True)
    client.responses.delete(removed.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(removed.id)


def test_a_response_in_the_background_fails(client: openai.OpenAI) -> None:
    failed = ended(client, client.responses.create(model="throttled", input="one", background=True).id)
    assert (failed.status, bool(failed.error.message)) == ("failed", True)
    # What can be refused at once is.
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nothing", input="one", background=True)
    with pytest.raises(openai.BadRequestError, match="store"):
        client.responses.create(model="claude", input="one", background=True, store=False)
    native = client.responses.create(model="native", input="one")
    with pytest.raises(openai.BadRequestError, match="kept by its provider"):
        client.responses.create(model="native", input="x", background=True, previous_response_id=native.id)


def test_a_response_in_the_background_does_not_outlive_the_process(
    provider: MockProvider, tmp_path: Path
) -> None:
    slow = make_model("slow", make_deployment(provider, "latency=20s;echo", dialect="anthropic"))
    config = make_config(slow)
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        body = {"model": "slow", "input": "x", "background": True}
        made = gateway.http.post("/v1/responses", json=body, headers=key.bearer).json()
        path = f"/v1/responses/{made['id']}"
        assert gateway.http.get(path, headers=key.bearer).json()["status"] == "in_progress"
        with gateway.http.stream(
            "POST", "/v1/responses", json={**body, "stream": True}, headers=key.bearer
        ) as answer:
            lines = answer.iter_lines()
            said = next(json.loads(line[6:]) for line in lines if line.startswith("data: "))
        gateway.restart()
        found = gateway.http.get(path, headers=key.bearer).json()
        assert (found["status"], found["error"]["code"]) == ("failed", "server_error")
        path = f"/v1/responses/{said['response']['id']}?stream=true&starting_after=1"
        events = gateway.http.get(path, headers=key.bearer).text.split("\n\n")[:-1]
        assert [event.split("\n")[0] for event in events] == ["event: response.failed"]


# ── in the background, and streamed ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["slow", "openai"])
def test_a_stream_goes_on_behind_its_caller(gateway: Gateway, model: str) -> None:
    key = gateway.mint()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as client:
        with client.responses.create(model=model, input="one two", background=True, stream=True) as stream:
            first = next(iter(stream))
            assert first.type == "response.created"
            id = first.response.id
            assert (first.response.status, first.response.background) == ("queued", True)
        # The caller has left; another one goes on from where he was, while it is made and afterwards.
        rest = list(client.responses.retrieve(id, stream=True, starting_after=0))
        assert [event.sequence_number for event in rest] == list(range(1, len(rest) + 1))
        assert (rest[0].type, rest[-1].type) == ("response.queued", "response.completed")
        said = "".join(event.delta for event in rest if event.type == "response.output_text.delta")
        assert (said, rest[-1].response.id, rest[-1].response.background) == ("one two", id, True)
        found = ended(client, id)
        assert (found.status, found.output_text) == ("completed", "one two")
        again = list(client.responses.retrieve(id, stream=True))
        assert [event.sequence_number for event in again] == list(range(len(rest) + 1))
        assert list(client.responses.retrieve(id, stream=True, starting_after=3)) == again[4:]
        assert list(client.responses.retrieve(id, stream=True, starting_after=9999)) == []
        with client.responses.stream(response_id=id) as told:
            assert told.get_final_response().output_text == "one two"
        client.responses.delete(id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(id, stream=True)
    rows = until(lambda: gateway.spend_logs(api_key=key.token), "a row")
    assert [row["model_group"] for row in rows] == [model]


def test_a_stream_in_the_background_is_stopped(client: openai.OpenAI, stranger: openai.OpenAI) -> None:
    stream = client.responses.create(model="slow", input="one", background=True, stream=True)
    events = iter(stream)
    id = next(events).response.id
    with pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(id, stream=True)
    assert client.responses.cancel(id).status == "cancelled"
    assert [event.type for event in events] == ["response.queued", "response.cancelled"]
    later = list(client.responses.retrieve(id, stream=True, starting_after=1))
    # The client has no type for it.
    assert [(event.type, event.to_dict()["response"]["status"]) for event in later] == [
        ("response.cancelled", "cancelled")
    ]


def test_a_stream_in_the_background_fails(gateway: Gateway, client: openai.OpenAI, key: Key) -> None:
    events = list(client.responses.create(model="throttled", input="one", background=True, stream=True))
    assert [event.type for event in events] == ["response.created", "response.queued", "response.failed"]
    assert (events[-1].response.status, bool(events[-1].response.error.message)) == ("failed", True)
    # A provider that answers whole is told whole.
    events = list(client.responses.create(model="native", input="one", background=True, stream=True))
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", "hello")
    whole = client.responses.create(model="claude", input="one")
    for id, query, parameter in [
        (whole.id, "stream=true", "stream"),
        (client.responses.create(model="native", input="one").id, "stream=true", "stream"),
        (whole.id, "stream=maybe", "stream"),
        (whole.id, "stream=true&starting_after=-1", "starting_after"),
    ]:
        answer = gateway.http.get(f"/v1/responses/{id}?{query}", headers=key.bearer)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, parameter), answer.text
    assert gateway.http.get(f"/v1/responses/{whole.id}?stream=false", headers=key.bearer).status_code == 200
