"""Who is told when a budget or limit is passed that is there to be told of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from ailink.config.secret import Secret
from ailink.config.section import Strict

_Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
_Address = Annotated[str, Meta(max_length=254, pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")]


class Email(Strict, frozen=True, kw_only=True):
    """`server`: `smtp://user:password@host:587` (with STARTTLS where the server has it) or `smtps://…:465`."""

    server: Secret
    sender: _Address
    to: Annotated[tuple[_Address, ...], Meta(min_length=1, max_length=50)]


class AlertChannel(Strict, frozen=True, kw_only=True):
    """One of `webhook`, `slack` and `email`."""

    name: _Name
    webhook: Secret | None = None
    """Address that gets a POST, signed as Standard Webhooks says if there is a `secret`."""
    secret: Secret | None = None
    """`whsec_` and base64, or any text."""
    slack: Secret | None = None
    """Address of an incoming webhook of Slack, or of what takes the same."""
    email: Email | None = None


class Alerts(Strict, frozen=True, kw_only=True):
    channels: Annotated[tuple[AlertChannel, ...], Meta(max_length=20)] = ()


Path = tuple[str | int, ...]


def faults(alerts: Alerts) -> Iterator[tuple[Path, str]]:
    """(path, message) of what a single value cannot show."""
    seen: set[str] = set()
    for index, channel in enumerate(alerts.channels):
        path: Path = ("alerts", "channels", index)
        if channel.name in seen:
            yield (*path, "name"), f"two channels are called `{channel.name}`"
        seen.add(channel.name)
        given = [value for value in (channel.webhook, channel.slack, channel.email) if value is not None]
        if len(given) != 1:
            yield path, "give one of `webhook`, `slack` and `email`"
        if channel.secret is not None and channel.webhook is None:
            yield (*path, "secret"), "only webhooks are signed"
        for field in ("webhook", "slack"):
            url = getattr(channel, field)
            if url is not None and not _is_address(url.reveal(), ("http", "https")):
                yield (*path, field), "expected an http:// or https:// address"
        if channel.email is not None and not _is_address(channel.email.server.reveal(), ("smtp", "smtps")):
            yield (*path, "email", "server"), "expected smtp://host:587 or smtps://host:465"


def secrets_of(alerts: Alerts) -> Iterator[Secret]:
    """What must not be shown."""
    for channel in alerts.channels:
        given = [channel.webhook, channel.secret, channel.slack]
        given.append(None if channel.email is None else channel.email.server)
        yield from (secret for secret in given if secret is not None)


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
