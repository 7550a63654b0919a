"""Two organizations with one of everything, a caller for each role, what a request of each route names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.unit.admin.gateway import MASTER, Gateway
from tests.unit.shell.conftest import ADMIN, as_key

from ailink.admin.key_fields import GenerateKey
from ailink.identity.roles import ORGANIZATION_ROLES, PLATFORM_ROLES, TEAM_ROLES
from ailink.store.database import Queries

OWN, FOREIGN, MISSING = "own", "foreign", "missing"
PLACES = {
    **{f"platform:{role}": ("platform", role) for role in PLATFORM_ROLES},
    **{f"organization:{role}": ("organization", role) for role in ORGANIZATION_ROLES},
    **{f"team:{role}": ("team", role) for role in TEAM_ROLES},
}


async def call(asgi: httpx.AsyncClient, path: str, body: Any, method: str = "POST") -> Any:
    response = await asgi.request(method, path, json=body, headers=ADMIN)
    assert response.is_success, f"{path}: {response.status_code} {response.text}"
    return response.json()


async def one_of_everything(asgi: httpx.AsyncClient, side: str) -> dict[str, str]:
    """The objects of one organization: placeholder → value."""
    await call(asgi, "/organization/new", {"organization_id": f"org_{side}", "organization_alias": side})
    await call(asgi, "/team/new", {"team_id": f"team_{side}", "organization_id": f"org_{side}"})
    user = {"user_id": f"user_{side}", "organizations": [f"org_{side}"], "auto_create_key": False}
    await call(asgi, "/user/new", user)
    await call(
        asgi,
        "/team/member_add",
        {"team_id": f"team_{side}", "member": {"role": "user", "user_id": f"user_{side}"}},
    )
    spare = {"user_id": f"spare_{side}", "organizations": [f"org_{side}"], "auto_create_key": False}
    await call(asgi, "/user/new", spare)
    await call(asgi, "/project/new", {"project_id": f"project_{side}", "team_id": f"team_{side}"})
    await call(asgi, "/customer/new", {"user_id": f"customer_{side}", "organization_id": f"org_{side}"})
    await call(asgi, "/tag/new", {"name": f"tag_{side}", "organization_id": f"org_{side}"})
    await call(asgi, "/budget/new", {"budget_id": f"budget_{side}", "organization_id": f"org_{side}"})
    group = {
        "access_group_name": f"group_{side}",
        "access_model_names": ["a"],
        "organization_id": f"org_{side}",
    }
    group_id = (await call(asgi, "/v1/access_group", group))["access_group_id"]
    role = {"name": f"role_{side}", "permissions": ["teams.read"], "organization_id": f"org_{side}"}
    role_id = (await call(asgi, "/role/new", role))["id"]
    made = await call(asgi, "/key/generate", {"team_id": f"team_{side}", "key_alias": f"alias_{side}"})
    return {
        "ORG": f"org_{side}",
        "TEAM": f"team_{side}",
        "PROJECT": f"project_{side}",
        "USER": f"user_{side}",
        "SPARE": f"spare_{side}",
        "KEY": made["key"],
        "KEY_ID": made["key_id"],
        "CUSTOMER": f"customer_{side}",
        "TAG": f"tag_{side}",
        "BUDGET": f"budget_{side}",
        "GROUP": f"group_{side}",
        "GROUP_ID": group_id,
        "ROLE_ID": role_id,
    }


async def callers(asgi: httpx.AsyncClient, gateway: Gateway) -> dict[str, dict[str, str]]:
    """Role → the headers of somebody who has it, in the own organization where it is one of organizations."""
    found = {"nobody": {"x-ailink-role": "none"}}
    found["key"] = as_key((await mint_record(gateway)).id)
    found["llm_key"] = as_key((await mint_record(gateway, key_type="llm_api")).id)
    for name, (place, role) in PLACES.items():
        user_id = "caller_" + name.replace(":", "_")
        body: dict[str, Any] = {
            "user_id": user_id,
            "user_role": role if place == "platform" else "internal_user",
        }
        if place == "organization":
            body |= {"auto_create_key": False}
        made = await call(asgi, "/user/new", body)
        if place == "organization":
            member = {"role": role, "user_id": user_id}
            await call(asgi, "/organization/member_add", {"organization_id": "org_own", "member": member})
        if place == "team":
            await call(
                asgi,
                "/team/member_add",
                {"team_id": "team_own", "member": {"role": role, "user_id": user_id}},
            )
        secret = made.get("key") or (await call(asgi, "/key/generate", {"user_id": user_id}))["key"]
        record = await gateway.services.keys.find(secret)
        assert record is not None
        assert record.acts_as_user
        found[name] = as_key(record.id)
    return found


async def mint_record(gateway: Gateway, **settings: Any) -> Any:
    return (await gateway.services.keys.create(MASTER, GenerateKey(**settings)))[1]


def filled(template: Any, values: Mapping[str, str]) -> Any:
    """The template with values in place of `{NAME}`."""
    if isinstance(template, str):
        for name, value in values.items():
            template = template.replace(f"{{{name}}}", value)
        return template
    if isinstance(template, dict):
        return {name: filled(value, values) for name, value in template.items()}
    return [filled(value, values) for value in template] if isinstance(template, list) else template


@asynccontextmanager
async def nothing_kept(gateway: Gateway) -> AsyncIterator[None]:
    """Every transaction inside is rolled back at its end, as if the next request were the first."""
    database: Any = gateway.services.database
    real = database.transaction

    class Undone(Exception):
        pass

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Queries]:
        try:
            async with real() as queries:
                yield queries
                raise Undone
        except Undone:
            pass

    database.transaction = transaction
    try:
        yield
    finally:
        del database.transaction


# What a request names, by route: query, body. `{TEAM}` is filled with an object of one's own organization, of
# another one, and with one that does not exist. None: the route names no object.
Request = tuple[dict[str, Any], dict[str, Any]] | None
REQUESTS: dict[str, Request] = {
    "POST /key/generate": ({}, {"team_id": "{TEAM}"}),
    "POST /key/service-account/generate": ({}, {"team_id": "{TEAM}"}),
    "GET /key/list": None,
    "GET /key/aliases": None,
    "POST /v2/key/info": ({}, {"keys": ["{KEY}"]}),
    "POST /key/update": ({}, {"key": "{KEY}", "rpm_limit": 5}),
    "POST /key/bulk_update": None,
    "POST /key/delete": ({}, {"keys": ["{KEY}"]}),
    "POST /key/block": ({}, {"key": "{KEY}"}),
    "POST /key/unblock": ({}, {"key": "{KEY}"}),
    "POST /key/regenerate": ({}, {"key": "{KEY}"}),
    "POST /key/{key}/regenerate": ({}, {}),
    "POST /key/{key}/reset_spend": ({}, {}),
    "POST /organization/new": None,
    "GET /organization/info": ({"organization_id": "{ORG}"}, {}),
    "POST /organization/info": ({}, {"organizations": ["{ORG}"]}),
    "GET /organization/list": None,
    "PATCH /organization/update": ({}, {"organization_id": "{ORG}", "organization_alias": "x"}),
    "PATCH /v2/organization/{organization_id}": ({}, {"organization_alias": "x"}),
    "DELETE /organization/delete": ({}, {"organization_ids": ["{ORG}"]}),
    "POST /organization/member_add": (
        {},
        {"organization_id": "{ORG}", "member": {"role": "viewer", "user_id": "caller_team_member"}},
    ),
    "PATCH /organization/member_update": ({}, {"organization_id": "{ORG}", "user_id": "{USER}"}),
    "DELETE /organization/member_delete": ({}, {"organization_id": "{ORG}", "user_id": "{USER}"}),
    "POST /team/new": ({}, {"organization_id": "{ORG}"}),
    "POST /team/update": ({}, {"team_id": "{TEAM}", "team_alias": "x"}),
    "PATCH /team/{team_id}": ({}, {"team_alias": "x"}),
    "POST /team/delete": ({}, {"team_ids": ["{TEAM}"]}),
    "POST /team/{team_id}/restore": None,
    "GET /team/info": ({"team_id": "{TEAM}"}, {}),
    "GET /team/list": None,
    "GET /v2/team/list": None,
    "GET /team/available": None,
    "POST /team/block": ({}, {"team_id": "{TEAM}"}),
    "POST /team/unblock": ({}, {"team_id": "{TEAM}"}),
    "POST /team/model/add": ({}, {"team_id": "{TEAM}", "models": ["a"]}),
    "POST /team/model/delete": ({}, {"team_id": "{TEAM}", "models": ["a"]}),
    "GET /team/permissions_list": ({"team_id": "{TEAM}"}, {}),
    "POST /team/permissions_update": ({}, {"team_id": "{TEAM}", "team_member_permissions": []}),
    "POST /team/member_add": ({}, {"team_id": "{TEAM}", "member": {"role": "user", "user_id": "{SPARE}"}}),
    "POST /team/bulk_member_add": (
        {},
        {"team_id": "{TEAM}", "members": [{"role": "user", "user_id": "{SPARE}"}]},
    ),
    "POST /team/member_update": ({}, {"team_id": "{TEAM}", "user_id": "{USER}"}),
    "POST /team/member_delete": ({}, {"team_id": "{TEAM}", "user_id": "{USER}"}),
    "GET /team/{team_id}/members/me": None,
    "POST /team/{team_id}/member/{user_id}/reset_spend": ({}, {}),
    "POST /project/new": ({}, {"team_id": "{TEAM}"}),
    "POST /project/update": ({}, {"project_id": "{PROJECT}", "description": "x"}),
    "DELETE /project/delete": ({}, {"project_ids": ["{PROJECT}"]}),
    "GET /project/info": ({"project_id": "{PROJECT}"}, {}),
    "GET /project/list": None,
    "POST /user/new": ({}, {"organizations": ["{ORG}"]}),
    "GET /user/info": ({"user_id": "{USER}"}, {}),
    "GET /v2/user/info": ({"user_id": "{USER}"}, {}),
    "POST /user/update": ({}, {"user_id": "{USER}", "user_alias": "x"}),
    "POST /user/bulk_update": None,
    "POST /user/delete": ({}, {"user_ids": ["{USER}"]}),
    "POST /user/{user_id}/restore": None,
    "GET /user/list": None,
    "GET /user/available_roles": None,
    "GET /role/list": None,
    "POST /role/new": ({}, {"organization_id": "{ORG}", "name": "r", "permissions": []}),
    "POST /role/{role_id}/update": ({}, {"permissions": []}),
    "DELETE /role/{role_id}": ({}, {}),
    "GET /v1/auth/key": None,
    "POST /v1/auth/key/generate": ({}, {"team_id": "{TEAM}"}),
    "GET /v1/auth/key/{key_id}": ({}, {}),
    "PATCH /v1/auth/key/{key_id}": ({}, {"rpm_limit": 5}),
    "DELETE /v1/auth/key/{key_id}": ({}, {}),
    "POST /v1/auth/key/{key_id}/restore": None,
    "GET /v1/users": None,
    "POST /v1/users": ({}, {"organizations": ["{ORG}"]}),
    "GET /v1/users/{user_id}": ({}, {}),
    "PATCH /v1/users/{user_id}": ({}, {"user_alias": "x"}),
    "DELETE /v1/users/{user_id}": ({}, {}),
    "POST /v1/users/{user_id}/restore": None,
    "GET /v1/users/{user_id}/spending": ({}, {}),
    "GET /v1/teams": None,
    "POST /v1/teams": ({}, {"organization_id": "{ORG}"}),
    "GET /v1/teams/{team_id}": ({}, {}),
    "PATCH /v1/teams/{team_id}": ({}, {"team_alias": "x"}),
    "DELETE /v1/teams/{team_id}": ({}, {}),
    "POST /v1/teams/{team_id}/restore": None,
    "GET /v1/teams/{team_id}/spending": ({}, {}),
    "POST /organization/restore": None,
    "POST /project/restore": None,
    "POST /budget/restore": None,
    "POST /customer/restore": None,
    "POST /tag/restore": None,
    "POST /access_group/restore": None,
    # Of the operator alone: they name nothing of a tenant.
    "GET /v1/limits": None,
    "GET /v1/limits/{id}": None,
    "GET /v1/providers": None,
    "POST /v1/providers": None,
    "GET /v1/providers/{name}": None,
    "PATCH /v1/providers/{name}": None,
    "DELETE /v1/providers/{name}": None,
    "POST /model/new": None,
    "POST /model/update": None,
    "PATCH /model/{model_id}/update": None,
    "POST /model/delete": None,
    "POST /model/block": None,
    "POST /model/unblock": None,
    "GET /v1/spend": ({"organization": "{ORG}"}, {}),
    "GET /v1/bills": None,
    "GET /spend/logs": None,
    "GET /spend/logs/v2": None,
    "GET /spend/logs/ui": None,
    "GET /global/spend": None,
    "GET /global/spend/keys": None,
    "GET /global/spend/models": None,
    "GET /global/spend/teams": None,
    "GET /global/spend/provider": None,
    "GET /global/spend/report": None,
    "GET /global/activity": None,
    "GET /global/models/ending": None,
    "GET /spend/keys": None,
    "GET /spend/users": None,
    "POST /spend/calculate": None,
    "GET /key/spend/report": None,
    "GET /user/spend/report": None,
    "GET /team/spend/report": None,
    "GET /organization/spend/report": None,
    "GET /global/spend/tags": None,
    "GET /global/spend/logs": None,
    "GET /global/activity/model": None,
    "GET /spend/tags": None,
    **{f"GET /tag/{path}": None for path in ("distinct", "dau", "wau", "mau", "summary")},
    "GET /audit": None,
    "GET /audit/verify": None,
    "GET /audit/{id}": None,
    **{
        f"GET {prefix}/daily/activity{whole}": None
        for prefix in ("/user", "/team", "/organization", "/customer", "/end_user", "/tag")
        for whole in ("", "/aggregated")
    },
    "POST /budget/new": ({}, {"organization_id": "{ORG}"}),
    "POST /budget/update": ({}, {"budget_id": "{BUDGET}", "max_budget": 1}),
    "POST /budget/info": None,
    "GET /budget/settings": ({"budget_id": "{BUDGET}"}, {}),
    "GET /budget/list": None,
    "POST /budget/delete": ({}, {"id": "{BUDGET}"}),
    "POST /tag/new": ({}, {"organization_id": "{ORG}", "name": "t"}),
    "POST /tag/update": ({}, {"name": "{TAG}", "description": "x"}),
    "POST /tag/info": None,
    "GET /tag/list": None,
    "POST /tag/delete": ({}, {"name": "{TAG}"}),
    "POST /access_group/new": ({}, {"organization_id": "{ORG}", "access_group": "g", "model_names": ["a"]}),
    "GET /access_group/list": None,
    "GET /access_group/{access_group}/info": ({}, {}),
    "PUT /access_group/{access_group}/update": ({}, {"model_names": ["b"]}),
    "DELETE /access_group/{access_group}/delete": ({}, {}),
    "POST /v1/access_group": ({}, {"organization_id": "{ORG}", "access_group_name": "g"}),
    "GET /v1/access_group": None,
    "GET /v1/access_group/{access_group_id}": ({}, {}),
    "PUT /v1/access_group/{access_group_id}": ({}, {"description": "x"}),
    "DELETE /v1/access_group/{access_group_id}": ({}, {}),
    **{
        f"{method} {prefix}/{action}": request
        for prefix in ("/customer", "/end_user")
        for method, action, request in (
            ("POST", "new", ({}, {"organization_id": "{ORG}", "user_id": "c"})),
            ("POST", "update", ({}, {"user_id": "{CUSTOMER}", "alias": "x"})),
            ("GET", "info", ({"end_user_id": "{CUSTOMER}"}, {})),
            ("GET", "list", None),
            ("POST", "delete", ({}, {"user_ids": ["{CUSTOMER}"]})),
            ("POST", "block", ({}, {"organization_id": "{ORG}", "user_ids": ["c"]})),
            ("POST", "unblock", ({}, {"user_ids": ["{CUSTOMER}"]})),
        )
    },
}
# The placeholder behind a captured part of a path.
CAPTURED = {
    "{key}": "{KEY}",
    "{key_id}": "{KEY_ID}",
    "{organization_id}": "{ORG}",
    "{team_id}": "{TEAM}",
    "{user_id}": "{USER}",
    "{role_id}": "{ROLE_ID}",
    "{access_group}": "{GROUP}",
    "{access_group_id}": "{GROUP_ID}",
}
