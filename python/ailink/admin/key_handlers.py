"""Handlers of `/key/*`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ailink.admin.call import MASTER_ID, Call, Nothing, Tagged
from ailink.admin.changes import etag
from ailink.admin.durations import instant
from ailink.admin.errors import ApiError, bad_request
from ailink.admin.key_fields import (
    AliasesView,
    AliasQuery,
    AwsKeyPairView,
    BulkUpdatedView,
    BulkUpdateKeys,
    DeletedKeysView,
    DeleteKeys,
    FailedKey,
    GenerateKey,
    KeyChanges,
    KeyHealthView,
    KeyInfo,
    KeyInfoQuery,
    KeyInfoView,
    KeyListView,
    KeyRowView,
    KeysInfoView,
    KeysQuery,
    ListQuery,
    NewKeyView,
    OneKey,
    PairOf,
    RegenerateKey,
    RegenerateQuery,
    ResetSpend,
    ResetSpendView,
    ServiceAccountKey,
    UpdatedKey,
    UpdatedKeyView,
    UpdateKey,
)
from ailink.admin.key_owner import key_not_found, visible
from ailink.admin.services import Services
from ailink.admin.setting_fields import given, holder_values, stamps
from ailink.admin.spent import spent
from ailink.ledger.money import Usd
from ailink.store.key_uses import KeyUse
from ailink.store.keys import KeyFilter, KeyRecord, Page


async def generate(services: Services, call: Call[GenerateKey, Nothing]) -> NewKeyView:
    raw, record = await services.keys.create(call.caller, call.body)
    return await _new_view(services, raw, record)


async def generate_service_account(services: Services, call: Call[ServiceAccountKey, Nothing]) -> NewKeyView:
    """A key of a team that survives whoever made it."""
    if call.body.user_id:
        raise bad_request("a service account has no user", param="user_id")
    name = call.body.service_account or call.body.key_alias or ""
    raw, record = await services.keys.create(call.caller, call.body, service_account=str(name))
    return await _new_view(services, raw, record)


async def info(services: Services, call: Call[Nothing, KeyInfoQuery]) -> Tagged[KeyInfoView]:
    """A caller sees the keys his role reaches, a key sees itself; any other key does not exist for it."""
    name = call.query.key
    if name is None:
        record = await services.keys.by_id(call.caller.key_id)
        if record is None and call.caller.key_id == MASTER_ID:
            raise bad_request("the master key has no settings; say which key with ?key=", param="key")
    else:
        record = await services.keys.find(name)
    if record is None or not visible(call.caller.acting, record):
        raise key_not_found()
    view = KeyInfoView(key=name or record.digest, info=KeyInfo(**await _fields(services, record)))
    return Tagged(view, etag(record.version))


async def info_of_many(services: Services, call: Call[KeysQuery, Nothing]) -> KeysInfoView:
    found = [await services.keys.get(call.caller, name, "keys") for name in call.body.keys]
    return KeysInfoView(key=call.body.keys, info=await row_views(services, found))


async def update(services: Services, call: Call[UpdateKey, Nothing]) -> UpdatedKeyView:
    record = await services.keys.update(call.caller, call.body.key, call.body)
    return UpdatedKeyView(key=call.body.key, **await _fields(services, record))


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
        reach=call.caller.acting.reach("keys.read"),
        team_id=query.team_id or None,
        project_id=query.project_id or None,
        org_id=query.organization_id or None,
        created_by=query.created_by or None,
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
    views: list[str | KeyRowView] = [record.digest for record in records]
    if query.return_full_object:
        views = [*await row_views(services, records)]
    pages = -(-total // query.size)
    return KeyListView(keys=views, total_count=total, current_page=query.page, total_pages=pages)


async def aliases(services: Services, call: Call[Nothing, AliasQuery]) -> AliasesView:
    query = call.query
    wanted = KeyFilter(
        reach=call.caller.acting.reach("keys.read"),
        team_id=query.team_id or None,
        # An empty part is in every alias, and in no key without one.
        alias_contains=query.search or "",
    )
    page = Page(limit=query.size, offset=(query.page - 1) * query.size, sort_by="key_alias", descending=False)
    records, total = await services.keys.page(wanted, page)
    return AliasesView(
        aliases=[record.alias for record in records if record.alias is not None],
        total_count=total,
        current_page=query.page,
        total_pages=-(-total // query.size),
        size=query.size,
    )


async def bulk_update(services: Services, call: Call[BulkUpdateKeys, Nothing]) -> BulkUpdatedView:
    """Each key for itself: one that cannot be changed does not keep the others from it."""
    done: list[UpdatedKey] = []
    failed: list[FailedKey] = []
    for item in call.body.keys:
        fields = {name: value for name, value in given(item).items() if name != "key"}
        try:
            record = await services.keys.update(call.caller, item.key, KeyChanges(**fields))
            done.append(UpdatedKey(key=item.key, key_info=KeyInfo(**await _fields(services, record))))
        except ApiError as error:
            failed.append(FailedKey(key=item.key, failed_reason=str(error), status=error.status))
    return BulkUpdatedView(
        total_requested=len(call.body.keys), successful_updates=done, failed_updates=failed
    )


async def reset_spend(services: Services, call: Call[ResetSpend, Nothing]) -> ResetSpendView:
    """What the key spent so far counts against its budgets no more; the ledger keeps every row."""
    if call.body.reset_to != 0:
        raise bad_request("spend can be reset to 0 only; raise the budget instead", param="reset_to")
    known = await services.keys.get(call.caller, call.path["key"])
    used = (await spent(services, "key", [known]))[known.id]
    record, before = await services.keys.reset_spend(call.caller, call.path["key"], used)
    values = holder_values(record.all_settings(), record.settings.spend_base, services.keys.now_us())
    return ResetSpendView(
        key_hash=record.digest,
        spend=values["spend"],
        previous_spend=Usd(before),
        max_budget=values["max_budget"],
        budget_reset_at=values["budget_reset_at"],
    )


async def health(services: Services, call: Call[Nothing, Nothing]) -> KeyHealthView:
    """The caller's own key; it is healthy, or it could not have called."""
    return KeyHealthView(key="healthy")


async def block(services: Services, call: Call[OneKey, Nothing]) -> KeyRowView:
    return await _set_blocked(services, call, blocked=True)


async def unblock(services: Services, call: Call[OneKey, Nothing]) -> KeyRowView:
    return await _set_blocked(services, call, blocked=False)


async def rotated(services: Services, call: Call[Nothing, Nothing]) -> NewKeyView:
    """Called with the former secret of a key that was rotated by schedule: the new one, once."""
    raw, record = await services.keys.fetch_rotated(call.caller)
    return await _new_view(services, raw, record)


async def aws_pair(services: Services, call: Call[PairOf, Nothing]) -> AwsKeyPairView:
    """What AWS's clients sign with, for a key that exists: derived, not stored. An admin may ask for any key,
    a key for itself.
    """
    own = call.caller.key_id
    if call.body.key is None and own == MASTER_ID:
        raise bad_request("say which key: the master key signs nothing", param="key")
    if call.body.key is None:
        record = await services.keys.get_by_id(call.caller, own)
    else:
        record = await services.keys.get(call.caller, call.body.key)
    # A pair is as good as the key: whoever may see a key, or change it, may still not use it.
    if record.deleted_us is not None or not (record.id == own or call.caller.acting.is_admin):
        raise key_not_found()
    access_key_id, secret = await services.keys.aws_pair(call.caller, record)
    return AwsKeyPairView(key_id=record.id, aws_access_key_id=access_key_id, aws_secret_access_key=secret)


async def regenerate(services: Services, call: Call[RegenerateKey, RegenerateQuery]) -> NewKeyView:
    """The key is named by the path, or by `key` in the body or the query."""
    name = call.path.get("key") or call.body.key or call.query.key
    if name is None:
        raise bad_request("say which key to regenerate", param="key")
    raw, record = await services.keys.rotate(
        call.caller, name, call.body.new_key, call.body, call.body.grace_period
    )
    return await _new_view(services, raw, record)


async def _set_blocked(services: Services, call: Call[OneKey, Nothing], *, blocked: bool) -> KeyRowView:
    record = await services.keys.set_blocked(call.caller, call.body.key, blocked=blocked)
    return (await row_views(services, [record]))[0]


async def _new_view(services: Services, raw: str, record: KeyRecord) -> NewKeyView:
    return NewKeyView(key=raw, token=record.digest, token_id=record.digest, **await _fields(services, record))


async def row_views(services: Services, records: Sequence[KeyRecord]) -> list[KeyRowView]:
    used, uses = await spent(services, "key", records), await services.keys.last_uses(records)
    return [
        KeyRowView(token=record.digest, **_values(services, record, used[record.id], uses.get(record.id)))
        for record in records
    ]


async def _fields(services: Services, record: KeyRecord) -> dict[str, Any]:
    used, uses = await spent(services, "key", [record]), await services.keys.last_uses([record])
    return _values(services, record, used[record.id], uses.get(record.id))


def _values(services: Services, record: KeyRecord, spent: int, use: KeyUse | None) -> dict[str, Any]:
    settings = msgspec.structs.replace(record.all_settings(), metadata=record.metadata)
    fields: dict[str, Any] = holder_values(settings, spent, services.keys.now_us())
    fields |= {
        "key_id": record.id,
        "key_name": record.display,
        "key_alias": record.alias,
        "status": record.state(services.keys.now_us()),
        "expires": _instant(record.expires_us),
        "duration": record.duration,
        "user_id": record.user_id,
        "team_id": record.team_id,
        "project_id": record.project_id,
        "service_account": record.service_account,
        "key_type": record.kind,
        "blocked": record.blocked,
        "allowed_routes": list(record.routes),
        "allowed_ips": list(record.allowed_ips),
        "last_active": None if use is None else instant(use.used_us),
        "last_active_address": None if use is None else use.address,
        "auto_rotate": record.rotate_at_us is not None,
        "rotation_interval": record.rotation_interval,
        "rotation_count": record.rotations,
        "last_rotation_at": _instant(record.rotated_us),
        "key_rotation_at": _instant(record.rotate_at_us),
        "old_secret_until": _instant(record.old_until_us),
        "org_id": record.org_id,
        "organization_id": record.org_id,
        **stamps(record),
    }
    if record.deleted_us is not None:
        fields |= {"deleted_at": instant(record.deleted_us), "deleted_by": record.deleted_by or msgspec.UNSET}
    return fields


def _instant(us: int | None) -> Any:
    return None if us is None else instant(us)
