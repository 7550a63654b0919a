"""`GET /v1/spend`: what was spent, by any dimension and time, as JSON or CSV."""

from __future__ import annotations

import asyncio
import csv
import importlib
import io
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, cast, get_args

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError, bad_request, forbidden
from ailink.admin.reports import providers
from ailink.admin.services import Services
from ailink.identity.actor import Actor
from ailink.ledger.money import Usd
from ailink.ledger.reader import LedgerError
from ailink.ledger.report import (
    DAY_US,
    Amounts,
    Dimension,
    Line,
    Question,
    Report,
    ask,
    ask_reconciled,
    forecast,
)
from ailink.shell import focus
from ailink.shell.route import Content
from ailink.store import bills

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST = 4
DAY_CHARS = len("2026-01-01")
PARQUET = "application/vnd.apache.parquet"
Name = Annotated[str, Meta(max_length=512)]
FILTERS = ("organization", "team", "user", "project", "model", "deployment", "customer", "tag")


class SpendQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters name one of their kind; an empty one asks for what has none."""

    group_by: Annotated[
        str, Meta(description=f"Up to {MOST} of {', '.join(DIMENSIONS)}, with commas; empty: the total.")
    ] = ""
    start: Annotated[
        str | None, Meta(description="First day (YYYY-MM-DD) or instant (RFC 3339); this month's first day.")
    ] = msgspec.field(default=None, name="from")
    end: Annotated[
        str | None, Meta(description="Last day, counted in, or the instant before which; this month's end.")
    ] = msgspec.field(default=None, name="to")
    organization: Name | None = None
    team: Name | None = None
    user: Name | None = None
    project: Name | None = None
    key_id: Name | None = None
    model: Name | None = None
    deployment: Name | None = None
    customer: Name | None = None
    tag: Name | None = None
    format: Annotated[
        Literal["json", "csv", "focus", "parquet"],
        Meta(
            description="`focus`: CSV in the columns of FOCUS 1.2, a row per day, key, model and deployment. "
            "`parquet` needs the extra of that name."
        ),
    ] = "json"


class SpendLine(msgspec.Struct, frozen=True, kw_only=True):
    """One group: its names by dimension, and its sums."""

    group: dict[str, str | None]
    spend: Usd
    requests: int
    failed_requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


class SpendReport(msgspec.Struct, frozen=True, kw_only=True):
    """`to` is not included. `forecast`: what the range will have cost at its end, if that is to come, at
    the mean of the last seven days.
    """

    start: datetime = msgspec.field(name="from")
    end: datetime = msgspec.field(name="to")
    group_by: list[str]
    total: SpendLine
    data: list[SpendLine]
    forecast: Usd | None


async def spend(services: Services, call: Call[Nothing, SpendQuery]) -> SpendReport | Content:
    """Exact sums over the range."""
    question = question_of(call.query)
    _require_reach(call.caller.acting, question.filters)
    if call.query.format == "focus":
        question = msgspec.structs.replace(question, group_by=focus.DIMENSIONS)
    now_us = time.time_ns() // 1_000
    try:
        report = await _ask(services, question)
        projected = await forecast(services.ledger, question, now_us) if question.end_us > now_us else None
    except LedgerError as error:
        raise ApiError(503, str(error), type="api_error", code="ledger_unavailable") from error
    if call.query.format == "focus":
        columns = focus.to_csv(report, providers(services), _safe)
        return Content(body=columns, media_type="text/csv; charset=utf-8")
    if call.query.format == "csv":
        return Content(body=_csv(question, report), media_type="text/csv; charset=utf-8")
    if call.query.format == "parquet":
        return Content(body=await asyncio.to_thread(_parquet, question, report), media_type=PARQUET)
    return SpendReport(
        start=_instant(question.start_us),
        end=_instant(question.end_us),
        group_by=list(question.group_by),
        total=_line({}, report.total),
        data=[_line(_group(question, line), line.amounts) for line in report.lines],
        forecast=None if projected is None else Usd(projected),
    )


def _require_reach(actor: Actor, filters: Mapping[str, str]) -> None:
    """Who does not see the spend of all asks for that of an organization, a team or a user he may see. Raises
    `ApiError` (403), the same for what is foreign and what is not there.
    """
    # Empty ones ask for what has none.
    org, team, user = (filters.get(name) or None for name in ("organization", "team", "user"))
    own_key = bool(actor.key_id) and filters.get("key") == actor.key_id
    if not own_key and not actor.may("spend.read", org=org, team=team, user=user):
        raise forbidden(
            "Say whose spend: an `organization`, `team` or `user` for which you hold `spend.read`.",
            code="permission_denied",
        )


async def _ask(services: Services, question: Question) -> Report:
    """Raises `LedgerError`."""
    if "source" not in question.group_by:
        return await ask(services.ledger, question)
    agreed = await bills.agreed(services.database, question.start_us // DAY_US, question.end_us // DAY_US)
    return await ask_reconciled(services.ledger, question, agreed)


def question_of(query: SpendQuery) -> Question:
    """Raises `ApiError` (400)."""
    dimensions = tuple(name.strip() for name in query.group_by.split(",") if name.strip())
    for name in dimensions:
        if name not in DIMENSIONS:
            raise bad_request(f"`{name}` is not one of {', '.join(DIMENSIONS)}", param="group_by")
    if len(dimensions) > MOST or len(set(dimensions)) < len(dimensions):
        raise bad_request(f"up to {MOST} dimensions, each once", param="group_by")
    today = datetime.now(UTC).date()
    month = today.replace(day=1)
    start = _moment(query.start, "from", last=False) if query.start else _us(month)
    following = (month + timedelta(days=32)).replace(day=1)
    end = _moment(query.end, "to", last=True) if query.end else max(_us(following), start)
    # A last day is counted in: the day before the first one ends where that begins.
    if end < start or (end == start and query.end is not None and len(query.end) == DAY_CHARS):
        raise bad_request("`to` is before `from`", param="to")
    given = {name: value for name in FILTERS if (value := getattr(query, name)) is not None}
    if query.key_id is not None:
        given["key"] = query.key_id
    return Question(
        start_us=start, end_us=end, group_by=cast(tuple[Dimension, ...], dimensions), filters=given
    )


def _moment(text: str, param: str, *, last: bool) -> int:
    try:
        if len(text) == DAY_CHARS:
            return _us(date.fromisoformat(text)) + (DAY_US if last else 0)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("without a zone")
        return (moment - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        wanted = "expected a day (2026-11-30) or an instant with its zone (2026-11-30T12:00:00Z)"
        raise bad_request(wanted, param=param) from error


def _us(day: date) -> int:
    return (day - EPOCH.date()).days * DAY_US


def _instant(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def _group(question: Question, line: Line) -> dict[str, str | None]:
    return {
        dimension: _instant(name * DAY_US).date().isoformat() if isinstance(name, int) else name
        for dimension, name in zip(question.group_by, line.names, strict=True)
    }


def _line(group: Mapping[str, str | None], amounts: Amounts) -> SpendLine:
    return SpendLine(
        group=dict(group),
        spend=Usd(amounts.cost_pico),
        requests=amounts.requests,
        failed_requests=amounts.errors,
        input_tokens=amounts.input,
        output_tokens=amounts.output,
        cache_read_tokens=amounts.cache_read,
        cache_write_tokens=amounts.cache_write,
    )


def _csv(question: Question, report: Report) -> bytes:
    """The lines, or the total where nothing is grouped. A name that a spreadsheet would run is marked."""
    lines = report.lines if question.group_by else [Line(names=(), amounts=report.total)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    columns = [name for name in SpendLine.__struct_fields__ if name != "group"]
    writer.writerow([*question.group_by, *columns])
    for line in lines:
        row = _line(_group(question, line), line.amounts)
        writer.writerow(
            [*(_safe(name) for name in row.group.values()), *(_cell(row, name) for name in columns)]
        )
    return out.getvalue().encode()


def _parquet(question: Question, report: Report) -> bytes:
    """Raises `ApiError` (501) where the extra is missing."""
    try:
        # 60 MB of memory, which only those pay who ask for it.
        parquet = importlib.import_module("ailink.ledger.parquet")
    except ModuleNotFoundError as error:
        text = f"Parquet needs {error.name}: pip install 'ailink[parquet]'"
        raise ApiError(501, text, type="api_error", code="not_installed", param="format") from error
    lines = report.lines if question.group_by else [Line(names=(), amounts=report.total)]
    body: bytes = parquet.written(question.group_by, lines)
    return body


def _safe(name: str | None) -> str:
    name = name or ""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _cell(row: SpendLine, column: str) -> Any:
    value = getattr(row, column)
    return value.text() if isinstance(value, Usd) else value
