"""From LiteLLM's rows to ours. Fields go the way that requests of the management API go, so what is refused
there is refused here: the field is left out and the report names it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from ailink.admin.durations import microseconds
from ailink.admin.errors import ApiError
from ailink.admin.key_access import RouteTable
from ailink.admin.key_columns import columns_of
from ailink.admin.key_fields import KeyChanges
from ailink.admin.setting_fields import HolderFields, settings_of
from ailink.identity.roles import own_name
from ailink.store.keys import KeyRecord
from ailink.store.settings import Settings

AUTHOR: Final = "import:litellm"
"""Who made the rows that nobody has changed here since."""
PICO: Final = 10**12
# A budget that is never renewed keeps what was spent of it for ever.
NEVER_US: Final = 253_370_764_800_000_000
SETTINGS: Final = (
    "models", "metadata", "rpm_limit", "tpm_limit", "tpd_limit", "max_parallel_requests", "max_budget",
    "soft_budget", "budget_duration", "model_max_budget", "model_rpm_limit", "model_tpm_limit",
    "budget_limits", "access_group_ids", "budget_id" )  # fmt: skip
# LiteLLM's names for "as the team or the gateway says", which an empty list means here.
INHERITED: Final = frozenset({"all-proxy-models", "all-team-models"})
# Its names for groups of paths are ours; what else it may hold is checked against the paths there are.
ROUTES: Final = "allowed_routes"

Warn = Callable[[str], None]


def stamps(row: Mapping[str, Any], now_us: int) -> dict[str, Any]:
    """The columns every row of ours has."""

    def moment(name: str) -> int:
        value = row.get(name)
        return microseconds(value) if isinstance(value, datetime) else now_us

    return {
        "created_us": moment("created_at"),
        "updated_us": now_us,
        "created_by": AUTHOR,
        "updated_by": AUTHOR,
    }


def pico(usd: float | None) -> int:
    """Dollars as LiteLLM keeps them, in a binary float."""
    if usd is None or not math.isfinite(usd) or usd < 0:
        return 0
    return int(Decimal(repr(usd)) * PICO)


def settings(row: Mapping[str, Any], warn: Warn) -> Settings:
    """What is set on a holder, and what it has spent of its budget."""
    fields = _fields(row)
    found = Settings()
    accepted = _accepted(fields, HolderFields, lambda request: settings_of(request), warn)
    if accepted:
        found = settings_of(msgspec.convert(accepted, HolderFields))
    return spent(found, row)


def spent(found: Settings, row: Mapping[str, Any]) -> Settings:
    """Spend before the move is shown, and counts against the budget until LiteLLM would have renewed it."""
    before = pico(row.get("spend"))
    if not before:
        return found
    found = msgspec.structs.replace(found, spend_base=-before)
    if found.max_budget is None:
        return found
    renewed = row.get("budget_reset_at")
    until = microseconds(renewed) if isinstance(renewed, datetime) else NEVER_US
    return msgspec.structs.replace(found, temp_budget_increase=-before, temp_budget_expiry_us=until)


def key(row: Mapping[str, Any], digest: str, routes: RouteTable, now_us: int, warn: Warn) -> KeyRecord:
    """A virtual key; its owners are the caller's to check."""
    fields = _fields(row) | {
        "key_alias": row["key_alias"],
        "blocked": bool(row["blocked"]),
        "key_type": row.get("key_type") or "default",
        ROUTES: row.get(ROUTES) or [],
    }
    fields = {name: value for name, value in fields.items() if value not in (None, [])}

    def columns(request: KeyChanges) -> dict[str, Any]:
        return columns_of(request, routes, now_us)

    accepted = _accepted(fields, KeyChanges, columns, warn)
    found = columns(msgspec.convert(accepted, KeyChanges))
    all_settings = settings_of(msgspec.convert(_only(accepted, HolderFields), HolderFields))
    found["settings"] = msgspec.structs.replace(
        spent(all_settings, row), models=(), rpm_limit=None, max_parallel=None
    )
    expires = row.get("expires")
    return KeyRecord(
        id=f"key_{hashlib.sha256(row['token'].encode()).hexdigest()[:24]}",
        digest=digest,
        display=row.get("key_name") or "sk-...",
        expires_us=microseconds(expires) if isinstance(expires, datetime) else None,
        **(stamps(row, now_us) | found),
    )


def role(place: str, name: str | None, default: str) -> str:
    """Our name of a role."""
    return own_name(place, name or default)


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: row[name] for name in SETTINGS if row.get(name) not in (None, [], {})}
    metadata = dict(fields.pop("metadata", {}) or {})
    for name in ("model_rpm_limit", "model_tpm_limit", "tags"):
        if metadata.get(name):
            fields[name] = metadata.pop(name)
    if metadata:
        fields["metadata"] = metadata
    if "models" in fields:
        fields["models"] = [] if INHERITED & set(fields["models"]) else fields["models"]
    return {name: value for name, value in fields.items() if value != []}


def _accepted(
    fields: Mapping[str, Any], kind: type[Any], check: Callable[[Any], Any], warn: Warn
) -> dict[str, Any]:
    """The fields that a request might set."""
    found = {}
    for name, value in fields.items():
        try:
            check(msgspec.convert({name: value}, kind))
        except (msgspec.ValidationError, ApiError) as error:
            warn(f"`{name}` is left out: {error}")
        else:
            found[name] = value
    return found


def _only(fields: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in kind.__struct_fields__}
