"""Handlers of `/key/*`."""

from __future__ import annotations

from typing import Any

import msgspec

from ailink.admin.call import MASTER_ID, Call, Nothing
from ailink.admin.durations import instant
from ailink.admin.errors import bad_request
from ailink.admin.key_fields import (
    AwsKeyPairView,
    DeletedKeysView,
    DeleteKeys,
    GenerateKey,
    KeyInfo,
    KeyInfoQuery,
    KeyInfoView,
    KeyListView,
    KeyRowView,
    ListQuery,
    NewKeyView,
    OneKey,
    PairOf,
    RegenerateKey,
    UpdatedKeyView,
    UpdateKey,
)
from ailink.admin.keys import key_not_found
from ailink.admin.services import Services
from ailink.ledger.money import Usd
from ailink.store.keys import KeyFilter, KeyRecord, Page


async def generate(services: Services, call: Call[GenerateKey, Nothing]) -> NewKeyView:
    raw, record = await services.keys.create(call.caller, call.body)
    return _new_view(services, raw, record)


async def info(services: Services, call: Call[Nothing, KeyInfoQuery]) -> KeyInfoView:
    """An admin sees every key, a key sees itself; for it, any other key does not exist."""
    name = call.query.key
    if name is None:
        record = await services.keys.by_id(call.caller.key_id)
        if record is None and call.caller.key_id == MASTER_ID:
            raise bad_request("the master key has no settings; say which key with ?key=", param="key")
    else:
        record = await services.keys.find(name)
    if record is None or (call.caller.role != "admin" and record.id != call.caller.key_id):
        raise key_not_found()
    return KeyInfoView(key=name or record.digest, info=KeyInfo(**_fields(services, record)))


async def update(services: Services, call: Call[UpdateKey, Nothing]) -> UpdatedKeyView:
    record = await services.keys.update(call.caller, call.body.key, call.body)
    return UpdatedKeyView(key=call.body.key, **_fields(services, record))


async def delete(services: Services, call: Call[DeleteKeys, Nothing]) -> DeletedKeysView:
    names, aliases = call.body.keys or [], call.body.key_aliases or []
    if not names and not aliases:
        raise bad_request("say which keys: `keys` or `key_aliases`", param="keys")
    deleted = await services.keys.delete(call.caller, names, aliases)
    return DeletedKeysView(deleted_keys=[record.digest for record in deleted] if aliases else names)


async def list_keys(services: Services, call: Call[Nothing, ListQuery]) -> KeyListView:
    query = call.query
    part = query.search or (query.key_alias if query.substring_matching else None)
    wanted = KeyFilter(
        state=query.status,
        user_id=query.user_id or None,
        digest=query.key_hash.lower() if query.key_hash else None,
        alias=None if query.substring_matching else query.key_alias or None,
        alias_contains=part or None,
        now_us=services.keys.now_us(),
    )
    page = Page(
        limit=query.size,
        offset=(query.page - 1) * query.size,
        sort_by=query.sort_by or "created_at",
        descending=query.sort_order == "desc",
    )
    records, total = await services.keys.page(wanted, page)
    spend = services.keys.spend(records) if query.return_full_object else []
    views: list[str | KeyRowView] = (
        [_row_view(services, record, pico) for record, pico in zip(records, spend, strict=True)]
        if query.return_full_object
        else [record.digest for record in records]
    )
    pages = -(-total // query.size)
    return KeyListView(keys=views, total_count=total, current_page=query.page, total_pages=pages)


async def block(services: Services, call: Call[OneKey, Nothing]) -> KeyRowView:
    return await _set_blocked(services, call, blocked=True)


async def unblock(services: Services, call: Call[OneKey, Nothing]) -> KeyRowView:
    return await _set_blocked(services, call, blocked=False)


async def aws_pair(services: Services, call: Call[PairOf, Nothing]) -> AwsKeyPairView:
    """What AWS's clients sign with, for a key that exists: derived, not stored. An admin may ask for any key,
    a key for itself.
    """
    own = await services.keys.by_id(call.caller.key_id)
    name = call.body.key or (own.digest if own is not None else None)
    if name is None:
        raise bad_request("say which key: the master key signs nothing", param="key")
    if call.caller.role != "admin":
        wanted = await services.keys.find(name)
        if wanted is None or wanted.id != call.caller.key_id:
            raise key_not_found()
    record, access_key_id, secret = await services.keys.aws_pair(call.caller, name)
    return AwsKeyPairView(key_id=record.id, aws_access_key_id=access_key_id, aws_secret_access_key=secret)


async def regenerate(services: Services, call: Call[RegenerateKey, Nothing]) -> NewKeyView:
    """The key is named by the path, or by `key` in the body."""
    name = call.path.get("key") or call.body.key
    if name is None:
        raise bad_request("say which key to regenerate", param="key")
    raw, record = await services.keys.rotate(call.caller, name, call.body.new_key, call.body)
    return _new_view(services, raw, record)


async def _set_blocked(services: Services, call: Call[OneKey, Nothing], *, blocked: bool) -> KeyRowView:
    record = await services.keys.set_blocked(call.caller, call.body.key, blocked=blocked)
    return _row_view(services, record, services.keys.spend([record])[0])


def _new_view(services: Services, raw: str, record: KeyRecord) -> NewKeyView:
    return NewKeyView(key=raw, token=record.digest, token_id=record.digest, **_fields(services, record))


def _row_view(services: Services, record: KeyRecord, spent: int) -> KeyRowView:
    return KeyRowView(token=record.digest, **_fields(services, record, spent))


def _fields(services: Services, record: KeyRecord, spent: int | None = None) -> dict[str, Any]:
    if spent is None:
        spent = services.keys.spend([record])[0]
    used_us = services.keys.last_used(record)
    fields: dict[str, Any] = {
        "key_id": record.id,
        "key_name": record.display,
        "key_alias": record.alias,
        "status": record.state(services.keys.now_us()),
        "spend": Usd(spent),
        "models": list(record.models),
        "expires": None if record.expires_us is None else instant(record.expires_us),
        "duration": record.duration,
        "user_id": record.user_id,
        "rpm_limit": record.rpm_limit,
        "max_parallel_requests": record.max_parallel,
        "metadata": record.metadata,
        "blocked": record.blocked,
        "allowed_routes": list(record.routes),
        "allowed_ips": list(record.allowed_ips),
        "last_active": instant(used_us) if used_us else None,
        "rotation_count": record.rotations,
        "last_rotation_at": None if record.rotated_us is None else instant(record.rotated_us),
        "created_at": instant(record.created_us),
        "created_by": record.created_by,
        "updated_at": instant(record.updated_us),
        "updated_by": record.updated_by,
        "org_id": record.org_id,
        "organization_id": record.org_id,
    }
    if record.deleted_us is not None:
        fields |= {"deleted_at": instant(record.deleted_us), "deleted_by": record.deleted_by or msgspec.UNSET}
    return fields
