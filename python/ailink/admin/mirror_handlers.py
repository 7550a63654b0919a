"""`/routing/mirrors`: how mirrors do beside the models whose requests they get."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.ledger.reader import PICO, LedgerError, Took
from ailink.store import mirrors
from ailink.store.mirrors import MirrorPair

MOST = 10_000
SECOND_US = 1_000_000


class MirrorsQuery(Request, frozen=True, kw_only=True):
    """`since`: seconds since 1970."""

    model: str | None = None
    since: float = 0.0
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 1_000


class SideView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two. `failed`: answers without success; times, costs (USD) and tokens are those of the
    ledger, of requests that succeeded on both sides.
    """

    model: str
    failed: int
    latency_ms: float | None
    """The median."""
    latency_p95_ms: float | None
    first_byte_ms: float | None
    """The median."""
    cost: float | None
    """The mean."""
    output_tokens: float | None
    """The mean."""
    length: float | None
    """The mean, in characters."""


class ComparisonView(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its mirror."""

    pairs: int
    compared: int
    """Both succeeded, and their words could be compared."""
    agreement: float | None
    """The mean of the parts of their words that they have in common, from 0 to 1."""
    equal: int
    """Answers of the same words."""
    own: SideView
    mirror: SideView


class MirrorsView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[ComparisonView]


async def report(services: Services, call: Call[Nothing, MirrorsQuery]) -> MirrorsView:
    """The latest requests that went to a mirror too, by model and mirror."""
    query = call.query
    found = await mirrors.latest(services.database, query.model, round(query.since * SECOND_US), query.limit)
    ids = [name for pair in found for name in (pair.request_id, pair.mirror_id)]
    try:
        took = await services.ledger.took(ids)
    except LedgerError as error:
        raise ApiError(503, str(error), type="api_error", code="ledger_unavailable") from error
    groups: dict[tuple[str, str], list[MirrorPair]] = {}
    for pair in found:
        groups.setdefault((pair.model, pair.mirror), []).append(pair)
    return MirrorsView(data=[_compared(pairs, took) for _, pairs in sorted(groups.items())])


def _compared(pairs: Sequence[MirrorPair], took: dict[str, Took]) -> ComparisonView:
    both = [pair for pair in pairs if pair.status < 300 and pair.mirror_status < 300]
    agreements = [pair.agreement for pair in both if pair.agreement is not None]
    first = pairs[0]

    def side(name: str, failed: int, ids: Iterable[str], lengths: Sequence[int | None]) -> SideView:
        rows = [row for one in ids if (row := took.get(one)) is not None]
        times = sorted(row.duration_us for row in rows)
        starts = sorted(row.ttft_us for row in rows if row.ttft_us is not None)
        return SideView(
            model=name,
            failed=failed,
            latency_ms=_at(times, 50),
            latency_p95_ms=_at(times, 95),
            first_byte_ms=_at(starts, 50),
            cost=_mean([row.cost_pico / PICO for row in rows]),
            output_tokens=_mean([row.output for row in rows]),
            length=_mean([length for length in lengths if length is not None]),
        )

    return ComparisonView(
        pairs=len(pairs),
        compared=len(agreements),
        agreement=_mean([agreement / 1_000 for agreement in agreements]),
        equal=sum(agreement == 1_000 for agreement in agreements),
        own=side(
            first.model,
            sum(pair.status >= 300 for pair in pairs),
            [pair.request_id for pair in both],
            [pair.length for pair in both],
        ),
        mirror=side(
            first.mirror,
            sum(pair.mirror_status >= 300 for pair in pairs),
            [pair.mirror_id for pair in both],
            [pair.mirror_length for pair in both],
        ),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _at(times_us: Sequence[int], percent: int) -> float | None:
    """The percentile (nearest rank) of sorted times, in milliseconds."""
    if not times_us:
        return None
    rank = max(1, -(-len(times_us) * percent // 100))
    return times_us[rank - 1] / 1_000
