"""Who is told of budgets: a signed webhook, Slack, e-mail; retries, the log, a test."""

import base64
import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.harness import Gateway, MockProvider, make_config, make_deployment, make_model, until
from tests.harness.tenants import PRICE, ask

SECRET = "whsec_" + base64.b64encode(b"a secret of theirs").decode()


class Mails(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to leave a message."""

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline():
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                self._say("354 go on")
                lines = []
                while (text := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(text.decode())
                self.server.mails.append("".join(lines))  # type: ignore[attr-defined]
            elif word == b"QUIT":
                self._say("221 bye")
                return
            self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Hooks(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        server: Any = self.server
        first = not any(path == self.path for path, _, _ in server.seen)
        server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(503 if first and self.path == "/flaky" else 404 if self.path == "/gone" else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hooks() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hooks)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def mails() -> Iterator[Any]:
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mails)
    server.mails = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, hooks: Any, mails: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    base = f"http://127.0.0.1:{hooks.server_address[1]}"
    channels = [
        {"name": "ops", "webhook": f"{base}/flaky", "secret": SECRET},
        {"name": "slack", "slack": f"{base}/slack"},
        {
            "name": "mail",
            "email": {
                "server": f"smtp://127.0.0.1:{mails.server_address[1]}",
                "sender": "gateway@example.com",
                "to": ["ops@example.com"],
            },
        },
        {"name": "gone", "webhook": f"{base}/gone"},
    ]
    config = make_config(
        make_model("m", make_deployment(provider), price=PRICE),
        make_model("other", make_deployment(provider), price=PRICE),
        alerts={"channels": channels},
        budgets={"rules": [{"on": "model:other", "usd": 4, "per": "month", "alert_at": [50, 100]}]},
    )
    with Gateway(tmp_path_factory.mktemp("alerts"), config) as running:
        yield running


def at(hooks: Any, path: str) -> list[tuple[dict[str, str], bytes]]:
    return [(headers, body) for place, headers, body in list(hooks.seen) if place == path]


def test_a_share_of_a_budget_is_told_once_to_every_channel(gateway: Gateway, hooks: Any, mails: Any) -> None:
    gateway.call("/team/new", {"team_id": "red", "team_alias": "Red", "max_budget": 5, "alert_at": [40, 80]})
    key = gateway.call("/key/generate", {"team_id": "red"})["key"]
    assert ask(gateway, key, max_tokens=5).status_code == 200
    assert at(hooks, "/slack") == []
    for _ in range(2):
        assert ask(gateway, key, max_tokens=5).status_code == 200
    (told,) = until(lambda: at(hooks, "/slack"), "Slack is told")
    text = json.loads(told[1])["text"]
    assert text == "The team 'Red' passed $2 in all (limit '40 % of max_budget'): $2 are spent or reserved."
    (mail,) = until(lambda: mails.mails, "a mail")
    assert "To: ops@example.com" in mail
    assert "The team 'Red' passed $2" in mail.replace("\r\n ", " ")
    # The second attempt, after a 503: the same id, signed anew.
    first, second = until(lambda: found if len(found := at(hooks, "/flaky")) == 2 else None, "two attempts")
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    for headers, body in (first, second):
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = hmac.new(b"a secret of theirs", content, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(wanted).decode()}"
    sent = json.loads(second[1])
    assert (sent["type"], sent["data"]["message"]) == ("soft_limit", text)
    # The next threshold is the next alert.
    assert ask(gateway, key, max_tokens=5).status_code == 200
    until(lambda: len(at(hooks, "/slack")) == 2, "80 %")


def test_budgets_of_the_file_are_told_of(gateway: Gateway, hooks: Any) -> None:
    before = len(at(hooks, "/slack"))
    key = gateway.mint()
    for _ in range(2):
        assert ask(gateway, key.secret, "other", max_tokens=5).status_code == 200
    (told,) = until(lambda: at(hooks, "/slack")[before:], "half of it")
    assert "The model 'other' passed $2 per calendar month (limit '50 % of the budget')" in told[1].decode()


def test_the_log_tells_what_became_of_each(gateway: Gateway) -> None:
    def logged() -> dict[str, dict[str, Any]]:
        found = gateway.call("/v1/alerts")["deliveries"]
        return {one["channel"]: one for one in reversed(found) if "40 %" in one["message"]}

    until(lambda: logged()["ops"]["status"] == "sent", "delivered")
    found = logged()
    assert (found["ops"]["attempts"], found["ops"]["error"]) == (2, None)
    assert (found["gone"]["status"], found["gone"]["error"]) == ("waiting", "answered with 404")
    assert SECRET not in json.dumps(gateway.call("/v1/alerts"))


def test_a_channel_can_be_tried(gateway: Gateway) -> None:
    assert gateway.call("/v1/alerts/test", {"channel": "slack"})["status"] == "sent"
    failed = gateway.call("/v1/alerts/test", {"channel": "gone"})
    assert (failed["status"], failed["attempts"], failed["error"]) == ("failed", 1, "answered with 404")
    missing = gateway.http.post("/v1/alerts/test", json={"channel": "x"}, headers=gateway.admin)
    assert missing.status_code == 404
    key = gateway.mint()
    assert gateway.http.get("/v1/alerts", headers=key.bearer).status_code == 403


@pytest.mark.parametrize(
    "fields",
    [
        {"alert_at": [0]},
        {"alert_at": [101]},
        {"alert_at": ["x"]},
    ],
)
def test_bad_thresholds(gateway: Gateway, fields: dict[str, Any]) -> None:
    answer = gateway.http.post("/team/new", json={"max_budget": 1, **fields}, headers=gateway.admin)
    assert answer.status_code in (400, 422)
