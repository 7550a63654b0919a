"""What `ailink.yaml` may say about the process beside its listener: logs, traces, other clients and nodes."""

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ailink.config.secret import Secret
from ailink.config.section import Strict
from ailink.config.units import Duration, Share

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Otlp(Strict, frozen=True, kw_only=True):
    """Where traces go, by OTLP over HTTP."""

    endpoint: Annotated[str, Meta(min_length=1, max_length=2_048)]
    """Of a collector: `http://host:4318`; `/v1/traces` is added unless it stands there."""
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    """Sent with every batch, such as a key of the collector."""
    service_name: Annotated[str, Meta(min_length=1, max_length=256)] = "ailink"
    sample: Share = Share(1_000_000)
    """So much of the requests whose callers do not say; a caller's `traceparent` says for his own."""
    timeout: Duration = Duration(10_000)
    """For one batch."""


class Observe(Strict, frozen=True, kw_only=True):
    """Logs of the process, on standard error, and traces of requests."""

    otlp: Otlp | None = None
    """Where traces go; null: there are none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe that is written."""
    log_format: Literal["text", "json"] = "text"


def faults(observe: Observe) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, message) of what a single value cannot show."""
    otlp = observe.otlp
    if otlp is None:
        return
    try:
        parts = urlsplit(otlp.endpoint)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        named = parts.username is not None
    except ValueError:
        good = named = False
    if not good:
        yield ("observe", "otlp", "endpoint"), "expected an http:// or https:// address"
    elif named:
        yield ("observe", "otlp", "endpoint"), "an address is shown: credentials go into `headers`"
    for name, value in otlp.headers.items():
        if not _HEADER.fullmatch(name) or any(char < " " or char == "\x7f" for char in value.reveal()):
            yield ("observe", "otlp", "headers", name), "not a header"
    if otlp.timeout == 0:
        yield ("observe", "otlp", "timeout"), "must be more than 0"


class Compat(Strict, frozen=True, kw_only=True):
    """Behaviour for clients of other gateways."""

    restamp_model: bool = False
    """Answers name the model that was asked for instead of the provider's."""
    guardrail_status: Literal[400, 446] = 400
    """The status of what a guardrail blocks; 446 is Portkey's."""


class Coordination(Strict, frozen=True, kw_only=True):
    """Among several nodes."""

    lease: Duration = Duration(150_000)
    """How long a node that has lost Redis goes on with its shares of limits; only then others get them."""
    timeout: Duration = Duration(500)
    """The longest a request with an `Idempotency-Key` waits for Redis; then it goes on as on one node."""
