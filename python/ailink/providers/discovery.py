"""What a server says it serves: OpenAI's list of models, which Anthropic's has the members of."""

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

TIMEOUT_SECONDS: Final = 15.0
_MAX_ANSWER: Final = 16 * 1024 * 1024


class DiscoveryError(Exception):
    """The server could not be asked, or its answer is no list of models."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a server. `context`: its window in tokens, where the server tells."""

    name: str
    context: int | None = None
    embeds: bool = False


def ask(base_url: str, headers: Mapping[str, str]) -> list[Found]:
    """The models behind a base URL: OpenAI's list (vLLM, SGLang, llama.cpp, LM Studio, Ollama, …), in the
    order of their names. Raises DiscoveryError.
    """
    answer = _get(f"{base_url.rstrip('/')}/models", headers)
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise DiscoveryError(f"{base_url}/models answered with something else than a list of models")
    found = [_model(entry) for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    return sorted(found, key=lambda model: model.name)


def _model(entry: Mapping[str, Any]) -> Found:
    sizes = (entry.get("max_model_len"), entry.get("context_length"), entry.get("context_window"))
    context = next((size for size in sizes if isinstance(size, int) and size > 0), None)
    name = str(entry["id"])
    kind = str(entry.get("type", "")) + name.lower()
    return Found(name=name, context=context, embeds="embed" in kind)


def _get(url: str, headers: Mapping[str, str]) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise DiscoveryError(f"not an address: {url}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", parts.path, headers={"Accept": "application/json", **headers})
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DiscoveryError(f"cannot reach {url}: {error}") from None
    if response.status != 200:
        raise DiscoveryError(f"{url} answered {response.status}")
    try:
        return json.loads(body)
    except ValueError:
        raise DiscoveryError(f"{url} answered with something else than JSON") from None
