"""P11: secrets never leave. Canaries are put wherever a secret may be given, everything is done to them that
goes wrong in practice, and then all that comes out is searched: answers, logs, files, databases.
"""

import base64
import html
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import pytest
import redis as redis_client
from tests.harness import (
    Cluster,
    Double,
    Key,
    MockProvider,
    PostgresServer,
    RedisServer,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.cluster import ENCRYPTION_KEY, MASTER_KEY
from tests.harness.servers import program
from tests.promises.conftest import Figures

NODES = 3
ADMIN = {"Authorization": f"Bearer {MASTER_KEY}"}
CHAT = "/v1/chat/completions"


def canary(name: str) -> str:
    """Has what the encodings differ in."""
    return f"sk-canary+{name}/&'<9f3b1c7e5a>="


FILE_KEY, STORED_KEY, MODEL_KEY, CHANGED_KEY = (
    canary(name) for name in ("file", "stored", "model", "changed")
)
DATABASE, REDIS = "canary-of-the-database-5d1c", "canary-of-redis-7e2f"

ENCODINGS: Mapping[str, Callable[[str], list[str]]] = {
    "plain": lambda text: [text],
    "json": lambda text: [json.dumps(text)[1:-1], "".join(f"\\u{ord(letter):04x}" for letter in text)],
    "html": lambda text: [html.escape(text), html.escape(text, quote=False)],
    "url": lambda text: [quote(text), quote(text, safe="")],
    "hex": lambda text: [text.encode().hex()],
    "HEX": lambda text: [text.encode().hex().upper()],
    "base64": lambda text: _base64(text, base64.b64encode),
    "base64url": lambda text: _base64(text, base64.urlsafe_b64encode),
    "reversed": lambda text: [text[::-1]],
}


def _base64(text: str, encode: Callable[[bytes], bytes]) -> list[str]:
    """At any place within other text; without the ends, which depend on their neighbours."""
    return [encode(b"x" * shift + text.encode()).decode()[4:-4] for shift in range(3)]


class Place(NamedTuple):
    cluster: Cluster
    postgres: PostgresServer
    redis: RedisServer
    database: str
    directory: Path
    secrets: dict[str, str]
    seen: dict[str, bytes]
    """What came out, by where."""

    def send(self, what: str, node: int = 0, **sent: Any) -> httpx.Response:
        """One call, whose answer is kept."""
        method, _, path = what.partition(" ")
        answer = self.cluster.nodes[node].http.request(method, path, **sent)
        told = "\n".join(f"{name}: {value}" for name, value in answer.headers.items()).encode()
        self.seen[f"{what} #{len(self.seen)}"] = told + b"\n\n" + answer.content
        return answer


@pytest.fixture(scope="module")
def leaky() -> Iterator[Double]:
    """A provider that names the key it does not like, as providers do."""
    with Double() as double:

        def refuse(_: object) -> Any:
            key = double.asked[-1].headers.get("authorization", "")
            return {
                "error": {"message": f"Incorrect API key provided: {key}", "type": "invalid_request_error"}
            }

        double.answers[CHAT] = refuse
        double.statuses[CHAT] = 401
        yield double


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, leaky: Double) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("cluster")
    with (
        MockProvider(tmp_path_factory.mktemp("provider")) as provider,
        PostgresServer() as postgres,
        RedisServer(tmp_path_factory.mktemp("redis"), "--requirepass", REDIS) as redis,
    ):
        database = postgres.make_database()
        url = urlsplit(postgres.url(database))
        config = make_config(
            make_model("m", make_deployment(provider, api_key=FILE_KEY)),
            make_model("leaky", make_deployment(leaky.url, api_key=FILE_KEY)),
            make_model("gone", make_deployment("http://127.0.0.1:9", api_key=FILE_KEY)),
            providers={"mock": {"auth": {"scheme": "bearer"}}},
            observe={"log_level": "debug", "log_format": "json"},
            cache={"enabled": True},
        )
        with Cluster(
            directory,
            config,
            nodes=NODES,
            database_url=url._replace(netloc=f"ailink:{DATABASE}@127.0.0.1:{postgres.port}").geturl(),
            redis_urls=[f"redis://:{REDIS}@127.0.0.1:{redis.port}/0"],
        ) as cluster:
            secrets = {
                "key in the file": FILE_KEY,
                "credential": STORED_KEY,
                "changed credential": CHANGED_KEY,
                "key of a stored model": MODEL_KEY,
                "password of PostgreSQL": DATABASE,
                "password of Redis": REDIS,
                "master key": MASTER_KEY,
                "encryption key": ENCRYPTION_KEY,
                "raw encryption key": base64.b64decode(ENCRYPTION_KEY).decode(),
            }
            yield Place(cluster, postgres, redis, database, directory, secrets, {})


@pytest.mark.slow
def test_no_canary_is_found_anywhere(place: Place, leaky: Double, figures: Figures) -> None:
    key, old = minted(place)
    place.secrets.update({"virtual key": key.secret, "virtual key before its rotation": old})
    managed(place, leaky)
    used(place, key)
    for node in range(NODES):
        read(place, node)
    stored(place)
    # Where addresses with passwords are named most easily: what cannot be reached.
    place.redis.kill()
    place.postgres.kill()
    for node in range(NODES):
        assert place.send("POST " + CHAT, node, json=chat("m"), headers=key.bearer).status_code == 200
        until(
            lambda node=node: (
                place.send("POST /key/generate", node, json={}, headers=ADMIN).status_code == 503
            )
        )
        place.send("GET /health/readiness/details", node, headers=ADMIN)
    for node in place.cluster.nodes:
        node.stop()
        place.seen[f"log {node.child.directory.name}"] = node.child.log.encode()
    kept(place)
    found, looked = search(place)
    figures("secrets, forms of each, places, MB searched", looked)
    assert found == []


def minted(place: Place) -> tuple[Key, str]:
    """A virtual key, and what it was before it was rotated. It is shown once, and that is not kept here."""
    key = place.cluster.mint(key_alias="app", metadata={"note": "n"})
    after = place.cluster.call("/key/regenerate", {"key": key.secret, "grace_period": "1h"})
    new = Key(secret=after["key"], id=key.id, token=after["token"])
    for node in range(NODES):
        place.cluster.wait_for(node, new)
    return new, key.secret


def managed(place: Place, leaky: Double) -> None:
    """Secrets given over the API, also where they are refused."""
    values = {"credential_name": "c", "credential_values": {"api_key": STORED_KEY}, "credential_info": {}}
    assert place.send("POST /credentials", json=values, headers=ADMIN).is_success
    place.send("POST /credentials", json={**values, "unknown": STORED_KEY}, headers=ADMIN)
    place.send("POST /credentials", json={**values, "credential_values": STORED_KEY}, headers=ADMIN)
    changed = {"credential_values": {"api_key": CHANGED_KEY}}
    assert place.send("PATCH /credentials/c", node=1, json=changed, headers=ADMIN).is_success
    params = {"model": "openai/made", "api_base": f"{leaky.url}/v1", "api_key": MODEL_KEY}
    made = {"model_name": "made", "litellm_params": params}
    assert place.send("POST /model/new", json=made, headers=ADMIN).is_success
    place.send("POST /model/new", json={**made, "litellm_params": {**params, "x": MODEL_KEY}}, headers=ADMIN)
    place.send("POST /model/new", json={**made, "litellm_params": {**params, "model": 7}}, headers=ADMIN)
    place.send("POST /v1/providers", json={"api_key": MODEL_KEY, "base_url": MODEL_KEY}, headers=ADMIN)


def used(place: Place, key: Key) -> None:
    """Requests that go well and that go wrong, with secrets where they belong and where they do not.

    Not among them: management calls that name a key by its secret. They say it back, as LiteLLM's do.
    """
    for node in range(NODES):
        assert place.send("POST " + CHAT, node, json=chat("m"), headers=key.bearer).status_code == 200
        made = {"json": chat("made"), "headers": key.bearer}
        until(lambda node=node, made=made: place.send("POST " + CHAT, node, **made).status_code != 404)
        for model in ("leaky", "gone", "made", "none"):
            answer = place.send("POST " + CHAT, node, json=chat(model), headers=key.bearer)
            assert answer.status_code >= 400, model
            streamed = {"json": chat(model, stream=True), "headers": key.bearer}
            assert place.send("POST " + CHAT, node, **streamed).status_code >= 400
    for secret in (key.secret, MASTER_KEY):
        place.send("GET /v1/models", headers={"x-api-key": secret})
        place.send("GET /v1/models", headers={"Authorization": f"Basic {secret}"})
        place.send("GET /v1/models", headers={"Authorization": f"Bearer {secret}x"})
        place.send("GET /v1/models", params={"key": secret, "api_key": secret})
        place.send("GET /nowhere", params={"key": secret})
        # What is no JSON is not said back.
        place.send("POST " + CHAT, content=f'{{"model": "{secret}', headers=key.bearer)
        place.send("POST /key/block", json={"key": f"{secret}x"}, headers=key.bearer)


def read(place: Place, node: int) -> None:
    """Everything that an administrator can read without a name."""
    document = place.cluster.nodes[node].http.get("/openapi.json").json()
    paths = [path for path, methods in document["paths"].items() if "get" in methods and "{" not in path]
    assert len(paths) > 60
    for path in paths:
        place.send(f"GET {path}", node, headers=ADMIN)
    for path in (
        "/credentials/by_name/c",
        "/metrics",
        "/spend/logs?limit=1000",
        "/key/list?return_full_object=true",
    ):
        place.send(f"GET {path}", node, headers=ADMIN)


def stored(place: Place) -> None:
    """Both databases, whole. What is just being sent there is waited for."""
    count = "SELECT count(*) FROM attempt"
    until(lambda: int(place.postgres.run(count, place.database)) >= NODES, "attempts arrive")
    dump = [str(program("pg_dump")), "--data-only", "--inserts", place.postgres.url(place.database)]
    place.seen["PostgreSQL"] = subprocess.run(dump, check=True, capture_output=True, timeout=60).stdout
    place.seen["log of PostgreSQL"] = place.postgres.child.log.encode()
    with redis_client.Redis(port=place.redis.port, password=REDIS) as client:
        for name in client.scan_iter():
            place.seen[f"Redis {name!r}"] = name + b"\n" + (client.dump(name) or b"")


def kept(place: Place) -> None:
    """What lies in the nodes' directories: databases, spools. The file that secrets are given in is the
    operator's.
    """
    for file in place.directory.rglob("*"):
        if file.is_file() and file.name != "ailink.yaml":
            place.seen[f"file {file.relative_to(place.directory)}"] = file.read_bytes()


def search(place: Place) -> tuple[list[str], str]:
    found, forms = [], 0
    for name, secret in place.secrets.items():
        for encoding, encode in ENCODINGS.items():
            for form in {*encode(secret)}:
                forms += 1
                needle = form.encode()
                found += [
                    f"{name} as {encoding}: {where}" for where, text in place.seen.items() if needle in text
                ]
    size = sum(map(len, place.seen.values())) / 1e6
    return sorted(
        found
    ), f"{len(place.secrets)}, {forms / len(place.secrets):.0f}, {len(place.seen)}, {size:.1f}"
