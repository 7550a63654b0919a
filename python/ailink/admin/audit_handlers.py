"""`/audit`: who changed what, in LiteLLM's shape."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ailink.admin.call import MASTER_ID, Call, Nothing
from ailink.admin.durations import instant, microseconds
from ailink.admin.errors import bad_request, not_found
from ailink.admin.holders import require_everywhere
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.store import audit, keys
from ailink.store.reach import Reach

READ = "audit.read"
Name = Annotated[str, Meta(max_length=512)]
Moment = Annotated[str, Meta(max_length=40, description="`2026-01-31` or `2026-01-31T08:00:00`, UTC.")]


class AuditQuery(Request, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=1_000)] = 10
    changed_by: Annotated[
        Name | None, Meta(description="A user (by the keys he has now), the id of a key, or `master`.")
    ] = None
    changed_by_api_key: Annotated[Name | None, Meta(description="A key or its hash.")] = None
    action: Annotated[Name | None, Meta(description="Such as `key.create`, `team.update`.")] = None
    table_name: Annotated[Name | None, Meta(description="Such as `key`, `team`, `organization`.")] = None
    object_id: Name | None = None
    object_key_hash: Annotated[Name | None, Meta(description="What was changed of this key.")] = None
    start_date: Moment | None = None
    end_date: Annotated[Moment | None, Meta(description="A day alone is counted in.")] = None
    sort_by: Literal["updated_at"] | None = None
    sort_order: Literal["asc", "desc"] = "desc"


class AuditLog(msgspec.Struct, frozen=True, kw_only=True):
    """`changed_by`: the user whose key was used, else the key. `hash` holds it to the row before it."""

    id: str
    updated_at: datetime
    changed_by: str
    changed_by_api_key: str
    action: str
    table_name: str
    object_id: str
    before_value: dict[str, Any] | None
    updated_values: dict[str, Any] | None
    organization_id: str | None
    client_ip: str | None
    request_id: str | None
    detail: dict[str, Any]
    hash: str


class AuditChain(msgspec.Struct, frozen=True, kw_only=True):
    """`entries`: how many are as they were written, from the first. `hash`: of the last, to be kept elsewhere
    and compared, as an end that was cut off cannot be seen in what is left. `broken_at`: the first that does
    not fit.
    """

    unbroken: bool
    entries: int
    hash: str | None = None
    broken_at: int | None = None
    reason: str | None = None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    audit_logs: list[AuditLog]
    total: int
    page: int
    page_size: int
    total_pages: int


async def page(services: Services, call: Call[Nothing, AuditQuery]) -> AuditPage:
    """Changes of what the caller may see, the latest first."""
    query, reach = call.query, call.caller.acting.reach(READ)
    wanted = await _wanted(services, query)
    total = await audit.count(services.database, reach, wanted)
    found = await audit.find(
        services.database,
        reach,
        wanted,
        query.page_size,
        (query.page - 1) * query.page_size,
        descending=query.sort_order == "desc",
    )
    return AuditPage(
        audit_logs=await _views(services, reach, found),
        total=total,
        page=query.page,
        page_size=query.page_size,
        total_pages=-(-total // query.page_size),
    )


async def one(services: Services, call: Call[Nothing, Nothing]) -> AuditLog:
    text = call.path["id"]
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < len(str(2**63)) else 0
    wanted = audit.Wanted(one_of={"seq": [number]})
    reach = call.caller.acting.reach(READ)
    found = await audit.find(services.database, reach, wanted, 1)
    if not found:
        raise not_found("no such entry", param="id", code="audit_not_found")
    return (await _views(services, reach, found))[0]


async def verify(services: Services, call: Call[Nothing, Nothing]) -> AuditChain:
    """Walks the log of the whole gateway from its first entry."""
    require_everywhere(call.caller.acting, READ)
    try:
        head = await audit.verify(services.database)
    except audit.BrokenChainError as error:
        whole = max(error.seq - 1, 0)
        return AuditChain(unbroken=False, entries=whole, broken_at=error.seq, reason=error.reason)
    return AuditChain(unbroken=True, entries=head.seq, hash=head.hash)


async def _wanted(services: Services, query: AuditQuery) -> audit.Wanted:
    wanted: list[tuple[str, set[str]]] = [
        (column, {value})
        for column, value in (
            ("action", query.action),
            ("object_type", query.table_name),
            ("object_id", query.object_id),
        )
        if value is not None
    ]
    if query.changed_by is not None:
        of_user = await keys.of(services.database, "user_id", [query.changed_by])
        wanted.append(("actor", {query.changed_by, *(record.id for record in of_user)}))
    if query.changed_by_api_key is not None:
        wanted.append(("actor", await _key_ids(services, query.changed_by_api_key)))
    if query.object_key_hash is not None:
        wanted.append(("object_type", {"key"}))
        wanted.append(("object_id", await _key_ids(services, query.object_key_hash)))
    one_of: dict[str, set[str]] = {}
    for column, values in wanted:
        one_of[column] = values & one_of.get(column, values)
    start_us = None if query.start_date is None else _moment(query.start_date, "start_date")
    end_us = None if query.end_date is None else _moment(query.end_date, "end_date", whole_day=True)
    return audit.Wanted(one_of=one_of, start_us=start_us, end_us=end_us)


async def _key_ids(services: Services, name: str) -> set[str]:
    if services.keys.is_master(name):
        return {MASTER_ID}
    record = await services.keys.find(name)
    return set() if record is None else {record.id}


def _moment(text: str, param: str, *, whole_day: bool = False) -> int:
    try:
        if len(text) <= len("2026-01-31"):
            day = date.fromisoformat(text) + timedelta(days=int(whole_day))
            return microseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))
        moment = datetime.fromisoformat(text)
        return microseconds(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise bad_request("expected a time such as 2026-01-31 or 2026-01-31T08:00:00", param=param) from error


async def _views(services: Services, reach: Reach, entries: Sequence[audit.Entry]) -> list[AuditLog]:
    records = await services.keys.records({entry.actor for entry in entries})
    # Whoever reads one organization learns of others' keys that they acted, not whose they are.
    records = {
        key_id: record
        for key_id, record in records.items()
        if reach.everywhere or record.org_id in reach.orgs
    }
    views = []
    for entry in entries:
        key = records.get(entry.actor)
        before, after = _values(entry.detail)
        views.append(
            AuditLog(
                id=str(entry.seq),
                updated_at=instant(entry.at_us),
                changed_by=(key.user_id if key is not None else None) or entry.actor,
                changed_by_api_key=entry.actor if key is None else key.digest,
                action=entry.action,
                table_name=entry.object_type,
                object_id=entry.object_id,
                before_value=before,
                updated_values=after,
                organization_id=entry.org_id,
                client_ip=entry.actor_ip,
                request_id=entry.trace_id,
                detail=entry.detail,
                hash=entry.hash,
            )
        )
    return views


def _values(detail: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What was before and what is now, of the columns that changed; of a new row what is not empty."""
    changed = detail.get("changed")
    if isinstance(changed, dict):
        return {name: old for name, (old, _) in changed.items()}, {
            name: new for name, (_, new) in changed.items()
        }
    settings = detail.get("settings")
    return None, settings if isinstance(settings, dict) else None
