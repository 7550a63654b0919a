"""`/v1/bills`: cost exports of providers against the ledger. Where they agree, the attempts of that day and
model count as `reconciled`; where they do not, both amounts are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError, bad_request, not_found
from ailink.admin.holders import require_everywhere
from ailink.admin.money_fields import Money, pico
from ailink.admin.services import Services
from ailink.ledger.bills import MOST_USD, Bill, BillError, Format, day_text, matched, read
from ailink.ledger.money import Usd
from ailink.ledger.reader import LedgerError
from ailink.ledger.report import DAY_US, Question, ask
from ailink.store import bills
from ailink.store.bills import BillRow

EPOCH = date(1970, 1, 1)
LONGEST_DAYS = 400
Day = Annotated[str, Meta(min_length=10, max_length=10, description="YYYY-MM-DD, UTC.")]


class NewBill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text`: the export as it came: JSON of OpenAI's costs or Anthropic's cost report, CSV of AWS's Cost and
    Usage Report, or CSV with `date,model,cost`. A difference of up to `percent` of the bill, or `usd`, is
    allowed.
    """

    provider: Annotated[str, Meta(min_length=1, max_length=64)]
    format: Format
    text: Annotated[str, Meta(min_length=1)]
    percent: Annotated[float, Meta(ge=0, le=100)] = 1.0
    usd: Money = 0.01


class BillsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without days: the last 31."""

    provider: Annotated[str, Meta(max_length=64)] | None = None
    start: Annotated[Day | None, Meta(description="First day.")] = msgspec.field(default=None, name="from")
    end: Annotated[Day | None, Meta(description="Last day, counted in.")] = msgspec.field(
        default=None, name="to"
    )


class BillLine(msgspec.Struct, frozen=True, kw_only=True):
    """One day of one model: as the bill has it and as the ledger had it. `deployments` is empty for what
    none of the gateway's deployments stands for.
    """

    provider: str
    day: str
    model: str
    billed: Usd
    recorded: Usd
    difference: Usd
    agrees: bool
    deployments: list[str]


class BillView(msgspec.Struct, frozen=True, kw_only=True):
    """`difference`: billed less recorded."""

    billed: Usd
    recorded: Usd
    difference: Usd
    agreeing: int
    differing: int
    data: list[BillLine]


async def reconcile(services: Services, call: Call[NewBill, Nothing]) -> BillView:
    """Takes the place of what was known of the days of this bill."""
    body = call.body
    places = _places(services, body.provider)
    try:
        bill = await asyncio.to_thread(read, body.text, body.format)
    except BillError as error:
        raise bad_request(str(error), param="text", code="invalid_bill") from error
    first, last = min(day for day, _ in bill), max(day for day, _ in bill)
    if last - first >= LONGEST_DAYS:
        raise bad_request(f"at most {LONGEST_DAYS} days at once", param="text", code="invalid_bill")
    recorded = await _recorded(services, first, last)
    rows = await asyncio.to_thread(_rows, call, bill, places, recorded, services.changes.now_us())
    async with services.database.transaction() as queries:
        await bills.put(queries, body.provider, (first, last), rows)
    return _view(rows)


async def list_bills(services: Services, call: Call[Nothing, BillsQuery]) -> BillView:
    require_everywhere(call.caller.acting, "spend.read")
    query = call.query
    last = _day(query.end, "to") if query.end else services.changes.now_us() // DAY_US
    first = _day(query.start, "from") if query.start else last - 30
    if first > last:
        raise bad_request("`from` is after `to`", param="from")
    return _view(await bills.between(services.database, first, last, query.provider))


def _day(text: str, param: str) -> int:
    try:
        return (date.fromisoformat(text) - EPOCH) // timedelta(days=1)
    except ValueError as error:
        raise bad_request("expected a day such as 2026-01-31", param=param) from error


def _places(services: Services, provider: str) -> dict[str, list[str]]:
    """The provider's models, and the deployments of each."""
    found: dict[str, list[str]] = {}
    for model in services.config.models():
        for place in model.deployments:
            if place.provider == provider:
                found.setdefault(place.model, []).append(place.id)
    if not found:
        raise not_found("no deployment of such a provider", param="provider", code="provider_not_found")
    return found


async def _recorded(services: Services, first: int, last: int) -> dict[tuple[int, str], int]:
    """Day and deployment → pico-USD."""
    days = Question(start_us=first * DAY_US, end_us=(last + 1) * DAY_US, group_by=("day", "deployment"))
    try:
        report = await ask(services.ledger, days)
    except LedgerError as error:
        raise ApiError(503, str(error), type="api_error", code="ledger_unavailable") from error
    return {(int(line.names[0] or 0), str(line.names[1])): line.amounts.cost_pico for line in report.lines}


def _rows(
    call: Call[NewBill, Nothing],
    bill: Bill,
    places: Mapping[str, list[str]],
    recorded: Mapping[tuple[int, str], int],
    now_us: int,
) -> list[BillRow]:
    """Raises `ApiError` (400)."""
    meant = {words: matched(words, places) or words for words in {words for _, words in bill}}
    billed: dict[tuple[int, str], int] = {}
    for (day, words), amount in bill.items():
        key = (day, meant[words])
        billed[key] = billed.get(key, 0) + amount
        if abs(billed[key]) > MOST_USD * 10**12:
            text = f"{day_text(day)}: more than {MOST_USD:,} US dollars for `{key[1]}` on one day"
            raise bad_request(text, param="text", code="invalid_bill")
    model_of = {place: model for model, deployments in places.items() for place in deployments}
    known: dict[tuple[int, str], int] = {}
    for (day, place), amount in recorded.items():
        if place in model_of:
            known[day, model_of[place]] = known.get((day, model_of[place]), 0) + amount
    allowed = pico(call.body.usd, "usd") or 0
    found = []
    for day, model in sorted({*billed, *(key for key, amount in known.items() if amount)}):
        one, other = billed.get((day, model), 0), known.get((day, model), 0)
        most = max(allowed, int(abs(one) * call.body.percent / 100))
        found.append(
            BillRow(
                provider=call.body.provider,
                day=day,
                model=model,
                trace_id=call.caller.request_id,
                billed_pico=one,
                recorded_pico=other,
                agrees=model in places and abs(one - other) <= most,
                deployments=tuple(places.get(model, ())),
                at_us=now_us,
                by_whom=call.caller.key_id,
            )
        )
    return found


def _view(rows: Sequence[BillRow]) -> BillView:
    billed, recorded = sum(row.billed_pico for row in rows), sum(row.recorded_pico for row in rows)
    agreeing = sum(row.agrees for row in rows)
    return BillView(
        billed=Usd(billed),
        recorded=Usd(recorded),
        difference=Usd(billed - recorded),
        agreeing=agreeing,
        differing=len(rows) - agreeing,
        data=[
            BillLine(
                provider=row.provider,
                day=day_text(row.day),
                model=row.model,
                billed=Usd(row.billed_pico),
                recorded=Usd(row.recorded_pico),
                difference=Usd(row.billed_pico - row.recorded_pico),
                agrees=row.agrees,
                deployments=list(row.deployments),
            )
            for row in rows
        ],
    )
