"""What a generator reports, whichever it is."""

import msgspec


class LoadFailure(RuntimeError):
    """The generator itself failed."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`refused`: answers with status 400 and above; `broken`: no whole answer. Times in microseconds.

    `requests` and `seconds` are those of the whole load, for the CPU per request; the other figures leave its
    opening out, where it has one. `added`: the client's time less the provider's own, paired per request or,
    in streams, per event.
    """

    requests: int
    seconds: float
    bytes: int
    refused: int
    broken: int
    p50_us: float
    p99_us: float
    events: int = 0
    added_p50_us: float | None = None
    added_p99_us: float | None = None
