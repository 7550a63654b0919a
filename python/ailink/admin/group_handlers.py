"""`/routing/groups` and `/routing/switch`: groups of deployments, of which one serves at a time."""

from __future__ import annotations

import msgspec

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request
from ailink.admin.services import Services
from ailink.admin.setting_fields import Request
from ailink.config.schema import Model
from ailink.snapshot.groups import groups_of, serving
from ailink.store import groups
from ailink.store.groups import SwitchedGroup


class Switch(Request, frozen=True, kw_only=True):
    """To `group`, or with `back` to the one that served before."""

    model: str
    group: str | None = None
    back: bool = False


class GroupsOf(msgspec.Struct, frozen=True, kw_only=True):
    """Deployments by group, those without one under "". `switched_by`: a key's id; null: as in the file."""

    model: str
    active: str
    previous: str | None
    groups: dict[str, int]
    switched_us: int | None
    switched_by: str | None


class GroupsView(msgspec.Struct, frozen=True, kw_only=True):
    data: list[GroupsOf]


async def list_groups(services: Services, call: Call[Nothing, Nothing]) -> GroupsView:
    """The models whose deployments have groups."""
    switched = {row.model: row for row in await groups.everything(services.database)}
    models = [model for model in services.config.merged().models if groups_of(model)]
    return GroupsView(data=[_view(model, switched.get(model.name)) for model in models])


async def switch(services: Services, call: Call[Switch, Nothing]) -> GroupsOf:
    """From one group of a model's deployments to another, for all requests from now on."""
    body = call.body
    if (body.group is None) != body.back:
        raise bad_request("give `group`, or `back: true`", param="group")
    row = await services.switching.switch(call.caller, body.model, body.group)
    return _view(services.switching.model(body.model), row)


def _view(model: Model, row: SwitchedGroup | None) -> GroupsOf:
    counts = dict.fromkeys(groups_of(model), 0)
    for deployment in model.deployments:
        counts[deployment.group or ""] = counts.get(deployment.group or "", 0) + 1
    active = serving(model, {} if row is None else {model.name: row.active}) or ""
    # What was switched to and is gone from the file does not count.
    known = row if row is not None and row.active == active else None
    return GroupsOf(
        model=model.name,
        active=active,
        previous=None if known is None else known.previous,
        groups=counts,
        switched_us=None if known is None else known.updated_us,
        switched_by=None if known is None else known.updated_by,
    )
