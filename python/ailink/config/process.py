"""What `ailink.yaml` may say about the process beside its listener: logs, other clients, other nodes."""

from typing import Literal

from ailink.config.section import Strict
from ailink.config.units import Duration


class Observe(Strict, frozen=True, kw_only=True):
    """Logs of the process, on standard error."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe that is written."""
    log_format: Literal["text", "json"] = "text"


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
