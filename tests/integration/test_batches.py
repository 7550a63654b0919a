"""Files and batches by the official client, at doubles of every provider that takes batches."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import openai
import pytest
from tests.harness import Gateway, Key, make_config, until
from tests.harness.batches import BatchProvider

PRICE = {
    "input_per_million": 10,
    "output_per_million": 100,
    "services": {"batch": {"input_per_million": 5, "output_per_million": 50}},
}
ONE = 100 * 5_000_000 + 20 * 50_000_000
"""pico-USD of one answer of the doubles at the batch's price."""
CLAUDE = "anthropic.claude-x"
MODELS = ["gpt", "azure", "claude", "gemini", "vertex-claude", "converse", "bedrock-claude"]


def deployments(url: str) -> dict[str, dict[str, Any]]:
    def aws(provider: str) -> dict[str, Any]:
        place = {"bucket": "s3://answers/team", "role": "arn:aws:iam::1:role/batch"}
        urls = {"url": f"{url}/bedrock/model-invocation-job", "store_url": f"{url}/s3"}
        return {"provider": provider, "base_url": url, "region": "eu-west-1", "api_key": "AKID:secret",
                "model": CLAUDE, "batch": {**place, **urls}}  # fmt: skip

    def google(provider: str, publisher: str) -> dict[str, Any]:
        base = f"{url}/vertex/v1/projects/p/locations/r/publishers/{publisher}"
        return {"provider": provider, "base_url": base, "api_key": "ya29.token",
                "model": "gemini-x", "batch": {"bucket": "gs://answers/team"}}  # fmt: skip

    batch = {"url": f"{url}/v1/batches", "store_url": f"{url}/v1/files"}
    return {
        "gpt": {
            "provider": "openai_compatible",
            "base_url": f"{url}/v1",
            "api_key": "sk-up",
            "model": "gpt-up",
        },
        "azure": {"provider": "azure", "base_url": url, "api_key": "az", "model": "gpt-up", "batch": batch},
        "claude": {"provider": "anthropic", "base_url": url, "api_key": "sk-ant", "model": "claude-up"},
        "gemini": google("vertex_ai", "google"),
        "vertex-claude": google("vertex_ai_anthropic", "anthropic"),
        "converse": aws("bedrock"),
        "bedrock-claude": aws("bedrock_anthropic"),
    }


@pytest.fixture(scope="module")
def double() -> Iterator[BatchProvider]:
    with BatchProvider() as running:
        yield running


@pytest.fixture
def upstream(double: BatchProvider) -> Iterator[BatchProvider]:
    double.done.clear()
    double.asked.clear()
    double.refuses, double.spoilt, double.packed = None, None, False
    yield double
    double.refuses, double.spoilt, double.packed = None, None, False
    double.done.set()


def settings(double: BatchProvider, **more: Any) -> dict[str, Any]:
    models: list[dict[str, Any]] = [
        {"name": name, "deployments": [place], "price": PRICE, "retries": 0}
        for name, place in deployments(double.url).items()
    ]
    plain = {"provider": "gemini", "base_url": double.url, "api_key": "x", "model": "y"}
    models.append({"name": "live-only", "deployments": [plain]})
    return make_config(*models, batches={"poll": "100ms"}, **more)


@pytest.fixture(scope="module")
def gateway(double: BatchProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), settings(double)) as running:
        yield running


def client_of(gateway: Gateway, key: Key) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0)


def line(number: int, model: str, text: str, url: str = "/v1/chat/completions", **body: Any) -> str:
    asked = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50, **body}
    return json.dumps({"custom_id": f"my own #{number}", "method": "POST", "url": url, "body": asked})


def start(client: openai.OpenAI, lines: list[str], endpoint: Any = "/v1/chat/completions") -> Any:
    content = "\n".join(lines).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"team": "a"}
    )


def ended(client: openai.OpenAI, batch_id: str) -> Any:
    def look() -> Any:
        batch = client.batches.retrieve(batch_id)
        return batch if batch.status in ("completed", "failed", "cancelled", "expired") else None

    return until(look, "the batch has ended", 20)


def rows_of(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    found = [json.loads(row) for row in client.files.content(file_id).content.splitlines()]
    return {row["custom_id"]: row for row in found}


def billed(gateway: Gateway, key: Key, count: int) -> list[dict[str, Any]]:
    def rows() -> list[dict[str, Any]]:
        found = gateway.spend_logs(api_key=key.token)
        return found if len(found) >= count else []

    return until(rows, "rows of the ledger")


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_at_every_provider(gateway: Gateway, upstream: BatchProvider, model: str) -> None:
    key = gateway.mint()
    with client_of(gateway, key) as client:
        made = start(client, [line(1, model, "one"), line(2, model, "REFUSE"), line(3, model, "three")])
        assert (made.status, made.object, made.metadata) == ("validating", "batch", {"team": "a"})
        until(lambda: client.batches.retrieve(made.id).status == "in_progress", "it is handed over")
        upstream.done.set()
        batch = ended(client, made.id)
        assert (batch.status, batch.errors) == ("completed", None)
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
        answers = rows_of(client, batch.output_file_id)
        assert list(answers) == ["my own #1", "my own #3"]
        body = answers["my own #3"]["response"]["body"]
        assert body["choices"][0]["message"]["content"] == "echo: three"
        assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (100, 20)
        refused = rows_of(client, batch.error_file_id)["my own #2"]["response"]
        assert refused["status_code"] == 400
    # The price of batches, a row for each request that was worked on.
    rows = billed(gateway, key, 3)
    assert sorted(row["status_code"] for row in rows) == [200, 200, 400]
    # Each is known by its line, and told to whoever has the files.
    assert {row["request_id"][:-8] for row in rows} == {rows[0]["request_id"][:-8]}
    assert sorted(row["request_id"][-8:] for row in rows) == ["00000001", "00000002", "00000003"]
    told = {row["response"]["request_id"] for row in [*answers.values(), {"response": refused}]}
    assert told == {row["request_id"] for row in rows}
    one = gateway.spend_logs(request_id=refused["request_id"])
    assert [(row["status_code"], row["attempt_no"]) for row in one] == [(400, 1)]
    assert {(row["kind"], row["call_type"], row["source"]) for row in rows} == {("batch", "chat", "reported")}
    assert gateway.call("/key/info", key=key.secret)["info"]["spend"] == pytest.approx(2 * ONE / 10**12)
    # What was brought to the provider is removed, and the caller's own key never went there.
    until(lambda: not [name for name in upstream.objects if "requests" in name or "file-up" in name], "clean")
    assert key.secret not in str(upstream.asked)


def test_embeddings_and_listing(gateway: Gateway, upstream: BatchProvider) -> None:
    key = gateway.mint()
    upstream.done.set()
    body = {
        "custom_id": "e",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "gpt", "input": "x"},
    }
    with client_of(gateway, key) as client:
        made = start(client, [json.dumps(body)], "/v1/embeddings")
        batch = ended(client, made.id)
        assert rows_of(client, batch.output_file_id)["e"]["response"]["body"]["data"][0]["embedding"]
        assert [one.id for one in client.batches.list()] == [made.id]
        files = list(client.files.list())
        assert [file.purpose for file in files] == ["batch_output", "batch"]
        assert [file.id for file in client.files.list(purpose="batch")] == [files[1].id]
        assert client.files.retrieve(files[1].id).filename == "in.jsonl"
        assert client.files.delete(files[1].id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(files[1].id)


def test_what_is_anothers_is_not_there(gateway: Gateway, upstream: BatchProvider) -> None:
    team = gateway.call("/team/new", {"team_alias": "batchers"})["team_id"]
    mine, mate, other = gateway.mint(team_id=team), gateway.mint(team_id=team), gateway.mint()
    with client_of(gateway, mine) as client:
        made = start(client, [line(1, "gpt", "secret")])
    with client_of(gateway, mate) as client:
        assert client.batches.retrieve(made.id).id == made.id
        assert b"secret" in client.files.content(made.input_file_id).content
        with pytest.raises(openai.ConflictError):
            client.files.delete(made.input_file_id)
    with client_of(gateway, other) as client:
        for ask in (
            lambda: client.batches.retrieve(made.id),
            lambda: client.batches.cancel(made.id),
            lambda: client.files.retrieve(made.input_file_id),
            lambda: client.files.content(made.input_file_id),
            lambda: client.files.delete(made.input_file_id),
            lambda: client.batches.create(
                input_file_id=made.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                ask()
        assert list(client.batches.list()) == list(client.files.list()) == []


def test_a_batch_is_cancelled(gateway: Gateway, upstream: BatchProvider) -> None:
    key = gateway.mint()
    with client_of(gateway, key) as client:
        made = start(client, [line(1, "gpt", "one")])
        until(lambda: client.batches.retrieve(made.id).status == "in_progress", "it is handed over")
        assert client.batches.cancel(made.id).status == "cancelling"
        until(lambda: any(job.get("status") == "cancelling" for job in upstream.jobs.values()), "it is told")
        upstream.done.set()
        batch = ended(client, made.id)
        assert batch.status == "cancelled"
        row = rows_of(client, batch.error_file_id)["my own #1"]
        assert (row["response"], row["error"]["code"]) == (None, "batch_cancelled")
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(made.id)
    assert gateway.call("/key/info", key=key.secret)["info"]["spend"] == 0


def test_budgets_hold_for_batches(gateway: Gateway, upstream: BatchProvider) -> None:
    """Each may cost 50 output tokens at $50 a million, and a little for its input."""
    key = gateway.mint(max_budget=0.0045)
    with client_of(gateway, key) as client:
        first = start(client, [line(1, "gpt", "one")])
        with pytest.raises(openai.APIStatusError) as refused:
            start(client, [line(1, "gpt", "two")])
        assert "Budget has been exceeded" in str(refused.value)
        upstream.done.set()
        assert ended(client, first.id).status == "completed"
        # What was set aside is given back: the second has room now.
        assert ended(client, start(client, [line(1, "gpt", "two")]).id).status == "completed"
    assert gateway.call("/key/info", key=key.secret)["info"]["spend"] == pytest.approx(2 * ONE / 10**12)


FILED = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
BAD: list[tuple[str, str]] = [
    ("not json", "line 1 of the file: it is not a JSON object"),
    ("[]", "it is not a JSON object"),
    ("", "the file is empty"),
    (line(1, "nothing", "x"), "does not exist"),
    (line(1, "claude", "x"), "may not use the model"),
    (line(1, "gpt", "x", url="/v1/embeddings"), "`url` must be /v1/chat/completions"),
    (line(1, "gpt", "x", stream=True), "are not streamed"),
    (line(1, "gpt", "x") + "\n" + line(1, "gpt", "y"), "line 2 of the file: `custom_id`"),
    (line(1, "gpt", "x") + "\n" + line(2, "azure", "y"), "a batch has one"),
    (
        '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt","model":"gpt"}}',
        "twice",
    ),
    ('{"custom_id":"a","method":"GET","url":"/v1/chat/completions","body":{}}', "`method` must be POST"),
    ('{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":' + "[" * 20_000 + "}", "JSON"),
    (line(1, "live-only", "x"), "takes batches"),
    (line(1, "gemini", "x", messages=FILED), "send the file's content"),
    (line(1, "gpt", "x", api_base="http://169.254.169.254"), "set by the gateway's operator"),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=[message[:24] for _, message in BAD])
def test_bad_files_are_refused(gateway: Gateway, upstream: BatchProvider, content: str, message: str) -> None:
    key = gateway.mint(models=["gpt", "azure", "nothing", "live-only", "gemini"])
    with client_of(gateway, key) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            start(client, [content])
        assert refused.value.status_code in (400, 403, 404)
        assert message in str(refused.value)
    assert [asked for asked in upstream.asked if asked.method == "POST"] == []


def test_bad_forms_are_refused(gateway: Gateway) -> None:
    key = gateway.mint()

    def post(**form: Any) -> httpx.Response:
        return gateway.http.post("/v1/files", headers=key.bearer, **form)

    file = {"file": ("a", b"x")}
    assert post(json={}).status_code == 400
    assert post(files=file).json()["error"]["param"] == "purpose"
    assert post(files=file, data={"purpose": "vision"}).json()["error"]["code"] == "unsupported_purpose"
    assert post(files={"purpose": (None, "batch")}).json()["error"]["param"] == "file"
    cut = {"content-type": "multipart/form-data; boundary=x", **key.bearer}
    body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc'
    answer = gateway.http.post("/v1/files", headers=cut, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
    assert gateway.http.get("/v1/files").status_code == 401


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b'{"error":{"message":"Incorrect key sk-ant given"}}'),
        (500, b"<html>oops</html>"),
        (200, b"<html>"),
        (200, b"{}"),
    ],
)
def test_what_providers_spoil(gateway: Gateway, upstream: BatchProvider, status: int, body: bytes) -> None:
    """It is tried again; nothing is lost, and nothing is paid twice."""
    key = gateway.mint()
    with client_of(gateway, key) as client:
        made = start(client, [line(1, "claude", "one")])
        until(lambda: client.batches.retrieve(made.id).status == "in_progress", "it is handed over")
        upstream.refuses = (status, body)
        asked = len(upstream.asked)
        until(lambda: len(upstream.asked) > asked, "it is asked")
        assert client.batches.retrieve(made.id).status == "in_progress"
        until(lambda: made.id in gateway.child.log, "it is told of")
        assert "sk-ant" not in gateway.child.log
        upstream.refuses = None
        upstream.spoilt = b'{"custom_id":"line-0000'
        upstream.done.set()
        until(lambda: any("results" in one.path for one in upstream.asked), "answers are fetched")
        upstream.spoilt = None
        batch = ended(client, made.id)
        assert batch.status == "completed"
        assert rows_of(client, batch.output_file_id)["my own #1"]["response"]["status_code"] == 200
    assert len(billed(gateway, key, 1)) == 1


def test_packed_answers_are_read_and_bombs_are_not(gateway: Gateway, upstream: BatchProvider) -> None:
    key = gateway.mint()
    with client_of(gateway, key) as client:
        made = start(client, [line(1, "claude", "one")])
        until(lambda: client.batches.retrieve(made.id).status == "in_progress", "it is handed over")
        upstream.packed = True
        upstream.spoilt = b" " * (64 << 20)
        upstream.done.set()
        before = gateway.child.memory()
        until(lambda: "200 times its size" in gateway.child.log, "the bomb is told of", 20)
        assert gateway.child.memory(peak=True) < before + (32 << 20)
        assert client.batches.retrieve(made.id).status == "finalizing"
        upstream.spoilt = None
        batch = ended(client, made.id)
        assert rows_of(client, batch.output_file_id)["my own #1"]["response"]["status_code"] == 200


def test_it_survives_the_end_of_the_process(
    double: BatchProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    double.done.clear()
    with Gateway(tmp_path_factory.mktemp("gateway"), settings(double)) as gateway:
        key = gateway.mint(max_budget=0.01)
        with client_of(gateway, key) as client:
            made = start(client, [line(1, "gpt", "one"), line(2, "gpt", "two")])
            until(lambda: client.batches.retrieve(made.id).status == "in_progress", "it is handed over")
            gateway.restart()
            double.done.set()
            batch = ended(client, made.id)
            assert batch.status == "completed"
            assert rows_of(client, batch.output_file_id)["my own #2"]["response"]["status_code"] == 200
        assert len(billed(gateway, key, 2)) == 2
        rows = gateway.stop().ledger()
        assert [row.cost_pico for row in rows] == [ONE, ONE]
        assert {(row.operation, row.source, row.outcome, row.flags) for row in rows} == {
            ("chat", "reported", "success", 16)
        }
        assert len({row.request_id for row in rows}) == 2


def test_lines_that_an_older_version_settled_are_not_paid_again(
    double: BatchProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its rows have the id of their batch, in the order of the lines; it was stopped in their middle."""
    double.done.set()
    whole = "0192f3a4b5c6d7e8f90a1b2c3d4e5f60"
    with Gateway(tmp_path_factory.mktemp("gateway"), settings(double)) as gateway:
        key = gateway.mint()
        with client_of(gateway, key) as client:
            lines = [line(number, "gpt", "one") for number in (1, 2, 3)]
            assert ended(client, start(client, lines[:2]).id).status == "completed"
            billed(gateway, key, 2)
            double.spoilt = b'{"custom_id":"line-0000'
            made = start(client, lines)
            until(lambda: client.batches.retrieve(made.id).status == "finalizing", "it is finalizing")
            gateway.stop()
            double.spoilt = None
            # The rows of the one become two of the other's.
            with closing(sqlite3.connect(gateway.data / "ledger.db")) as ledger, ledger:
                ledger.execute("UPDATE attempt SET request_id = ?", (bytes.fromhex(whole),))
            with closing(sqlite3.connect(gateway.data / "ailink.db")) as store, store:
                asked = "SELECT document FROM batch WHERE id = ?"
                (text,) = store.execute(asked, (made.id,)).fetchone()
                document = json.dumps({**json.loads(text), "request_id": whole})
                store.execute("UPDATE batch SET document = ? WHERE id = ?", (document, made.id))
            gateway.start()
            batch = ended(client, made.id)
            assert batch.status == "completed"
            assert len(rows_of(client, batch.output_file_id)) == 3
        new = [row.request_id for row in gateway.stop().ledger()[2:]]
    assert new == [f"req_{whole[:-8]}00000003"]
