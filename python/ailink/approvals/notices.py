"""Tells people that somebody waits for them."""

from __future__ import annotations

from collections.abc import Sequence

from ailink.approvals.desk import Tell
from ailink.observe.alerts import AlertSender
from ailink.store.approvals import Approval


def notices(alerts: AlertSender) -> Tell:
    """What the desk calls; nothing of the request itself leaves."""

    def tell(kind: str, record: Approval, channels: Sequence[str] | None, *, buttons: bool) -> None:
        what = "A request" if record.phase == "pre" else "An answer"
        said = f": {record.message}" if record.message else ""
        text = f"{what} for {record.model} waits for approval ({record.id}, policy {record.policy}){said}"
        alert = {
            "kind": kind,
            "message": text,
            "approval_id": record.id,
            "policy": record.policy,
            "model": record.model,
            "key_id": record.key_id,
            "request_id": record.trace_id,
            "expires_us": record.expires_us,
            "buttons": buttons,
        }
        alerts.send(alert, channels)

    return tell
