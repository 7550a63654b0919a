"""Which rows a caller may see at all. Every query of a tenant's table takes one, so that a row of another
tenant is never found: it is as missing as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ailink.store.database import Value


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of these organizations, of these teams, of this user; or all."""

    everywhere: bool = False
    orgs: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()
    user: str | None = None


# For the gateway itself: loading, compiling, cascades.
EVERYWHERE = Reach(everywhere=True)
NOWHERE = Reach()


def any_of(column: str, values: Iterable[str]) -> tuple[str, list[Value]]:
    """`column IN (…)`."""
    params: list[Value] = [*sorted(values)]
    return f"{column} IN ({', '.join('?' for _ in params)})", params


def condition(
    reach: Reach, *, team: str | None = None, user: str | None = None, org: str = "org_id"
) -> tuple[str, list[Value]]:
    """The SQL condition for a table whose rows belong to an organization, and maybe to a team (column `team`)
    and a user (column `user`).
    """
    if reach.everywhere:
        return "1 = 1", []
    parts: list[str] = []
    params: list[Value] = []
    for column, values in (
        (org, reach.orgs),
        (team, reach.teams),
        (user, frozenset([reach.user] if reach.user is not None else [])),
    ):
        if column is not None and values:
            text, more = any_of(column, values)
            parts.append(text)
            params += more
    return (f"({' OR '.join(parts)})" if parts else "1 = 0"), params
