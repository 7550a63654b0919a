"""The clouds' own libraries against local doubles of their token services."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ailink.config.identity import (
    AwsIdentity,
    AzureIdentity,
    GoogleIdentity,
    IbmIdentity,
    Identity,
    OauthIdentity,
    identity_fault,
    secrets_of,
)
from ailink.config.secret import Secret
from ailink.config.units import Duration
from ailink.identities import IdentityError, aws, azure, google, ibm, oauth

SOON = datetime.now(UTC) + timedelta(hours=1)


class Double:
    """One server that plays STS, Google's token endpoint and metadata, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, list[str]], dict[str, str]]] = []
        self.refuse = False
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                self.answer(parse_qs(self.rfile.read(length).decode()))

            def do_GET(self) -> None:
                self.answer(parse_qs(urlsplit(self.path).query))

            do_PUT = do_POST  # noqa: N815 - the name is the base class's

            def answer(self, fields: dict[str, list[str]]) -> None:
                double.asked.append((self.command, self.path, fields, dict(self.headers)))
                status, kind, body = double.reply(self.path, fields)
                self.send_response(status)
                self.send_header("content-type", kind)
                if status == 302:
                    self.send_header("location", f"{double.url}/token")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, path: str, fields: dict[str, list[str]]) -> tuple[int, str, bytes]:
        if self.refuse:
            error = "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>"
            return 403, "text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode()
        if path == "/moved":
            return 302, "text/plain", b""
        if path == "/token":
            given = {"access_token": "ya29.token", "expires_in": 3600}
            return 200, "application/json", json.dumps(given).encode()
        if path.startswith("/msi"):
            given = {"access_token": "eyJ.azure", "expires_on": str(int(SOON.timestamp()))}
            return 200, "application/json", json.dumps(given).encode()
        if path.startswith("/container"):
            made = {
                "AccessKeyId": "ASIACONTAINER",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": SOON.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            return 200, "application/json", json.dumps(made).encode()
        action = fields["Action"][0]
        body = f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
        <Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>made</SecretAccessKey>
        <SessionToken>tok</SessionToken><Expiration>{SOON.strftime("%Y-%m-%dT%H:%M:%SZ")}</Expiration>
        </Credentials></{action}Result></{action}Response>"""
        return 200, "text/xml", body.encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Double]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    server = Double()
    yield server
    server.close()


def identity(**settings: Any) -> Identity:
    return Identity(aws=AwsIdentity(**settings))


STATIC: dict[str, Any] = {"access_key_id": Secret("AKID"), "secret_access_key": Secret("secret")}


def test_given_and_profile_keys(double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert aws.fetch(identity(**STATIC)).value == b"AKID:secret"
    assert aws.fetch(identity(**STATIC, session_token=Secret("t"))).value == b"AKID:secret:t"
    with pytest.raises(IdentityError, match="no AWS credentials"):
        aws.fetch(identity())
    (tmp_path / "credentials").write_text("[p]\naws_access_key_id=AKP\naws_secret_access_key=sp\n")
    assert aws.fetch(identity(profile="p")).value == b"AKP:sp"
    with pytest.raises(IdentityError, match="ProfileNotFound"):
        aws.fetch(identity(profile="q"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "se")
    assert aws.fetch(identity()).value == b"AKENV:se"


def test_a_role_is_assumed_with_tags_and_an_external_id(double: Double) -> None:
    wanted = identity(
        **STATIC,
        role_arn="arn:aws:iam::123456789012:role/models",
        external_id=Secret("ext-1"),
        session_name="gateway",
        session_tags={"team": "research"},
        duration=Duration(1_800_000),
        sts_endpoint=double.url,
    )
    token = aws.fetch(wanted)
    assert token.value == b"ASIAROLE:made:tok"
    assert token.expires == pytest.approx(SOON.timestamp(), abs=1)
    assert "made" not in repr(token)
    _, _, fields, headers = double.asked[-1]
    assert fields["Action"] == ["AssumeRole"]
    assert fields["RoleSessionName"] == ["gateway"]
    assert fields["ExternalId"] == ["ext-1"]
    assert fields["DurationSeconds"] == ["1800"]
    assert (fields["Tags.member.1.Key"], fields["Tags.member.1.Value"]) == (["team"], ["research"])
    assert "Credential=AKID/" in headers["Authorization"]


def test_a_web_identity_needs_no_key(double: Double, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a.web.token\n")
    wanted = identity(
        role_arn="arn:aws:iam::123456789012:role/models",
        web_identity_token_file=str(tmp_path / "token"),
        sts_endpoint=double.url,
    )
    assert aws.fetch(wanted).value == b"ASIAROLE:made:tok"
    _, _, fields, headers = double.asked[-1]
    assert fields["WebIdentityToken"] == ["a.web.token"]
    assert "Authorization" not in headers


def test_the_platforms_service_account_is_found(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("irsa.token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", double.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    token = aws.fetch(identity())
    assert token.value == b"ASIAROLE:made:tok"
    assert token.expires is not None


def test_a_containers_role_is_found(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{double.url}/container")
    token = aws.fetch(identity())
    assert token.value == b"ASIACONTAINER:secret:token"
    assert token.expires == pytest.approx(SOON.timestamp(), abs=1)


def test_refusals_say_what_aws_says_and_nothing_secret(double: Double) -> None:
    double.refuse = True
    wanted = identity(**STATIC, role_arn="arn:aws:iam::1:role/x", sts_endpoint=double.url)
    with pytest.raises(IdentityError) as caught:
        aws.fetch(wanted)
    assert str(caught.value) == "AWS refused: AccessDenied: not you"


def service_account(double: Double, path: Path) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "gateway@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{double.url}/token",
    }
    path.write_text(json.dumps(account))
    return str(path)


def test_a_service_account_gets_a_token(double: Double, tmp_path: Path) -> None:
    file = service_account(double, tmp_path / "account.json")
    token = google.fetch(Identity(google=GoogleIdentity(credentials_file=file)))
    assert token.value == b"ya29.token"
    assert token.expires == pytest.approx(datetime.now(UTC).timestamp() + 3600, abs=60)
    assert double.asked[-1][2]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


def test_google_failures_hold_no_key(double: Double, tmp_path: Path) -> None:
    file = service_account(double, tmp_path / "account.json")
    double.refuse = True
    with pytest.raises(IdentityError) as caught:
        google.fetch(Identity(google=GoogleIdentity(credentials_file=file)))
    assert "PRIVATE" not in str(caught.value)
    with pytest.raises(IdentityError):
        google.fetch(Identity(google=GoogleIdentity(credentials_file=str(tmp_path / "none.json"))))


def test_a_managed_identity_gets_a_token(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{double.url}/msi")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    token = azure.fetch(Identity(azure=AzureIdentity(managed=True)))
    assert token.value == b"eyJ.azure"
    assert token.expires == pytest.approx(SOON.timestamp(), abs=1)
    assert double.asked[-1][2]["resource"] == ["https://cognitiveservices.azure.com"]
    double.refuse = True
    with pytest.raises(IdentityError):
        azure.fetch(Identity(azure=AzureIdentity(managed=True)))


def test_a_federated_token_becomes_one_of_google(double: Double, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a.web.token")
    pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k"
    account = {
        "type": "external_account",
        "audience": pool,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{double.url}/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }
    (tmp_path / "pool.json").write_text(json.dumps(account))
    found = google.fetch(Identity(google=GoogleIdentity(credentials_file=str(tmp_path / "pool.json"))))
    assert found.value == b"ya29.token"
    _, _, fields, _ = double.asked[-1]
    assert (fields["subject_token"], fields["audience"]) == (["a.web.token"], [pool])


def test_a_bearer_token_is_made_of_keys_and_ends_with_them(double: Double) -> None:
    made = aws.fetch(identity(**STATIC, bearer="sagemaker/eu-west-1"))
    prefix, _, text = made.value.decode().rpartition("-")
    assert prefix == "sagemaker-api-key"
    host, _, query = base64.b64decode(text).decode().partition("/?")
    told = parse_qs(query)
    assert host == "sagemaker.amazonaws.com"
    assert (told["Action"], told["Version"], told["X-Amz-Expires"]) == (
        ["CallWithBearerToken"],
        ["1"],
        ["43200"],
    )
    assert told["X-Amz-Credential"][0].startswith("AKID/")
    assert told["X-Amz-Credential"][0].endswith("/eu-west-1/sagemaker/aws4_request")
    assert len(told["X-Amz-Signature"][0]) == 64
    assert made.expires == pytest.approx(datetime.now(UTC).timestamp() + 43_200, abs=60)
    role = identity(**STATIC, role_arn="r" * 20, sts_endpoint=double.url, bearer="bedrock/us-east-1")
    made = aws.fetch(role)
    assert made.value.startswith(b"bedrock-api-key-")
    assert made.expires == pytest.approx(SOON.timestamp(), abs=1)


def test_ibm_gives_a_token_for_a_key(double: Double) -> None:
    wanted = Identity(ibm=IbmIdentity(api_key=Secret("hush"), token_url=f"{double.url}/token"))
    found = ibm.fetch(wanted)
    assert found.value == b"ya29.token"
    assert found.expires == pytest.approx(datetime.now(UTC).timestamp() + 3600, abs=60)
    _, _, fields, _ = double.asked[-1]
    assert fields == {"grant_type": ["urn:ibm:params:oauth:grant-type:apikey"], "apikey": ["hush"]}
    double.refuse = True
    with pytest.raises(IdentityError, match="answered 403") as caught:
        ibm.fetch(wanted)
    assert "hush" not in str(caught.value)


def client(double: Double, path: str = "/token", **more: Any) -> Identity:
    return Identity(oauth=OauthIdentity(token_url=f"{double.url}{path}", client_id="c:1", **more))


def test_a_client_gets_a_token_for_its_secret(double: Double) -> None:
    found = oauth.fetch(client(double, client_secret=Secret("s/1"), scope="all-apis"))
    assert found.value == b"ya29.token"
    _, _, fields, headers = double.asked[-1]
    assert fields == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}
    basic = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert basic == "c%3A1:s%2F1"


def test_a_client_gets_a_token_for_a_federated_one(double: Double, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a.web.token\n")
    oauth.fetch(client(double, token_file=str(file), audience="them"))
    _, _, fields, headers = double.asked[-1]
    assert (fields["subject_token"], fields["client_id"], fields["audience"]) == (
        ["a.web.token"],
        ["c:1"],
        ["them"],
    )
    assert fields["grant_type"] == ["urn:ietf:params:oauth:grant-type:token-exchange"]
    assert "Authorization" not in headers
    oauth.fetch(client(double, token_file=str(file), grant="assertion"))
    _, _, fields, _ = double.asked[-1]
    assert fields["client_assertion"] == ["a.web.token"]
    with pytest.raises(IdentityError, match="FileNotFoundError"):
        oauth.fetch(client(double, token_file=str(tmp_path / "none")))


def test_a_secret_is_for_one_host(double: Double) -> None:
    asked = len(double.asked)
    with pytest.raises(IdentityError, match="answered 302"):
        oauth.fetch(client(double, "/moved", client_secret=Secret("s")))
    assert len(double.asked) == asked + 1


WEB: dict[str, Any] = {"role_arn": "arn:aws:iam::1:role/r", "web_identity_token_file": "token"}


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (Identity(), ""),
        (Identity(aws=AwsIdentity(), google=GoogleIdentity()), ""),
        (identity(access_key_id=Secret("a")), "aws"),
        (identity(**STATIC, profile="p"), "aws.profile"),
        (identity(session_tags={"a": "b"}), "aws.role_arn"),
        (identity(**WEB, session_tags={"a": "b"}), "aws.session_tags"),
        (identity(**WEB, external_id=Secret("x")), "aws.external_id"),
        (identity(**WEB, profile="p"), "aws.web_identity_token_file"),
        (identity(role_arn="r", duration=Duration(1000)), "aws.duration"),
        (Identity(azure=AzureIdentity(client_secret=Secret("s"), managed=True)), "azure"),
        (Identity(ibm=IbmIdentity()), "ibm.api_key"),
        (Identity(oauth=OauthIdentity(client_secret=Secret("s"))), "oauth.token_url"),
        (Identity(oauth=OauthIdentity(token_url="https://a/b")), "oauth"),
        (
            Identity(oauth=OauthIdentity(token_url="https://a/b", client_secret=Secret("s"))),
            "oauth.client_id",
        ),
    ],
)
def test_what_cannot_work_is_said(given: Identity, key: str) -> None:
    fault = identity_fault(given)
    assert fault is not None
    assert fault[0] == key


def test_secrets_are_known() -> None:
    given = identity(**STATIC, role_arn="r", external_id=Secret("e"))
    assert [secret.reveal() for secret in secrets_of(given)] == ["AKID", "secret", "e"]
