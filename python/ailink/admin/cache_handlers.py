"""`/cache`: what the cache holds, what it saved, and how entries are removed. LiteLLM's paths among them."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import ApiError, bad_request, not_found
from ailink.admin.services import Services
from ailink.ledger.money import Usd

KEY_DIGITS = 64


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model, virtual key and endpoint. `joined` waited for an equal request instead of asking."""

    model: str
    key: str
    endpoint: str
    hits: int
    semantic_hits: int
    stale_hits: int
    joined: int
    misses: int
    bypassed: int
    saved_pico: int
    saved_input: int
    saved_output: int
    saved_us: int


class SemanticView(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start. `refused`: near enough, but another question, by what they differ in. `judged` and
    `denied`: what a judge was asked, and what he denied. `skipped`: not even looked for.
    `learned`: questions read from the second tier, of other nodes and of this one before its start.
    """

    questions: int
    partitions: int
    learned: int
    looks: int
    hits: int
    errors: int
    timeouts: int
    skipped: int
    refused: dict[str, int]
    judged: int
    denied: int
    mean_us: int


class TierView(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start. `open`: it failed too often and is left alone for a while. `foreign`: values that were
    damaged or not ours. `skipped`, `dropped`: reads and writes that were not even tried. `read_us` and
    `mean_us` are of reads that were answered.
    """

    open: bool
    hits: int
    misses: int
    errors: int
    timeouts: int
    skipped: int
    foreign: int
    writes: int
    dropped: int
    mean_us: int
    read_us: int
    last_error: str | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    enabled: bool
    entries: int
    bytes: int
    max_bytes: int
    stored: int
    refused: int
    evicted: int
    in_flight: int
    lookup_us: float
    semantic: SemanticView | None
    redis: TierView | None
    objects: TierView | None
    rows: list[Row]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """`hit_rate`: of the requests that looked. `saved_seconds`: of waiting for providers."""

    name: str
    hits: int
    misses: int
    bypassed: int
    hit_rate: float
    saved_usd: Usd
    saved_input_tokens: int
    saved_output_tokens: int
    saved_seconds: float


class StatsView(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start of the process. `lookup_us`: mean of lookups in memory with their keys."""

    enabled: bool
    entries: int
    bytes: int
    max_bytes: int
    stored: int
    not_stored: int
    evicted: int
    in_flight: int
    joined: int
    lookup_us: float
    semantic: SemanticView | None
    redis: TierView | None
    objects: TierView | None
    total: Group
    by_model: list[Group]
    by_key: list[Group]
    by_endpoint: list[Group]


class PurgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Entries that fit all that is named go. `tenant`: `key:ID`, `user:ID`, `team:ID`, `organization:ID` or
    `shared:NAMESPACE`; `key`: the id of the virtual key an answer was made for.
    """

    keys: list[str] = []
    tag: str | None = None
    tenant: str | None = None
    key: str | None = None
    model: str | None = None
    namespace: str | None = None


class DeleteBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys as `x-ailink-cache-key` tells them."""

    keys: list[str]


class PurgedView(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["success"] = "success"
    deleted: int


class PingView(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["healthy"] = "healthy"
    cache_type: Literal["local"] = "local"
    ping_response: bool = True


class RedisView(msgspec.Struct, frozen=True, kw_only=True):
    """`info`: what the server says of itself; null when it does not answer."""

    tier: TierView
    info: dict[str, str] | None


class ExplainQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, without what it says. Times in microseconds since 1970."""

    model: str
    tenant: str
    key_id: str
    namespace: str
    tags: list[str]
    form: Literal["whole", "stream"]
    bytes: int
    stored_us: int
    expires_us: int
    stale_us: int
    cost_pico: int
    input_tokens: int
    output_tokens: int
    micros: int


async def ping(services: Services, call: Call[Nothing, Nothing]) -> PingView:
    """Whether the cache is on."""
    if not _report(services).enabled:
        text = "the cache is off: no model uses it (`cache.enabled`)"
        raise ApiError(503, text, type="api_error", code="cache_off")
    return PingView()


async def redis_info(services: Services, call: Call[Nothing, Nothing]) -> RedisView:
    """How the second tier does, and what its server says of itself."""
    packed = await asyncio.to_thread(services.plane.cache_redis_info)
    if packed is None:
        raise not_found("the cache has no second tier (`cache.redis`)")
    tier, text = msgspec.msgpack.decode(packed, type=tuple[TierView, str | None])
    if text is None:
        return RedisView(tier=tier, info=None)
    lines = (line.partition(":") for line in text.splitlines() if ":" in line and not line.startswith("#"))
    return RedisView(tier=tier, info={name: value for name, _, value in lines})


async def stats(services: Services, call: Call[Nothing, Nothing]) -> StatsView:
    """What the cache holds and what it saved, by model, key and endpoint."""
    report = _report(services)
    return StatsView(
        enabled=report.enabled,
        entries=report.entries,
        bytes=report.bytes,
        max_bytes=report.max_bytes,
        stored=report.stored,
        not_stored=report.refused,
        evicted=report.evicted,
        in_flight=report.in_flight,
        joined=sum(row.joined for row in report.rows),
        lookup_us=report.lookup_us,
        semantic=report.semantic,
        redis=report.redis,
        objects=report.objects,
        total=_group("", report.rows),
        by_model=_groups(report.rows, "model"),
        by_key=_groups(report.rows, "key"),
        by_endpoint=_groups(report.rows, "endpoint"),
    )


async def purge(services: Services, call: Call[PurgeBody, Nothing]) -> PurgedView:
    """Removes entries. Answers that are being fetched now are not kept."""
    wanted: dict[str, Any] = msgspec.structs.asdict(call.body)
    if not any(wanted.values()):
        raise bad_request("name what is to go, or use /cache/flushall", param="keys")
    _checked(call.body.keys)
    return await _purge(services, wanted)


async def delete(services: Services, call: Call[DeleteBody, Nothing]) -> PurgedView:
    """Removes entries by their keys."""
    if not call.body.keys:
        raise bad_request("name at least one key", param="keys")
    _checked(call.body.keys)
    return await _purge(services, {"keys": call.body.keys})


async def flush_all(services: Services, call: Call[Nothing, Nothing]) -> PurgedView:
    """Removes all entries."""
    return await _purge(services, {})


async def explain(services: Services, call: Call[Nothing, ExplainQuery]) -> EntryView:
    """One entry by its key."""
    _checked([call.query.key], "key")
    found = services.plane.cache_entry(call.query.key)
    if found is None:
        raise not_found("there is no entry under this key", param="key")
    return msgspec.msgpack.decode(found, type=EntryView)


def _report(services: Services) -> Report:
    return msgspec.msgpack.decode(services.plane.cache_report(), type=Report)


async def _purge(services: Services, wanted: dict[str, Any]) -> PurgedView:
    names = ("tag", "tenant", "model", "namespace")
    purge = {"keys": wanted.get("keys", []), "key_id": wanted.get("key")}
    packed = msgspec.msgpack.encode(purge | {name: wanted.get(name) for name in names})
    try:
        return PurgedView(deleted=await asyncio.to_thread(services.plane.cache_purge, packed))
    except ValueError as error:
        text = f"the entries are gone from memory, but not all of a tier beneath: {error}; purge again"
        raise ApiError(503, text, type="api_error", code="cache_tier_unreachable") from None


def _checked(keys: list[str], param: str = "keys") -> None:
    for key in keys:
        if len(key) != KEY_DIGITS or not set(key) <= set("0123456789abcdef"):
            raise bad_request(
                f"{key[:80]!r} is no key: 64 hex digits, as x-ailink-cache-key tells", param=param
            )


def _groups(rows: list[Row], name: str) -> list[Group]:
    names = sorted({str(getattr(row, name)) for row in rows})
    return [_group(one, [row for row in rows if getattr(row, name) == one]) for one in names]


def _group(name: str, rows: list[Row]) -> Group:
    hits = sum(row.hits + row.semantic_hits + row.stale_hits + row.joined for row in rows)
    misses = sum(row.misses for row in rows)
    return Group(
        name=name,
        hits=hits,
        misses=misses,
        bypassed=sum(row.bypassed for row in rows),
        hit_rate=hits / (hits + misses) if hits + misses else 0.0,
        saved_usd=Usd(sum(row.saved_pico for row in rows)),
        saved_input_tokens=sum(row.saved_input for row in rows),
        saved_output_tokens=sum(row.saved_output for row in rows),
        saved_seconds=sum(row.saved_us for row in rows) / 1_000_000,
    )
