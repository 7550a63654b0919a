"""What the author of a strategy writes: a class that weighs the deployments of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment and how it does. Prices are US dollars per 1,000,000 tokens; None: not known."""

    id: str
    provider: str
    model: str
    state: str
    """`closed` (used), `open` (left out), `half_open` (being tried again)."""
    weight: int
    """Of the configuration."""
    in_flight: int
    requests: int
    """In the window of the breaker, and those of them that failed."""
    failures: int
    first_byte_ms: float | None = None
    ms_per_token: float | None = None
    input_price: float | None = None
    output_price: float | None = None


class Strategy:
    """A strategy. Made once for each model that names it, with its `options`. Its calls run in one event loop
    in a thread of its own.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    async def weights(self, model: str, places: Sequence[Place]) -> Mapping[str, float]:
        """The weight of each deployment by its id: requests are drawn in proportion to them, until the next
        call says otherwise. One that is left out or has 0 gets none while another has some.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Called when the configuration does not name it any more, and at the end."""
