"""How people are asked: what a policy's `require_approval` does not say itself."""

from typing import Annotated

from msgspec import Meta

from ailink.config.section import Strict


class Approvals(Strict, frozen=True, kw_only=True):
    max_pending: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Requests of one key that may wait for people."""
