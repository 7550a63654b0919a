"""The management API of a running gateway, as the commands use it.

The standard library's client is enough for one small JSON request, and it starts fast.
"""

import http.client
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from ailink.cli import source
from ailink.config.data_dir import DataDirError, read_admin_key
from ailink.config.problems import ConfigError
from ailink.config.schema import Config

TIMEOUT_SECONDS: Final = 30.0
_MAX_ANSWER: Final = 64 * 1024 * 1024


class ClientError(Exception):
    """The gateway could not be asked, or refused; the text is for the operator."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, and as whom."""

    url: str
    key: str


def target(url: str | None, key: str | None, config: Path | None) -> Target:
    """What the options say, then the environment, then the configuration. Raises ClientError."""
    url = url or os.environ.get("AILINK_URL")
    key = key or os.environ.get("AILINK_KEY") or os.environ.get("AILINK_MASTER_KEY")
    if url and key:
        return Target(url=url.rstrip("/"), key=key)
    try:
        found = source.load(config).config
    except ConfigError as error:
        missing = " and ".join(name for name, value in (("--url", url), ("--key", key)) if not value)
        raise ClientError(f"the configuration has problems, so give {missing}: {error}") from None
    return Target(url=(url or address(found)).rstrip("/"), key=key or _key(found))


def address(config: Config) -> str:
    """Where a gateway with this configuration can be reached from this machine. Raises ClientError."""
    server = config.server
    if server.port is None:
        raise ClientError("the gateway has no TCP listener; give --url")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    return f"{'https' if server.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{server.port}"


def _key(config: Config) -> str:
    if config.master_key is not None:
        return config.master_key.reveal()
    try:
        return read_admin_key(Path(config.data_dir))
    except DataDirError as error:
        raise ClientError(f"{error}; start the gateway once, or give --key or AILINK_KEY") from None


def call(
    to: Target, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
) -> Any:
    """One request; the decoded JSON of its answer. Raises ClientError."""
    parts = urlsplit(to.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ClientError(f"not an address: {to.url}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Authorization": f"Bearer {to.key}", "Accept": "application/json"}
    payload = None
    if body is not None:
        payload = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    address = parts.path + path + (f"?{urlencode(query)}" if query else "")
    try:
        connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, address, payload, headers)
            response = connection.getresponse()
            answer = response.read(_MAX_ANSWER)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ClientError(f"cannot reach {to.url}: {error}; is `ailink serve` running?") from None
    return _decoded(answer, response.status, to)


def _decoded(answer: bytes, status: int, to: Target) -> Any:
    try:
        value = json.loads(answer) if answer else None
    except ValueError:
        raise ClientError(f"{to.url} answered {status} with something else than JSON") from None
    if status < 400:
        return value
    message = None
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        message = value["error"].get("message")
    raise ClientError(f"{message or 'refused'} (HTTP {status})")
