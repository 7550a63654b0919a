"""Ways to tell somebody: a signed webhook, Slack, e-mail. A call is one attempt and blocks: for a thread."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

from ailink.config.alerts import AlertChannel, Email

TIMEOUT_S = 10.0
KEY_PREFIX = "whsec_"
SUBMISSION, SUBMISSIONS = 587, 465


class NotToldError(Exception):
    """Why an attempt failed; never holds the address, which may be a secret."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def tell(channel: AlertChannel, alert_id: str, at_s: int, alert: Mapping[str, Any]) -> None:
    """Raises `NotToldError`."""
    try:
        if channel.webhook is not None:
            body = json.dumps(
                {"type": alert["kind"], "id": alert_id, "timestamp": at_s, "data": alert}
            ).encode()
            secret = "" if channel.secret is None else channel.secret.reveal()
            _post(channel.webhook.reveal(), body, signed(secret, alert_id, at_s, body))
        elif channel.slack is not None:
            _post(channel.slack.reveal(), json.dumps(_slack(alert)).encode(), {})
        elif channel.email is not None:
            _mail(channel.email, alert_id, alert)
    except urllib.error.HTTPError as error:
        raise NotToldError(f"answered with {error.code}") from error
    except (OSError, smtplib.SMTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        raise NotToldError(str(reason or type(error).__name__)) from error


def _slack(alert: Mapping[str, Any]) -> dict[str, Any]:
    """A message; with buttons where somebody has to decide."""
    text = alert["message"]
    if not alert.get("buttons"):
        return {"text": text}

    def button(decision: str, style: str) -> dict[str, Any]:
        label = {"type": "plain_text", "text": decision.capitalize()}
        value = alert["approval_id"]
        return {"type": "button", "text": label, "action_id": decision, "value": value, "style": style}

    # Slack takes up to 3,000 characters in a section.
    section = {"type": "section", "text": {"type": "plain_text", "text": text[:2_900]}}
    actions = {"type": "actions", "elements": [button("approve", "primary"), button("reject", "danger")]}
    return {"text": text, "blocks": [section, actions]}


def signed(secret: str, alert_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks: the id is that of every attempt, so that receivers can tell repeats."""
    headers = {"webhook-id": alert_id, "webhook-timestamp": str(at_s)}
    if secret:
        key = secret.encode()
        if secret.startswith(KEY_PREFIX):
            text = secret.removeprefix(KEY_PREFIX)
            key = base64.b64decode(text + "=" * (-len(text) % 4))
        content = f"{alert_id}.{at_s}.".encode() + body
        signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        headers["webhook-signature"] = f"v1,{signature}"
    return headers


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    sent = {"content-type": "application/json", "user-agent": "AILink", **headers}
    request = urllib.request.Request(url, data=body, headers=sent, method="POST")
    opener = urllib.request.build_opener(_NoRedirects)
    with opener.open(request, timeout=TIMEOUT_S) as response:
        if not 200 <= response.status < 300:
            raise NotToldError(f"answered with {response.status}")


def _mail(email: Email, alert_id: str, alert: Mapping[str, Any]) -> None:
    message = EmailMessage()
    message["Subject"] = f"AILink: {alert['message']}"[:200]
    message["From"] = email.sender
    message["To"] = ", ".join(email.to)
    message["Message-ID"] = f"<{alert_id}@{email.sender.rpartition('@')[2]}>"
    lines = [f"{name}: {value}" for name, value in alert.items() if name != "message"]
    message.set_content("\n".join([str(alert["message"]), "", *lines]) + "\n")
    parts = urlsplit(email.server.reveal())
    host, context = parts.hostname or "", ssl.create_default_context()
    server: smtplib.SMTP
    if parts.scheme == "smtps":
        server = smtplib.SMTP_SSL(host, parts.port or SUBMISSIONS, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(host, parts.port or SUBMISSION, timeout=TIMEOUT_S)
    with server:
        server.ehlo()
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=context)
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)
