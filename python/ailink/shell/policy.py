"""Who may call a route. Every route names one of these; the front has already said who calls.

The front strips `x-ailink-*` from what clients send and sets its own, and only it can reach the shell's
socket (in a directory of mode 0700): that is why these headers are believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from starlette.datastructures import Headers

from ailink.admin.call import Caller
from ailink.admin.errors import forbidden, unauthorized
from ailink.admin.key_access import may_call
from ailink.identity.roles import PERMISSIONS

Kind = Literal["public", "key", "permission", "admin", "metrics"]


@dataclass(frozen=True, slots=True)
class Policy:
    """`kind`: who is let in before a handler asks about an object; `permission`: what he must hold somewhere.
    `text` is what the API description tells.
    """

    kind: Kind
    text: str
    permission: str = ""

    PUBLIC: ClassVar[Policy]
    KEY: ClassVar[Policy]
    ADMIN: ClassVar[Policy]
    METRICS: ClassVar[Policy]

    def __post_init__(self) -> None:
        if (self.kind == "permission") != (self.permission in PERMISSIONS):
            raise ValueError(f"{self.permission!r} is no permission")


Policy.PUBLIC = Policy("public", "No key needed.")
Policy.KEY = Policy("key", "Any valid key; what it may not see does not exist for it.")
Policy.ADMIN = Policy("admin", "An admin key.")
Policy.METRICS = Policy(
    "metrics",
    "An admin key, or a key whose `allowed_routes` names this path; on loopback no key is needed.",
)


def needs(permission: str) -> Policy:
    """A caller who holds this permission over the gateway, in an organization, in a team or on his own; the
    handler then asks whether it reaches the object.
    """
    return Policy("permission", f"Needs the permission `{permission}`.", permission)


def caller_of(headers: Headers) -> Caller:
    """Whom the front identified; nobody unless it said so exactly once."""
    role, key_id = headers.getlist("x-ailink-role"), headers.getlist("x-ailink-key-id")
    known = role[0] if len(role) == 1 and len(key_id) == 1 and key_id[0] else "none"
    return Caller(
        role="admin" if known == "admin" else "key" if known == "key" else "none",
        key_id=key_id[0] if known in ("admin", "key") else "",
        client_ip=headers.get("x-ailink-client-ip"),
        request_id=headers.get("x-ailink-request-id"),
        if_match=headers.get("if-match"),
    )


def permit(policy: Policy, caller: Caller, method: str, path: str, allowed: Sequence[str]) -> None:
    """Returns when the caller may go on. `allowed`: the `allowed_routes` of his key. Raises `ApiError`: 401
    without a key, 403 with one that does not reach this far.
    """
    if policy.kind == "public":
        return
    if caller.role == "none":
        raise unauthorized()
    if caller.role == "admin":
        return
    named = path in allowed
    unlimited = caller.acting.is_admin and not allowed
    if not named and not (unlimited if policy.kind == "metrics" else may_call(allowed, method, path)):
        raise forbidden(f"This key may not call {path}: its `allowed_routes` must name it.")
    if policy.kind == "admin" and not caller.acting.is_admin:
        raise forbidden("This needs an admin key.")
    if policy.kind == "permission" and not caller.acting.holds(policy.permission):
        raise forbidden(f"This needs the permission `{policy.permission}`, which your role does not hold.")
