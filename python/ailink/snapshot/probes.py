"""What deployments are asked on the gateway's own account."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ailink.config.deployments import Placed
from ailink.config.routing import EngineMetrics, HealthCheck
from ailink.config.schema import Config, Model
from ailink.providers import Operation
from ailink.snapshot import model as wire
from ailink.snapshot.routing import settled

_LISTS: Final[Mapping[Operation, tuple[str, str]]] = {
    "chat": ("/chat/completions", "/models"),
    "messages": ("/messages", "/models"),
    "generate_content": ("/models/", "/models?pageSize=1"),
    "cohere_chat": ("/v2/chat", "/v1/models?page_size=1"),
    "embeddings": ("/embeddings", "/models"),
}
"""Where a list of models stands, by the path of an operation beside it: its end, or its beginning."""

_TEXT: Final = "ping"
_MESSAGES: Final = [{"role": "user", "content": _TEXT}]
_PARTS: Final = [{"role": "user", "parts": [{"text": _TEXT}]}]
_BLOCKS: Final = [{"role": "user", "content": [{"text": _TEXT}]}]
_SMALLEST: Final[Mapping[Operation, Mapping[str, Any]]] = {
    "chat": {"messages": _MESSAGES, "max_tokens": 1},
    "messages": {"messages": _MESSAGES, "max_tokens": 1},
    "generate_content": {"contents": _PARTS, "generationConfig": {"maxOutputTokens": 1}},
    "cohere_chat": {"messages": _MESSAGES, "max_tokens": 1},
    "converse": {"messages": _BLOCKS, "inferenceConfig": {"maxTokens": 1}},
    "responses": {"input": _TEXT, "max_output_tokens": 16},
    "embeddings": {"input": _TEXT},
}
"""The smallest requests; the first that a deployment serves is made. OpenAI takes no fewer than 16 tokens."""


def check(rules: HealthCheck | None, placed: Placed, model: str) -> wire.Check | None:
    """How a deployment is checked. `model`: its name at the provider."""
    if rules is None:
        return None
    target, operation, body = rules.path, None, ""
    if target is None and rules.by == "request":
        operation, body = _request(placed.operations, model)
    if target is None and operation is None:
        target = _list(placed)
    return wire.Check(
        target=target,
        operation=operation,
        body=body,
        every_ms=int(rules.every),
        timeout_ms=int(rules.timeout),
        failing=rules.failing,
        passing=rules.passing,
    )


def poll(model: Model, config: Config) -> wire.Poll | None:
    """How its engine is asked, where the strategy goes by that."""
    if settled(model, config, "strategy") != "engine_load":
        return None
    rules: EngineMetrics = settled(model, config, "engine")
    return wire.Poll(
        target=rules.path,
        every_ms=int(rules.every),
        timeout_ms=int(rules.timeout),
        stale_ms=int(rules.stale),
    )


def _request(operations: Mapping[Operation, str], model: str) -> tuple[Operation | None, str]:
    for operation, smallest in _SMALLEST.items():
        if operation in operations:
            named = {} if operation in {"generate_content", "converse"} else {"model": model}
            return operation, msgspec.json.encode({**named, **smallest}).decode()
    return None, ""


def _list(placed: Placed) -> str | None:
    """The path of the provider's list of models, if it has one that is known."""
    if placed.base_url.startswith("unix:") or placed.row.auth.scheme == "sigv4":
        return None
    prefix = urlsplit(placed.base_url).path.rstrip("/")
    for operation, (beside, listed) in _LISTS.items():
        path = placed.operations.get(operation)
        if path is None or "?" in path or path.startswith("/../"):
            continue
        if operation == "generate_content" and path.startswith(beside):
            return prefix + listed
        if path.endswith(beside):
            return prefix + path.removesuffix(beside) + listed
    return None
