"""Reads LiteLLM's PostgreSQL database into ours: organizations, teams, projects, users, members, customers,
tags, budgets, credentials and virtual keys, which go on working.

Nothing is written there, and here all or nothing. It may be repeated: rows that came from there and were not
changed here follow, others stay as they are.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ailink import _core
from ailink.admin.key_access import RouteTable
from ailink.admin.plane import Endpoint
from ailink.moving import rows
from ailink.moving.ciphers import NotOpenedError, unseal
from ailink.moving.rows import AUTHOR, stamps
from ailink.moving.source import Found, read
from ailink.secrets.keyring import Keyring, credential_place
from ailink.store import credentials, keys, tenancy
from ailink.store.credentials import CredentialRecord
from ailink.store.database import Database, Queries
from ailink.store.reach import EVERYWHERE
from ailink.store.rows import Record, Rows
from ailink.store.tenancy import membership_id, named_id

R = TypeVar("R", bound=Record)
# Members of a sealed credential that are no secrets; the rest but the key stays behind.
SHOWN = frozenset({"api_base", "api_version", "organization", "project", "region", "vertex_location"})


class Report(msgspec.Struct, kw_only=True):
    """What was done, or would be."""

    made: dict[str, int] = {}
    updated: dict[str, int] = {}
    kept: list[str] = []
    """Rows that were changed here, and stay as they are."""
    warnings: list[str] = []
    models: list[dict[str, Any]] = []
    """`model_list` as LiteLLM's file has it, with its secrets opened."""

    def count(self, noun: str, *, made: bool) -> None:
        place = self.made if made else self.updated
        place[noun] = place.get(noun, 0) + 1


async def move(
    database: Database, keyring: Keyring, url: str, salt_key: str | None, *, dry_run: bool
) -> Report:
    """Everything, in one transaction that a dry run undoes. Raises `MoveError`."""
    source = await read(url)
    report = Report()
    try:
        async with database.transaction() as queries:
            await _Move(queries, keyring, source, salt_key, report).run()
            if dry_run:
                raise _Undo
    except _Undo:
        pass
    return report


class _Undo(Exception):
    """Ends the transaction of a dry run."""


class _Move:
    """One run: what was read, and where it goes."""

    def __init__(
        self,
        queries: Queries,
        keyring: Keyring,
        source: Mapping[str, Sequence[Found]],
        salt_key: str | None,
        report: Report,
    ) -> None:
        self._queries = queries
        self._keyring = keyring
        self._source = source
        self._salt_key = salt_key
        self._report = report
        self._now_us = time.time_ns() // 1_000
        self._budgets = {row["budget_id"]: row for row in source["budgets"]}
        self._orgs = {row["organization_id"] for row in source["organizations"]}
        self._teams = {row["team_id"]: row for row in source["teams"]}
        self._projects = {
            row["project_id"] for row in source["projects"] if row.get("team_id") in self._teams
        }
        self._users: set[str] = set()

    async def run(self) -> None:
        """In the order in which rows point at each other."""
        await self._named_budgets()
        await self._organizations()
        await self._user_rows()
        await self._team_rows()
        await self._project_rows()
        await self._memberships()
        await self._customers_and_tags()
        await self._key_rows()
        await self._credential_rows()
        self._models()

    def _warn(self, what: str) -> rows.Warn:
        return lambda text: self._report.warnings.append(f"{what}: {text}")

    async def _put(self, noun: str, table: Rows[R], record: R) -> None:
        before = await table.get(self._queries, EVERYWHERE, record.id)
        if before is None:
            await table.insert(self._queries, record)
        elif before.updated_by != AUTHOR:
            self._report.kept.append(f"{noun} {record.id}")
            return
        else:
            await table.update(self._queries, msgspec.structs.replace(record, version=before.version + 1))
        self._report.count(noun, made=before is None)

    def _stamps(self, row: Found) -> dict[str, Any]:
        return rows.stamps(row, self._now_us)

    def _budget_of(self, row: Found) -> Found:
        """A row with the budget it was given, if that is there."""
        known = row.get("budget_id") in self._budgets
        return {**row, "budget_id": row["budget_id"] if known else None}

    def _org(self, row: Found | None) -> str | None:
        org = None if row is None else row.get("organization_id")
        return org if org in self._orgs else None

    async def _named_budgets(self) -> None:
        for budget_id, row in self._budgets.items():
            fields = {**row, "models": row.get("allowed_models"), "budget_id": None}
            settings = rows.settings(fields, self._warn(f"budget {budget_id}"))
            record = tenancy.Budget(id=budget_id, settings=settings, **self._stamps(row))
            await self._put("budget", tenancy.budgets, record)

    async def _organizations(self) -> None:
        for row in self._source["organizations"]:
            org = row["organization_id"]
            budget = self._budgets.get(row["budget_id"], {})
            fields = {**self._budget_of(row), "max_budget": budget.get("max_budget")}
            fields |= {name: budget.get(name) for name in ("budget_duration", "budget_reset_at")}
            record = tenancy.Organization(
                id=org,
                org_id=org,
                alias=row["organization_alias"],
                settings=rows.settings(fields, self._warn(f"organization {org}")),
                **self._stamps(row),
            )
            await self._put("organization", tenancy.organizations, record)

    async def _user_rows(self) -> None:
        for row in self._source["users"]:
            await self._user(row["user_id"], row)

    async def _user(self, user_id: str, row: Found) -> None:
        """A user; also one that keys or teams name without a row of his own."""
        self._users.add(user_id)
        fields = dict(row)
        if "no-default-models" in (row.get("models") or ()):
            # A name no model has: keys of his own reach none, those of his teams do.
            fields["models"] = ["no-default-models"]
        record = tenancy.User(
            id=user_id,
            email=row.get("user_email"),
            alias=row.get("user_alias"),
            sso_id=row.get("sso_user_id"),
            role=rows.role("platform", row.get("user_role"), "internal_user"),
            settings=rows.settings(fields, self._warn(f"user {user_id}")),
            **self._stamps(row),
        )
        await self._put("user", tenancy.users, record)

    async def _known_user(self, user_id: str | None) -> str | None:
        if user_id and user_id not in self._users:
            await self._user(user_id, {})
        return user_id or None

    async def _team_rows(self) -> None:
        for team, row in self._teams.items():
            record = tenancy.Team(
                id=team,
                org_id=self._org(row),
                alias=row["team_alias"],
                blocked=row["blocked"],
                settings=rows.settings(row, self._warn(f"team {team}")),
                **self._stamps(row),
            )
            await self._put("team", tenancy.teams, record)

    async def _project_rows(self) -> None:
        for row in self._source["projects"]:
            project, team = row["project_id"], self._teams.get(row.get("team_id"))
            if team is None:
                self._report.warnings.append(f"project {project}: left out, it has no team")
                continue
            record = tenancy.Project(
                id=project,
                org_id=self._org(team),
                team_id=team["team_id"],
                alias=row.get("project_alias"),
                description=row.get("description"),
                blocked=row.get("blocked", False),
                settings=rows.settings(self._budget_of(row), self._warn(f"project {project}")),
                **self._stamps(row),
            )
            await self._put("project", tenancy.projects, record)

    async def _memberships(self) -> None:
        budgets = {(row["team_id"], row["user_id"]): row for row in self._source["team_members"]}
        for team, row in self._teams.items():
            for member in row.get("members_with_roles") or []:
                user = await self._known_user(member.get("user_id"))
                if user is None:
                    self._report.warnings.append(f"team {team}: a member without `user_id` is left out")
                    continue
                role = rows.role("team", member.get("role"), "user")
                await self._member("team", (team, self._org(row)), user, role, budgets.get((team, user), {}))
        for row in self._source["organization_members"]:
            org = self._org(row)
            if org is not None and (user := await self._known_user(row["user_id"])):
                role = rows.role("organization", row.get("user_role"), "internal_user")
                await self._member("organization", (org, org), user, role, row)

    async def _member(
        self, kind: tenancy.HolderKind, holder: tuple[str, str | None], user: str, role: str, row: Found
    ) -> None:
        holder_id, org = holder
        budget = self._budgets.get(row.get("budget_id"), {})
        fields = {
            **budget,
            "models": budget.get("allowed_models"),
            "spend": row.get("spend"),
            "budget_id": None,
        }
        record = tenancy.Membership(
            id=membership_id(kind, holder_id, user),
            org_id=org,
            kind=kind,
            holder_id=holder_id,
            user_id=user,
            role=role,
            settings=rows.settings(fields, self._warn(f"member {user} of {kind} {holder_id}")),
            **self._stamps({}),
        )
        await self._put("member", tenancy.memberships, record)

    async def _customers_and_tags(self) -> None:
        for row in self._source["customers"]:
            name = row["user_id"]
            fields = {**self._budget_of(row), "models": row.get("models")}
            customer = tenancy.Customer(
                id=named_id(None, name),
                name=name,
                alias=row.get("alias"),
                blocked=row["blocked"],
                settings=rows.settings(fields, self._warn(f"customer {name}")),
                **self._stamps(row),
            )
            await self._put("customer", tenancy.customers, customer)
        for row in self._source["tags"]:
            name = row["tag_name"]
            # Its models are given there by their ids, which mean nothing here.
            fields = {**self._budget_of(row), "models": None}
            tag = tenancy.Tag(
                id=named_id(None, name),
                name=name,
                description=row.get("description"),
                settings=rows.settings(fields, self._warn(f"tag {name}")),
                **self._stamps(row),
            )
            await self._put("tag", tenancy.tags, tag)

    async def _key_rows(self) -> None:
        routes = RouteTable(tuple(Endpoint(*row) for row in _core.endpoints()))
        aliases: set[str] = set()
        for row in self._source["keys"]:
            what = f"key {row.get('key_alias') or row.get('key_name') or row['token'][:8]}"
            digest = _core.token_digest(self._keyring.pepper, row["token"]).hex()
            record = rows.key(self._budget_of(row), digest, routes, self._now_us, self._warn(what))
            team = self._teams.get(row.get("team_id"))
            if row.get("team_id") and team is None:
                self._report.warnings.append(f"{what}: left out, its team {row['team_id']} is not there")
                continue
            alias = record.alias
            if alias in aliases:
                self._report.warnings.append(f"{what}: its alias is another key's too, and is left out")
                alias = None
            elif alias:
                aliases.add(alias)
            project = row.get("project_id")
            owned = msgspec.structs.replace(
                record,
                alias=alias,
                org_id=self._org(team) or self._org(row),
                team_id=None if team is None else team["team_id"],
                project_id=project if project in self._projects else None,
                user_id=await self._known_user(row.get("user_id")),
            )
            await self._put_key(what, owned)

    async def _put_key(self, what: str, record: keys.KeyRecord) -> None:
        before = await keys.by_id(self._queries, record.id)
        if before is None:
            await keys.insert(self._queries, record)
        elif before.updated_by != AUTHOR:
            self._report.kept.append(what)
            return
        else:
            await keys.update(self._queries, msgspec.structs.replace(record, version=before.version + 1))
        self._report.count("key", made=before is None)

    async def _credential_rows(self) -> None:
        for row in self._source["credentials"]:
            name = row["credential_name"]
            opened = self._opened(row["credential_values"] or {}, f"credential {name}")
            if "api_key" not in opened:
                self._report.warnings.append(f"credential {name}: left out, it has no `api_key` to be read")
                continue
            shown = {field: value for field, value in opened.items() if field in SHOWN}
            before = await credentials.by_name(self._queries, name)
            if before is not None and before.updated_by != AUTHOR:
                self._report.kept.append(f"credential {name}")
                continue
            credential_id = f"cred_{row['credential_id']}" if before is None else before.id
            record = CredentialRecord(
                id=credential_id,
                name=name,
                sealed=self._keyring.seal(
                    str(opened["api_key"]).encode(), credential_place(None, credential_id)
                ),
                info={**(row.get("credential_info") or {}), **shown},
                **stamps(row, self._now_us),
            )
            await (credentials.insert if before is None else credentials.update)(self._queries, record)
            self._report.count("credential", made=before is None)

    def _models(self) -> None:
        for row in self._source["models"]:
            name = row["model_name"]
            params = self._opened(row["litellm_params"] or {}, f"model {name}")
            self._report.models.append(
                {"model_name": name, "litellm_params": params, "model_info": row.get("model_info") or {}}
            )

    def _opened(self, values: Found, what: str) -> dict[str, Any]:
        """Texts are sealed one by one; numbers, flags and what LiteLLM never sealed are there as they are."""
        opened: dict[str, Any] = {}
        for name, value in values.items():
            if not isinstance(value, str):
                opened[name] = value
                continue
            try:
                if self._salt_key is None:
                    raise NotOpenedError
                opened[name] = unseal(value, self._salt_key)
            except NotOpenedError:
                self._report.warnings.append(f"{what}: `{name}` does not open with this salt key")
        return opened


def write_models(report: Report, file: Path) -> None:
    """The models as a configuration in LiteLLM's shape, for `ailink serve` or for splitting by hand; readable
    for its owner alone, because it holds the providers' keys.
    """
    text = json.dumps({"model_list": report.models}, indent=2, default=str)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        os.fchmod(out.fileno(), 0o600)
        out.write(text + "\n")
