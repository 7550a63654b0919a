"""The tables of LiteLLM's database that are read, as of one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import asyncpg

TIMEOUT_S = 30.0
Found = Mapping[str, Any]


class MoveError(Exception):
    """Why nothing could be read."""


TABLES = {
    "budgets": "LiteLLM_BudgetTable",
    "organizations": "LiteLLM_OrganizationTable",
    "teams": "LiteLLM_TeamTable",
    "projects": "LiteLLM_ProjectTable",
    "users": "LiteLLM_UserTable",
    "team_members": "LiteLLM_TeamMembership",
    "organization_members": "LiteLLM_OrganizationMembership",
    "customers": "LiteLLM_EndUserTable",
    "tags": "LiteLLM_TagTable",
    "keys": "LiteLLM_VerificationToken",
    "credentials": "LiteLLM_CredentialsTable",
    "models": "LiteLLM_ProxyModelTable",
}


async def read(url: str) -> dict[str, list[Found]]:
    """All rows, as of one moment. Tables that an older version does not have are empty."""
    try:
        connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    except (OSError, asyncpg.PostgresError, ValueError, TimeoutError) as error:
        raise MoveError(f"the database cannot be opened: {error}") from error
    try:
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found: dict[str, list[Found]] = {}
            for noun, table in TABLES.items():
                there = await connection.fetchval("SELECT to_regclass($1)", f'"{table}"')
                fetched = await connection.fetch(f'SELECT * FROM "{table}"') if there else []
                found[noun] = [dict(row) for row in fetched]
            if await connection.fetchval("SELECT to_regclass($1)", f'"{TABLES["keys"]}"') is None:
                raise MoveError(f"this is no database of LiteLLM: it has no table {TABLES['keys']}")
            return found
    except asyncpg.PostgresError as error:
        raise MoveError(f"the database cannot be read: {error}") from error
    finally:
        await connection.close()
