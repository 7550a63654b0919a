"""What `ailink.yaml` may say about routing: under `routing` for all models, under a model's `routing` for it.

A key that is null is taken from the section above, in the end from DEFAULT_ROUTING.
"""

from typing import Annotated, Final

from msgspec import Meta

from ailink.config.section import Strict
from ailink.config.units import Duration

_Times = Annotated[int, Meta(ge=0, le=10)]
_Percent = Annotated[int, Meta(ge=0, le=100)]
_Number = Annotated[int, Meta(ge=0, le=1_000_000)]


class Retry(Strict, frozen=True, kw_only=True):
    """How often a request is sent again, by the class of its last failure, and how long to wait.

    null: for `authentication` (then only to another deployment), `timeout`, `rate_limit`, `server_error` and
    `connection` the model's `retries`, for the others 0.
    """

    bad_request: _Times | None = None
    authentication: _Times | None = None
    not_found: _Times | None = None
    timeout: _Times | None = None
    rate_limit: _Times | None = None
    content_policy: _Times | None = None
    context_window: _Times | None = None
    server_error: _Times | None = None
    connection: _Times | None = None
    backoff: Duration | None = None
    """First wait before the same deployment is asked again: doubled each time, a random part is waited."""
    backoff_max: Duration | None = None
    retry_after_max: Duration | None = None
    """A provider's `Retry-After` up to this is waited for; a longer one is passed on to the caller."""


class Breaker(Strict, frozen=True, kw_only=True):
    """When a deployment is left out, and for how long. 0 turns a rule off; `open: 0s` all of them."""

    consecutive: _Number | None = None
    """Failures in a row."""
    percent: _Percent | None = None
    """Share of failures among the requests of `window`, once there are `minimum`."""
    minimum: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    window: Duration | None = None
    allowed_fails: _Number | None = None
    """More failures than this within `window`; null: not counted."""
    open: Duration | None = None
    """How long the first time; twice as long each time in a row."""
    open_max: Duration | None = None
    probes: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    """Requests at a time that may try a deployment after that."""
    slow_start: Duration | None = None
    """How long until a deployment that is back has its whole weight."""
    outlier_percent: _Percent | None = None
    """Percentage points of failures above the other deployments of the model."""
    ejected_percent: _Percent | None = None
    """At most this part of a model's deployments is left out as outliers, but always one may be."""


class ModelRouting(Strict, frozen=True, kw_only=True):
    """How the requests of a model find a deployment."""

    retry: Retry = Retry()
    breaker: Breaker = Breaker()


class Routing(ModelRouting, frozen=True, kw_only=True):
    """For all models that do not say otherwise."""

    default_fallbacks: tuple[str, ...] = ()
    """Fallbacks of models that name none."""


DEFAULT_ROUTING: Final = ModelRouting(
    retry=Retry(
        bad_request=0,
        not_found=0,
        content_policy=0,
        context_window=0,
        backoff=Duration(500),
        backoff_max=Duration(8_000),
        retry_after_max=Duration(10_000),
    ),
    breaker=Breaker(
        consecutive=5,
        percent=50,
        minimum=20,
        window=Duration(10_000),
        open=Duration(5_000),
        open_max=Duration(60_000),
        probes=1,
        slow_start=Duration(10_000),
        outlier_percent=25,
        ejected_percent=50,
    ),
)
