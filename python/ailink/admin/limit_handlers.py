"""`/v1/limits`: limits and budgets of the gateway itself, those of the file and those made here. Those of
keys, teams and other tenants stand with them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from ailink.admin.call import Call, Nothing, Tagged
from ailink.admin.changes import etag
from ailink.admin.errors import not_found
from ailink.admin.limit_fields import LimitBody, LimitChanges, LimitsView, LimitView, NewLimit, words
from ailink.admin.rest_fields import Deleted
from ailink.admin.services import Services
from ailink.config import limit_words
from ailink.config.limits import Budget, Limit
from ailink.ledger.money import Usd
from ailink.snapshot.limits import scope_of
from ailink.snapshot.model import LimitRule
from ailink.store.config_objects import ConfigObject, limit_id


class _Usage(LimitRule, frozen=True, kw_only=True):
    """A rule, and how much of it is used."""

    used: int


async def list_limits(services: Services, call: Call[Nothing, Nothing]) -> LimitsView:
    """Those of the file first."""
    stored = await services.models.all("limit")
    config = services.config.file()
    sections: dict[str, Sequence[Limit | Budget]] = {
        "limits": config.limits,
        "budgets.rules": config.budgets.rules,
    }
    views = [
        LimitView(id=f"{place}[{index}]", on=one.on, source="file", limit=limit_words.written(one))
        for place, section in sections.items()
        for index, one in enumerate(section)
    ]
    views += [_view(record) for record in stored.values()]
    return LimitsView(data=_with_use(services, views))


async def get(services: Services, call: Call[Nothing, Nothing]) -> Tagged[LimitView]:
    record = (await services.models.all("limit")).get(limit_id(call.path["id"]))
    if record is None:
        raise not_found("no such limit", param="id", code="limit_not_found")
    return _told(services, record)


async def new(services: Services, call: Call[NewLimit, Nothing]) -> Tagged[LimitView]:
    """In force when this is answered, on other nodes within a second; what was used before counts."""
    body = call.body
    given = LimitBody(**{name: getattr(body, name) for name in LimitBody.__struct_fields__})
    object_id = limit_id(body.id or uuid.uuid4().hex)
    content = words(given, "")
    record = await services.models.create(call.caller, "limit", object_id, body.on, content)
    return _told(services, record)


async def update(services: Services, call: Call[LimitChanges, Nothing]) -> Tagged[LimitView]:
    """Counters go on as long as the same is counted over the same time."""
    object_id = limit_id(call.path["id"])
    before = (await services.models.all("limit")).get(object_id)
    content = words(call.body.limit, "limit")
    gone = dict.fromkeys({} if before is None else before.body)
    record = await services.models.update(call.caller, "limit", object_id, None, {**gone, **content})
    return _told(services, record)


async def delete(services: Services, call: Call[Nothing, Nothing]) -> Deleted:
    record = await services.models.delete(call.caller, "limit", limit_id(call.path["id"]))
    return Deleted(id=_name(record))


def _told(services: Services, record: ConfigObject) -> Tagged[LimitView]:
    (view,) = _with_use(services, [_view(record)])
    return Tagged(view, etag(record.version))


def _view(record: ConfigObject) -> LimitView:
    return LimitView(id=_name(record), on=record.name, source="api", limit=record.body)


def _name(record: ConfigObject) -> str:
    return record.id.partition(":")[2]


def _with_use(services: Services, views: list[LimitView]) -> list[LimitView]:
    """With what is used of each, as this node counts."""
    aliases = {alias: model.name for model in services.config.models() for alias in model.aliases}
    scopes = [scope_of(view.on, aliases) for view in views]
    packed = services.plane.limit_usage(msgspec.msgpack.encode(scopes))
    usage = msgspec.msgpack.decode(packed, type=list[list[_Usage]])
    return [
        msgspec.structs.replace(view, used=_used(limit_words.read(view.limit), rules))
        for view, rules in zip(views, usage, strict=True)
    ]


def _used(limit: Limit | Budget, rules: list[_Usage]) -> dict[str, Any] | None:
    if limit.each is not None:
        return None
    found: dict[str, Any] = {}
    for rule in rules:
        same = (rule.name, rule.soft, rule.models or (), rule.providers or (), rule.endpoints or ())
        ours = (limit.name, limit.soft, limit.models or (), limit.providers or (), limit.endpoints or ())
        if tuple(map(_listed, same)) != tuple(map(_listed, ours)):
            continue
        if isinstance(limit, Budget) and rule.metric == "spend" and rule.max == int(limit.usd):
            found["usd"] = Usd(rule.used)
        elif isinstance(limit, Limit) and rule.max == getattr(limit, rule.metric, None):
            found[rule.metric] = rule.used
    return found


def _listed(value: Any) -> Any:
    return list(cast("tuple[str, ...]", value)) if isinstance(value, tuple | list) else value
