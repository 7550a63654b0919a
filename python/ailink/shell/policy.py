"""Who may call a route. Every route names one of these; the front has already said who calls.

The front strips `x-ailink-*` from what clients send and sets its own, and only it can reach the shell's
socket (in a directory of mode 0700): that is why these headers are believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from starlette.datastructures import Headers

from ailink.admin.call import Caller
from ailink.admin.errors import forbidden, unauthorized


class Policy(Enum):
    """The value is what the API description tells."""

    PUBLIC = "No key needed."
    KEY = "Any valid key."
    SELF_OR_ADMIN = (
        "A key for itself, an admin key for every key; what a key may not see does not exist for it."
    )
    ADMIN = "An admin key."
    METRICS = "An admin key, or a key whose `allowed_routes` names this path; on loopback no key is needed."


class Grants(Protocol):
    """What keys were allowed by name."""

    async def routes_of(self, key_id: str) -> Sequence[str]:
        """The key's `allowed_routes`; empty when it is not limited to some."""


def caller_of(headers: Headers) -> Caller:
    """Whom the front identified; nobody unless it said so exactly once."""
    role, key_id = headers.getlist("x-ailink-role"), headers.getlist("x-ailink-key-id")
    known = role[0] if len(role) == 1 and len(key_id) == 1 and key_id[0] else "none"
    return Caller(
        role="admin" if known == "admin" else "key" if known == "key" else "none",
        key_id=key_id[0] if known in ("admin", "key") else "",
        client_ip=headers.get("x-ailink-client-ip"),
        request_id=headers.get("x-ailink-request-id"),
    )


async def permit(policy: Policy, caller: Caller, path: str, grants: Grants) -> None:
    """Returns when the caller may go on. Raises `ApiError`: 401 without a key, 403 with one that does not
    reach this far.
    """
    if policy is Policy.PUBLIC:
        return
    if caller.role == "none":
        raise unauthorized()
    if caller.role == "admin":
        return
    if policy is Policy.ADMIN:
        raise forbidden("This needs an admin key.")
    allowed = await grants.routes_of(caller.key_id)
    if path in allowed or (not allowed and policy is not Policy.METRICS):
        return
    raise forbidden(f"This key may not call {path}: its `allowed_routes` must name it.")
