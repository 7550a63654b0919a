"""Checks at clouds by an identity instead of keys, against doubles of token services and of vendors."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.harness import Double, Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

Json = dict[str, Any]


class Tokens:
    """Token services of Azure (a managed identity's) and Google."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                ends = str(int(time.time() + 3600))
                cloud = "azure" if self.path.startswith("/msi") else "google"
                made = {"access_token": f"token.{cloud}.x", "expires_on": ends, "expires_in": 3600}
                body = json.dumps({**made, "token_type": "Bearer"}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def tokens() -> Iterator[Tokens]:
    services = Tokens()
    yield services
    services.server.shutdown()
    services.server.server_close()


@pytest.fixture(scope="module")
def vendor() -> Iterator[Double]:
    with Double() as double:
        clean = {"entities": [], "redactedText": "x"}
        double.answers |= {
            "/aws/guardrail/g/version/DRAFT/apply": {"action": "NONE", "outputs": [], "assessments": []},
            "/language/:analyze-text?api-version=2024-11-01": {"results": {"documents": [clean]}},
            "/v1/projects/p/locations/l/templates/t:sanitizeUserPrompt": {
                "sanitizationResult": {"filterMatchState": "NO_MATCH_FOUND", "filterResults": {}}
            },
        }
        yield double


def account(tokens: Tokens, path: Path) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    told = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "gateway@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{tokens.url}/token",
    }
    path.write_text(json.dumps(told))
    return str(path)


@pytest.fixture(scope="module")
def gateway(
    tokens: Tokens, vendor: Double, provider: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("check-identities")
    pair = {"access_key_id": "AKIDROLE", "secret_access_key": "s", "session_token": "of-the-role"}
    google = {"credentials_file": account(tokens, directory / "account.json")}
    checks: Json = {
        "aws": {"bedrock": {"guardrail_id": "g", "region": "eu-west-1", "endpoint": f"{vendor.url}/aws",
                            "identity": {"aws": pair}}},
        "azure": {"azure_pii": {"endpoint": vendor.url, "identity": {"azure": {"managed": True}}}},
        "google": {"model_armor": {"project": "p", "location": "l", "template": "t", "endpoint": vendor.url,
                                   "identity": {"google": google}}},
    }  # fmt: skip
    config = make_config(
        *(make_model(name, make_deployment(provider, model=name), guardrails=[name]) for name in checks),
        guardrails=[{"name": name, "checks": [check]} for name, check in checks.items()],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", f"{tokens.url}/msi")
        patch.setenv("IDENTITY_HEADER", "header")
        with Gateway(directory, config) as running:
            yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.mark.parametrize(
    ("name", "header", "gone"),
    [
        ("aws", "AWS4-HMAC-SHA256 Credential=AKIDROLE/", "x-none"),
        ("azure", "Bearer token.azure.x", "ocp-apim-subscription-key"),
        ("google", "Bearer token.google.x", "x-none"),
    ],
)
def test_a_check_is_made_by_an_identity(gateway, key, vendor, name, header, gone):
    vendor.take()
    answer = gateway.http.post("/v1/chat/completions", json=chat(name), headers=key.bearer)
    assert answer.status_code == 200, answer.text
    (asked,) = vendor.take()
    assert asked.headers["authorization"].startswith(header)
    assert gone not in asked.headers
    if name == "aws":
        assert asked.headers["x-amz-security-token"] == "of-the-role"


def test_their_state_is_told(gateway):
    details = gateway.http.get("/health/readiness/details", headers=gateway.admin).json()
    states = {slot: one["state"] for slot, one in details["identities"].items()}
    assert states == {f"guardrail:{name}:0": "fresh" for name in ("aws", "azure", "google")}
