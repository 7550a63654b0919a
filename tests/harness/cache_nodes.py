"""Gateways that share tiers of the cache: what their tests ask and look at, as the administrator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.harness.config import chat
from tests.harness.gateway import Gateway

MASTER = "sk-master-of-all-the-nodes-0123456789"
SEAL = "3c1f4a5e6b7d8c9a0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f506172"
"""The encryption key that the nodes have in common."""
ADMIN = {"Authorization": f"Bearer {MASTER}"}


def ask(node: Gateway, text: str, model: str = "m", secret: str = MASTER, **more: Any) -> httpx.Response:
    """A chat; it must be answered."""
    headers = {"Authorization": f"Bearer {secret}"}
    body = chat(model, text, **more)
    return node.http.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()


def told(response: httpx.Response) -> str:
    """What the cache did."""
    return str(response.headers["x-ailink-cache"])


def call(node: Gateway, path: str, body: Any = None) -> Any:
    """A management call."""
    method = "GET" if body is None else "POST"
    response = node.http.request(method, path, json=body, headers=ADMIN)
    assert response.is_success, response.text
    return response.json()


def tier(node: Gateway) -> dict[str, Any]:
    """How the second tier does, as this node sees it."""
    found: dict[str, Any] = call(node, "/cache/redis/info")["tier"]
    return found


@contextmanager
def running_nodes(factory: pytest.TempPathFactory, config: Any, count: int) -> Iterator[list[Gateway]]:
    """So many gateways of one configuration, started side by side."""
    nodes = [Gateway(factory.mktemp(f"node{number}"), config) for number in range(count)]
    try:
        for node in nodes:
            node.child.start()
        for node in nodes:
            node.child.alive_until(node.is_ready, "the node is ready", 60)
        yield nodes
    finally:
        for node in nodes:
            node.__exit__()
