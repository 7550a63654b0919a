"""Several gateways as one: the same database, the same Redis, a directory each."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from tests.harness.config import Section, chat
from tests.harness.gateway import Gateway, Key
from tests.harness.until import until

ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
MASTER_KEY = "sk-cluster-5f0e8a7c61b24d93"


class Cluster:
    """Started inside the `with` block. `nodes[0]` migrates the database."""

    def __init__(
        self,
        directory: Path,
        config: Section,
        *,
        nodes: int,
        database_url: str | Sequence[str],
        redis_urls: Sequence[str],
    ) -> None:
        """`database_url`, `redis_urls`: one for all, or one for each node."""
        databases = [database_url] if isinstance(database_url, str) else database_url
        self.nodes = []
        for number in range(nodes):
            settings = {
                **config,
                "database_url": databases[number % len(databases)],
                "redis_url": redis_urls[number % len(redis_urls)],
                "encryption_key": ENCRYPTION_KEY,
                "master_key": MASTER_KEY,
                "server": {"threads": 1, **config.get("server", {}), "node": number + 1},
            }
            self.nodes.append(Gateway(directory / f"node{number + 1}", settings))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.http.close)
                stack.callback(node.child.kill)
            # The first one alone, for it brings the schema up to date; the others together.
            self.nodes[0].start()
            for node in self.nodes[1:]:
                node.child.start()
            for node in self.nodes[1:]:
                node.child.alive_until(node.is_ready, "node is ready", 60)
            self._ends = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def call(self, path: str, body: Any = None, node: int = 0, **query: Any) -> Any:
        """A management call as administrator at one of the nodes."""
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        http = self.nodes[node].http
        if body is None:
            response = http.get(path, params=query or None, headers=headers)
        else:
            response = http.post(path, json=body, params=query or None, headers=headers)
        assert response.is_success, f"{path}: {response.status_code} {response.text}"
        return response.json()

    def mint(self, node: int = 0, **settings: Any) -> Key:
        made = self.call("/key/generate", settings, node)
        return Key(secret=made["key"], id=made["key_id"], token=made["token"])

    def ask(self, node: int, key: Key, model: str = "m", **more: Any) -> httpx.Response:
        """One chat completion at one of the nodes."""
        return self.nodes[node].http.post(
            "/v1/chat/completions", json=chat(model, **more), headers=key.bearer
        )

    def wait_for(self, node: int, key: Key) -> None:
        """Until a node knows a key that was minted at another one. Costs nothing."""
        until(lambda: self._knows(node, key), f"node {node + 1} knows the key")

    def _knows(self, node: int, key: Key) -> bool:
        return self.nodes[node].http.get("/v1/models", headers=key.bearer).status_code == 200
