"""From the fields of a request to the columns of a key: checked, and null takes a setting away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from ailink.admin.durations import expiry_us
from ailink.admin.errors import bad_request
from ailink.admin.key_access import ALL_MODEL_ROUTES, RouteTable, check_models, check_networks
from ailink.admin.key_fields import GenerateKey, KeyChanges
from ailink.admin.litellm_fields import METADATA, without_inert
from ailink.store.keys import KeyRecord

METADATA_BYTES = 64 * 1024
# An older way to say null.
NEVER = "-1"

# Fields that are stored as they come: the column, and the value that takes the setting away.
PLAIN: Mapping[str, tuple[str, Any]] = {
    "key_alias": ("alias", None),
    "user_id": ("user_id", None),
    "rpm_limit": ("rpm_limit", None),
    "max_parallel_requests": ("max_parallel", None),
    "blocked": ("blocked", False),
}
# What the audit log tells of a key. Metadata is the caller's own and may hold anything, so it is left out.
AUDITED = (
    "alias",
    "user_id",
    "blocked",
    "expires_us",
    "models",
    "routes",
    "allowed_ips",
    "rpm_limit",
    "max_parallel",
)


def columns_of(request: GenerateKey | KeyChanges, routes: RouteTable, now_us: int) -> dict[str, Any]:
    """Columns that the request sets; fields that were left out are not among them.

    Raises `ApiError` (400).
    """
    given = {field: value for field, value in msgspec.structs.asdict(request).items() if value is not UNSET}
    columns = {
        column: empty if given[field] is None else given[field]
        for field, (column, empty) in PLAIN.items()
        if field in given
    }
    if "models" in given:
        columns["models"] = tuple(given["models"] or ())
        check_models(columns["models"])
    if "allowed_ips" in given:
        columns["allowed_ips"] = tuple(given["allowed_ips"] or ())
        check_networks(columns["allowed_ips"])
    if "metadata" in given:
        columns["metadata"] = _metadata(given["metadata"] or {})
    if "duration" in given:
        columns |= _lifetime(given["duration"], now_us)
    if "allowed_routes" in given or given.get("key_type") == "llm_api":
        columns["routes"] = _routes(given.get("allowed_routes") or [], given.get("key_type"))
        routes.check(columns["routes"])
    return columns


def audited(record: KeyRecord) -> dict[str, Any]:
    """The settings of a key that the audit log keeps, without those that are empty."""
    return {
        column: value for column in AUDITED if (value := getattr(record, column)) not in (None, (), False)
    }


def difference(before: KeyRecord, after: KeyRecord) -> dict[str, list[Any]]:
    """Column → value before and after, for the audit log."""
    pairs = {column: [getattr(before, column), getattr(after, column)] for column in AUDITED}
    changed = {column: pair for column, pair in pairs.items() if pair[0] != pair[1]}
    if before.metadata != after.metadata:
        changed["metadata"] = ["…", "…"]
    return changed


def _lifetime(duration: str | None, now_us: int) -> dict[str, Any]:
    if duration is None or duration == NEVER:
        return {"duration": None, "expires_us": None}
    try:
        return {"duration": duration, "expires_us": expiry_us(duration, now_us)}
    except ValueError as error:
        raise bad_request(str(error), param="duration") from error


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    without_inert(metadata, METADATA, "metadata.")
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES:
        raise bad_request(f"metadata is larger than {METADATA_BYTES} bytes", param="metadata")
    return metadata


def _routes(allowed: list[str], key_type: str | None) -> tuple[str, ...]:
    if key_type != "llm_api":
        return tuple(allowed)
    if allowed:
        raise bad_request(
            "key_type llm_api sets allowed_routes itself: give one of the two", param="key_type"
        )
    return (ALL_MODEL_ROUTES,)
