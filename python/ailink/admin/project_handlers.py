"""Bodies, answers and handlers of `/project/*`, in LiteLLM's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request
from ailink.admin.holders import (
    check_budget,
    found,
    guard_limits,
    in_use,
    new_id,
    require,
    touch_models,
)
from ailink.admin.services import Services
from ailink.admin.setting_fields import (
    BudgetView,
    HolderFields,
    HolderView,
    Identifier,
    Name,
    Request,
    Text,
    given,
    holder_values,
    limit_values,
    settings_of,
    stamps,
)
from ailink.admin.spent import spent
from ailink.store import keys
from ailink.store.rows import Match
from ailink.store.tenancy import Project, projects, teams

READ, WRITE = "projects.read", "projects.write"


class ProjectChanges(HolderFields, frozen=True, kw_only=True):
    """Settings to change; null takes one away."""

    project_alias: Name | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    blocked: bool | UnsetType | None = UNSET


class NewProject(ProjectChanges, frozen=True, kw_only=True):
    team_id: Identifier
    project_id: Identifier | None = None


class UpdateProject(ProjectChanges, frozen=True, kw_only=True):
    project_id: Identifier
    team_id: Identifier | None = None


class DeleteProjects(Request, frozen=True, kw_only=True):
    project_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=100)]


class ProjectQuery(Request, frozen=True, kw_only=True):
    project_id: str


class ProjectList(Request, frozen=True, kw_only=True):
    team_id: str | None = None


class ProjectView(HolderView, frozen=True, kw_only=True):
    project_id: str
    project_alias: str | None
    description: str | None
    team_id: str
    organization_id: str | None
    blocked: bool
    litellm_budget_table: BudgetView
    object_permission: None = None
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


async def new(services: Services, call: Call[NewProject, Nothing]) -> ProjectView:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        team = await found(change.queries, actor.reach("teams.read"), teams, body.team_id, "team_id")
        require(actor, WRITE, org=team.org_id, team=team.id)
        settings = settings_of(body)
        await check_budget(change.queries, actor, settings)
        record = Project(
            id=body.project_id or new_id("project"),
            org_id=team.org_id,
            team_id=team.id,
            **_columns(given(body)),
            settings=settings,
            **change.stamps(),
        )
        await change.insert(projects, record)
    return (await views(services, [record]))[0]


async def update(services: Services, call: Call[UpdateProject, Nothing]) -> ProjectView:
    body, actor = call.body, call.caller.acting
    async with services.changes.make(call.caller) as change:
        before = await found(change.queries, actor.reach(READ), projects, body.project_id, "project_id")
        require(actor, WRITE, org=before.org_id, team=before.team_id)
        if body.team_id not in (None, before.team_id):
            raise bad_request("a project stays in its team", param="team_id")
        guard_limits(actor, body, org=before.org_id, parent=before.team_id)
        settings = settings_of(body, before.settings)
        await check_budget(change.queries, actor, settings)
        after = await change.update(projects, before, **_columns(given(body)), settings=settings)
        await touch_models(change, before.settings, settings, "project_id", [after.id])
    return (await views(services, [after]))[0]


async def delete(services: Services, call: Call[DeleteProjects, Nothing]) -> list[ProjectView]:
    """A project that still has keys is not deleted."""
    actor = call.caller.acting
    async with services.changes.make(call.caller) as change:
        rows = [
            await found(change.queries, actor.reach(READ), projects, row_id, "project_ids")
            for row_id in dict.fromkeys(call.body.project_ids)
        ]
        for record in rows:
            require(actor, WRITE, org=record.org_id, team=record.team_id)
            using = await keys.of(change.queries, "project_id", [record.id])
            if using:
                raise in_use("project", [f"key {key.display}" for key in using])
        shown = await views(services, rows)
        for record in rows:
            await change.remove(projects, record)
    return shown


async def info(services: Services, call: Call[Nothing, ProjectQuery]) -> ProjectView:
    reach = call.caller.acting.reach(READ)
    record = await found(services.database, reach, projects, call.query.project_id, "project_id")
    return (await views(services, [record]))[0]


async def list_projects(services: Services, call: Call[Nothing, ProjectList]) -> list[ProjectView]:
    match = Match(equal={} if call.query.team_id is None else {"team_id": call.query.team_id})
    rows = await projects.find(services.database, call.caller.acting.reach(READ), match)
    return await views(services, rows)


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "project_alias" in fields:
        columns["alias"] = fields["project_alias"]
    if "description" in fields:
        columns["description"] = fields["description"]
    if "blocked" in fields:
        columns["blocked"] = bool(fields["blocked"])
    return columns


async def views(services: Services, rows: Sequence[Project]) -> list[ProjectView]:
    used = await spent(services, "project", rows)
    now = services.changes.now_us()
    return [
        ProjectView(
            project_id=row.id,
            project_alias=row.alias,
            description=row.description,
            team_id=row.team_id,
            organization_id=row.org_id,
            blocked=row.blocked,
            litellm_budget_table=BudgetView(
                budget_id=row.settings.budget_id, **limit_values(row.settings, now)
            ),
            **holder_values(row.settings, used[row.id], now),
            **stamps(row),
        )
        for row in rows
    ]
