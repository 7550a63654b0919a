"""Holders of settings as the data plane knows them: subjects with limits of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ailink.admin.limit_rules import limit_rules
from ailink.admin.lineage import World, member_defaults
from ailink.snapshot.model import SubjectKind, SubjectRow
from ailink.store.database import Queries
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Rows
from ailink.store.settings import Settings
from ailink.store.tenancy import (
    Membership,
    Team,
    budgets,
    customers,
    memberships,
    organizations,
    projects,
    tags,
    teams,
    users,
)

Subject = tuple[SubjectKind, str]
"""Kind and id, in the plane's terms."""

TABLES: Mapping[SubjectKind, Rows[Any]] = {
    "organization": organizations,
    "team": teams,
    "project": projects,
    "user": users,
    "member": memberships,
    "customer": customers,
    "tag": tags,
}
KINDS: Mapping[str, SubjectKind] = {rows.table: kind for kind, rows in TABLES.items()}


async def subject_rows(
    queries: Queries, now_us: int, wanted: Iterable[Subject] | None = None
) -> list[SubjectRow]:
    """The rows of these subjects that exist, or of all."""
    by_kind: dict[SubjectKind, list[str]] = {}
    for kind, row_id in wanted or ():
        by_kind.setdefault(kind, []).append(row_id)
    found: list[tuple[SubjectKind, Any]] = []
    for kind, rows in TABLES.items():
        if wanted is None:
            found += [(kind, record) for record in await rows.find(queries, EVERYWHERE)]
        elif kind in by_kind:
            found += [
                (kind, record) for record in (await rows.many(queries, EVERYWHERE, by_kind[kind])).values()
            ]
    world = World()
    member_teams = {record.holder_id for kind, record in found if kind == "member" and record.kind == "team"}
    world.teams = await teams.many(queries, EVERYWHERE, member_teams)
    settings = [_settings(world, record)(record.settings) for _, record in found]
    named = {one.budget_id for one in settings if one.budget_id is not None}
    world.budgets = await budgets.many(queries, EVERYWHERE, named)
    return [
        _row(kind, record, world.merged(one), now_us)
        for (kind, record), one in zip(found, settings, strict=True)
    ]


def _settings(world: World, record: Any) -> Callable[[Settings], Settings]:
    """A member of a team has what all its members have, where nothing else is said."""
    team: Team | None = None
    if isinstance(record, Membership) and record.kind == "team":
        team = world.teams.get(record.holder_id)
    return lambda own: own if team is None else member_defaults(own, team.member_settings)


def _row(kind: SubjectKind, record: Any, settings: Settings, now_us: int) -> SubjectRow:
    parents: list[Subject] = []
    if isinstance(record, Membership):
        parents = [(record.kind, record.holder_id), ("user", record.user_id)]
    return SubjectRow(
        kind=kind,
        id=record.id,
        alias=getattr(record, "alias", None) or getattr(record, "name", None),
        parents=parents,
        blocked=getattr(record, "blocked", False),
        limits=limit_rules(settings, now_us),
    )
