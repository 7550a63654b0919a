"""How people are asked: what a policy's `require_approval` does not say itself."""

from typing import Annotated

from msgspec import Meta

from ailink.config.secret import Secret
from ailink.config.section import Strict


class SlackButtons(Strict, frozen=True, kw_only=True):
    """The Slack app whose incoming webhook stands under `alerts.channels`; its interactivity goes to
    `/v1/approvals/slack`.
    """

    signing_secret: Secret
    users: dict[str, str]
    """Slack's ids of people, `U…`, and their users here."""


class Approvals(Strict, frozen=True, kw_only=True):
    max_pending: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Requests of one key that may wait for people."""
    slack: SlackButtons | None = None
    """Buttons to decide with under what Slack is told."""
