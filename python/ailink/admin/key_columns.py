"""From the fields of a request to the columns of a key: checked, and null takes a setting away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ailink.admin.durations import expiry_us
from ailink.admin.errors import bad_request
from ailink.admin.key_access import (
    ALL_MODEL_ROUTES,
    INFO_ROUTES,
    MANAGEMENT_ROUTES,
    RouteTable,
    check_networks,
)
from ailink.admin.key_fields import KeyChanges
from ailink.admin.setting_fields import given, settings_of
from ailink.store.keys import KeyRecord
from ailink.store.settings import Settings

# An older way to say null.
NEVER = "-1"

# Fields that are stored as they come: the column, and the value that takes the setting away.
PLAIN: Mapping[str, tuple[str, Any]] = {
    "key_alias": ("alias", None),
    "user_id": ("user_id", None),
    "blocked": ("blocked", False),
    "key_type": ("kind", "default"),
}
# What a kind of key may call.
KIND_ROUTES = {"llm_api": ALL_MODEL_ROUTES, "management": MANAGEMENT_ROUTES, "read_only": INFO_ROUTES}
# What the audit log tells of a key. Metadata is the caller's own and may hold anything, so it is left out.
AUDITED = (
    "alias",
    "user_id",
    "team_id",
    "project_id",
    "org_id",
    "kind",
    "service_account",
    "blocked",
    "expires_us",
    "models",
    "routes",
    "allowed_ips",
    "rpm_limit",
    "max_parallel",
    "settings",
    "rotation_interval",
)


def columns_of(
    request: KeyChanges, routes: RouteTable, now_us: int, before: KeyRecord | None = None
) -> dict[str, Any]:
    """Columns that the request sets; fields that were left out are not among them.

    Raises `ApiError` (400).
    """
    fields = given(request)
    columns = {
        column: empty if fields[field] is None else fields[field]
        for field, (column, empty) in PLAIN.items()
        if field in fields
    }
    columns |= _settings(request, fields, before)
    if "allowed_ips" in fields:
        columns["allowed_ips"] = tuple(fields["allowed_ips"] or ())
        check_networks(columns["allowed_ips"])
    if "duration" in fields:
        columns |= _lifetime(fields["duration"], now_us)
    if "allowed_routes" in fields or fields.get("key_type") in KIND_ROUTES:
        columns["routes"] = _routes(fields.get("allowed_routes") or [], fields.get("key_type"))
        routes.check(columns["routes"])
    if "auto_rotate" in fields or "rotation_interval" in fields:
        columns |= _rotation(fields, now_us, before)
    return columns


def _settings(request: KeyChanges, fields: Mapping[str, Any], before: KeyRecord | None) -> dict[str, Any]:
    start = Settings() if before is None else before.all_settings()
    after = settings_of(request, start)
    if after == start and "metadata" not in fields:
        return {}
    columns: dict[str, Any] = {
        "models": after.models,
        "rpm_limit": after.rpm_limit,
        "max_parallel": after.max_parallel,
        "settings": msgspec.structs.replace(after, models=(), rpm_limit=None, max_parallel=None, metadata={}),
    }
    return columns | ({"metadata": after.metadata} if "metadata" in fields else {})


def audited(record: KeyRecord) -> dict[str, Any]:
    """The settings of a key that the audit log keeps, without those that are empty."""
    return {
        column: msgspec.to_builtins(value)
        for column in AUDITED
        if (value := getattr(record, column)) not in (None, (), False, "default", Settings())
    }


def _lifetime(duration: str | None, now_us: int) -> dict[str, Any]:
    if duration is None or duration == NEVER:
        return {"duration": None, "expires_us": None}
    return {"duration": duration, "expires_us": ends(duration, now_us, "duration")}


def ends(duration: str, now_us: int, param: str) -> int:
    """When a duration from now ends. Raises `ApiError` (400)."""
    try:
        return expiry_us(duration, now_us)
    except ValueError as error:
        raise bad_request(str(error), param=param) from error


def _rotation(fields: Mapping[str, Any], now_us: int, before: KeyRecord | None) -> dict[str, Any]:
    former = None if before is None else before.rotation_interval
    interval = fields.get("rotation_interval", former)
    wanted = fields["auto_rotate"] if fields.get("auto_rotate") is not None else interval is not None
    if not wanted:
        return {"rotation_interval": interval, "rotate_at_us": None}
    if interval is None:
        raise bad_request("`auto_rotate` needs `rotation_interval`", param="rotation_interval")
    return {"rotation_interval": interval, "rotate_at_us": ends(interval, now_us, "rotation_interval")}


def _routes(allowed: list[str], kind: str | None) -> tuple[str, ...]:
    if kind not in KIND_ROUTES:
        return tuple(allowed)
    if allowed:
        raise bad_request(
            f"key_type {kind} sets allowed_routes itself: give one of the two", param="key_type"
        )
    return (KIND_ROUTES[kind],)
