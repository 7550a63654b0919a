"""A credential that a provider refuses, by every scheme of presenting one: the operator's fault, and told
without it.

The provider says the worst it can: whatever it was sent stands in its refusal.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, chat, make_config, make_model, write_config
from tests.harness.listening import Call, Listening, Reply

SECRET = "wJalrXUtnFEMI7K7MDENGbPxRfiCYEXAMPLEKEY"
STATUSES = (401, 403)


class Refusing(Listening):
    """Says of every request what came with it."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 401
        self.words = "Incorrect credential"

    def answer(self, call: Call) -> Reply:
        came = f"{self.words}: {SECRET} {call.headers} {call.path}"
        return Reply(self.status, {"error": {"message": came}, "message": came})


def places(url: str) -> dict[str, dict[str, Any]]:
    aws = {"region": "eu-west-1", "model": "anthropic.claude-x", "base_url": url}
    return {
        "bearer": {"provider": "openai_compatible", "base_url": f"{url}/v1", "api_key": SECRET, "model": "m"},
        "header": {"provider": "anthropic", "base_url": url, "api_key": SECRET, "model": "m"},
        "azure": {"provider": "azure", "base_url": url, "api_key": SECRET, "model": "m"},
        "gemini": {"provider": "gemini", "base_url": url, "api_key": SECRET, "model": "m"},
        "xai": {"provider": "xai", "base_url": url, "api_key": SECRET, "model": "m"},
        "query": {"provider": "asks_in_query", "api_key": SECRET, "model": "m"},
        "sigv4": {"provider": "bedrock", "api_key": f"AKIDEXAMPLE:{SECRET}", **aws},
        "session": {"provider": "bedrock", "api_key": f"AKIDEXAMPLE:{SECRET}:{SECRET}", **aws},
        "bedrock key": {"provider": "bedrock", "api_key": SECRET, **aws},
        "google": {
            "provider": "vertex_ai",
            "base_url": f"{url}/v1/projects/p/locations/r/publishers/google",
            "api_key": f"ya29.{SECRET}",
            "model": "m",
        },
    }


NAMES = list(places(""))


@pytest.fixture(scope="module")
def refusing() -> Iterator[Refusing]:
    with Refusing() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(refusing: Refusing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    own = {
        "base_url": f"{refusing.url}/v1",
        "dialect": "openai",
        "auth": {"scheme": "query", "name": "key"},
        "operations": {"chat": "/chat/completions"},
    }
    models = [make_model(name, place) for name, place in places(refusing.url).items()]
    config = make_config(*models, providers={"asks_in_query": own}, routing={"breaker": {"open": "0s"}})
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=key.bearer)


def is_the_operators(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("upstream_auth", "upstream_auth_failed")
    assert "refuses" in error["message"]
    told = f"{answer.text} {answer.headers}"
    assert SECRET not in told
    assert "AKID" not in told
    assert "Signature" not in told


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", NAMES)
def test_a_refused_credential(
    gateway: Gateway, refusing: Refusing, key: Key, name: str, status: int, stream: bool
) -> None:
    refusing.status, refusing.words = status, "Incorrect credential"
    is_the_operators(ask(gateway, key, name, stream=stream), status)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gemini", "API key not valid. Please pass a valid API key."),
        ("gemini", "API key expired. Please renew the API key."),
        ("gemini", "API Key not found. Please pass a valid API key."),
        ("xai", "Incorrect API key provided: wJ***EY. You can obtain an API key from https://console.x.ai."),
    ],
)
def test_a_credential_that_is_called_a_bad_request(
    gateway: Gateway, refusing: Refusing, key: Key, name: str, words: str
) -> None:
    refusing.status, refusing.words = 400, words
    answer = ask(gateway, key, name)
    is_the_operators(answer, 401)
    (row,) = gateway.attempts_of(answer.headers["x-request-id"])
    assert row["status_code"] == 401


def test_the_callers_own_words_are_none_of_it(gateway: Gateway, refusing: Refusing, key: Key) -> None:
    refusing.status, refusing.words = 400, "Unknown name 'API key not valid'"
    answer = ask(gateway, key, "gemini")
    assert (answer.status_code, answer.json()["error"]["type"]) != (401, "upstream_auth")


def test_nothing_of_it_is_logged(gateway: Gateway) -> None:
    assert SECRET not in gateway.log


def test_a_missing_credential(refusing: Refusing, tmp_path: Path) -> None:
    """Nothing starts without one: each is named, with the ways to give it."""
    models = [
        make_model(name, {field: value for field, value in place.items() if field != "api_key"})
        for name, place in places(refusing.url).items()
        # These take an address without a key: a server of one's own may want none.
        if name not in ("bearer", "query")
    ]
    write_config(tmp_path / "ailink.yaml", make_config(*models))
    command = [sys.executable, "-m", "ailink", "check", "ailink.yaml"]
    keyless = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_BEDROCK"))}
    checked = subprocess.run(command, cwd=tmp_path, env=keyless, capture_output=True, text=True, check=False)
    told = checked.stdout + checked.stderr
    assert checked.returncode == 1, told
    assert told.count("no API key: give `api_key` here or in `providers.") == len(models), told
