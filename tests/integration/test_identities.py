"""A deployment without a key: the gateway's identity at a cloud, against a double of its token service."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_model, until, write_config
from tests.harness.recorder import Recorder


class Metadata:
    """A managed identity's endpoint as Azure's app service has it."""

    def __init__(self) -> None:
        self.token = "eyJhbGciOiJub25lIn0.one.x"
        self.lives = 3600.0
        self.refuses = False
        self.asked = 0
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                metadata.asked += 1
                self.rfile.read(int(self.headers.get("content-length", 0)))
                made = {"access_token": metadata.token, "expires_on": str(int(time.time() + metadata.lives))}
                body = b"{}" if metadata.refuses else json.dumps(made).encode()
                self.send_response(500 if metadata.refuses else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - the name is the base class's

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/msi"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    double = Metadata()
    monkeypatch.setenv("IDENTITY_ENDPOINT", double.url)
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    yield double
    double.server.shutdown()
    double.server.server_close()


@pytest.fixture
def config(provider: MockProvider) -> dict[str, Any]:
    """The mock has no paths of Azure's; how it is asked stays Azure's."""
    place = {"provider": "azure_ai", "model": "gpt", "identity": {"azure": {"managed": True}}}
    paths = {"base_url": f"{provider.url}/v1", "operations": {"chat": "/chat/completions"}}
    return make_config(make_model("gpt", place), providers={"azure_ai": paths})


def identity_of(gateway: Gateway) -> dict[str, Any]:
    details = gateway.http.get("/health/readiness/details", headers=gateway.admin).json()
    (identity,) = details["identities"].values()
    return {**identity, "status": details["status"]}


def ask(gateway: Gateway, key: Key) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat("gpt"), headers=key.bearer)


def test_a_token_takes_the_place_of_a_key(
    metadata: Metadata, provider: MockProvider, config: dict[str, Any], tmp_path: Path
) -> None:
    with Gateway(tmp_path, config) as gateway:
        assert identity_of(gateway)["state"] == "fresh"
        key = gateway.mint()
        answer = ask(gateway, key)
        assert answer.status_code == 200, answer.text
        seen = provider.requests()[-1]
        assert seen.headers["authorization"] == f"Bearer {metadata.token}"
        assert "api-key" not in seen.headers
        assert metadata.token not in gateway.log


def test_clouds_that_take_tokens_of_their_own(metadata: Metadata, tmp_path: Path) -> None:
    """SageMaker's and Bedrock's are made of AWS's keys, watsonx's of IBM's, others are OAuth 2's."""
    keys = {"aws": {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "hush-hush"}}
    client = {
        "oauth": {"token_url": metadata.url, "client_id": "c", "client_secret": "hush-hush", "scope": "all"}
    }
    places: dict[str, dict[str, Any]] = {
        "sagemaker": {"region": "eu-west-1", "identity": keys},
        "bedrock_mantle": {"identity": keys},
        "watsonx": {"identity": {"ibm": {"api_key": "hush-hush", "token_url": metadata.url}}},
        "databricks": {"identity": client},
        "snowflake": {"identity": client},
    }
    sent: dict[str, str] = {}
    with Recorder() as recorder:
        models = [
            make_model(name, {"provider": name, "model": "m", "base_url": recorder.url, **place})
            for name, place in places.items()
        ]
        with Gateway(tmp_path, make_config(*models)) as gateway:
            key = gateway.mint()
            for name in places:
                answer = gateway.http.post("/v1/chat/completions", json=chat(name), headers=key.bearer)
                assert answer.json()["error"]["message"] == "recorded"
                (seen,) = recorder.take()
                sent[name] = seen.headers["authorization"].removeprefix("Bearer ")
            assert not any(secret in gateway.log for secret in ("hush-hush", *sent.values()))
    assert sent["sagemaker"].startswith("sagemaker-api-key-")
    assert sent["bedrock_mantle"].startswith("bedrock-api-key-")
    assert {sent[name] for name in ("watsonx", "databricks", "snowflake")} == {metadata.token}


def test_tokens_are_renewed_and_expire(
    metadata: Metadata, provider: MockProvider, config: dict[str, Any], tmp_path: Path
) -> None:
    # Half of the life is 5 s, the shortest time between two renewals.
    metadata.lives = 10
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        assert ask(gateway, key).status_code == 200
        metadata.refuses = True
        until(lambda: identity_of(gateway)["state"] == "expired", "it expires", 40)
        state = identity_of(gateway)
        assert (state["status"], state["error"] is not None) == ("degraded", True)
        refused = ask(gateway, key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "upstream_auth_failed")
        metadata.refuses, metadata.token, metadata.lives = False, "eyJhbGciOiJub25lIn0.two.x", 3600
        until(lambda: identity_of(gateway)["state"] == "fresh", "it is fresh again", 60)
        assert ask(gateway, key).status_code == 200
        assert provider.requests()[-1].headers["authorization"] == f"Bearer {metadata.token}"


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"aws": {}}, "takes identities of `azure`"),
        ({"azure": {"client_secret": "s"}}, "`tenant_id` and `client_id` are missing"),
        ({}, "name one of `aws`, `google`, `azure`, `ibm`, `oauth`"),
    ],
)
def test_identities_that_cannot_work_are_refused(
    config: dict[str, Any], identity: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config["models"][0]["deployments"][0]["identity"] = identity
    write_config(tmp_path / "ailink.yaml", config)
    command = [sys.executable, "-m", "ailink", "check", "ailink.yaml"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert message in " ".join((checked.stdout + checked.stderr).split())
