"""Policies of an organization, a team, a project, a user and a key: all that stand above hold below, in the
order of their priority, whatever is attached to whom.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

LEVELS = ["organization", "team", "project", "user", "key"]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    names = ["heritage", "other"]
    config = make_config(
        *(make_model(name, make_deployment(provider, model=name), policies=[]) for name in names),
        policies=[{"name": "everybody", "priority": 9, "then": [{"log": {"message": "everybody"}}]}],
        defaults={"policies": ["everybody"]},
    )
    with Gateway(tmp_path_factory.mktemp("heritage"), config) as running:
        yield running


@pytest.fixture(scope="module")
def family(gateway: Gateway) -> tuple[dict[str, str], Key]:
    """An organization with a team, a project in it, a user, and a key that belongs to all of them."""
    gateway.call("/organization/new", {"organization_id": "heir-org", "organization_alias": "Heirs"})
    gateway.call("/team/new", {"team_id": "heir-team", "organization_id": "heir-org"})
    gateway.call("/project/new", {"project_id": "heir-project", "team_id": "heir-team"})
    gateway.call("/user/new", {"user_id": "heir-user", "auto_create_key": False})
    gateway.call(
        "/team/member_add", {"team_id": "heir-team", "member": {"role": "user", "user_id": "heir-user"}}
    )
    key = gateway.mint(team_id="heir-team", project_id="heir-project", user_id="heir-user")
    ids = {
        "organization": "heir-org",
        "team": "heir-team",
        "project": "heir-project",
        "user": "heir-user",
        "key": key.id,
    }
    return ids, key


def put(gateway: Gateway, name: str, policy: dict[str, Any]) -> None:
    answer = gateway.http.put(f"/policies/{name}", json={"policy": policy}, headers=gateway.admin)
    assert answer.status_code == 200, answer.text


def held(gateway: Gateway, key: Key, model: str = "heritage") -> list[str]:
    """Policies that acted, in their order."""
    answer = gateway.http.post("/v1/chat/completions", json=chat(model), headers=key.bearer)
    assert answer.status_code == 200, answer.text
    return [part.split(";")[0] for part in answer.headers.get("x-ailink-policies", "").split(", ") if part]


def test_all_that_stand_above_hold_below_in_their_order(
    gateway: Gateway, family: tuple[dict[str, str], Key]
) -> None:
    ids, key = family
    # The lowest first: the order is that of priorities and not of levels.
    for priority, level in enumerate(reversed(LEVELS)):
        attach = {f"{level}s": [ids[level]]}
        put(gateway, f"of-{level}", {
            "priority": priority, "attach": attach, "then": [{"log": {"message": level}}],
        })  # fmt: skip
    put(gateway, "of-model", {
        "priority": 7, "attach": {"models": ["heritage"]}, "then": [{"log": {"message": "model"}}],
    })  # fmt: skip
    put(gateway, "of-route", {
        "priority": 8, "attach": {"routes": ["chat"]}, "then": [{"log": {"message": "route"}}],
    })  # fmt: skip
    expected = ["of-key", "of-user", "of-project", "of-team", "of-organization", "of-model", "of-route"]
    assert held(gateway, key) == [*expected, "everybody"]
    assert held(gateway, key, "other") == [one for one in [*expected, "everybody"] if one != "of-model"]
    # Somebody of the same organization, in another team, without a project.
    gateway.call("/team/new", {"team_id": "heir-cousins", "organization_id": "heir-org"})
    cousin, stranger = gateway.mint(team_id="heir-cousins"), gateway.mint()
    assert held(gateway, cousin) == ["of-organization", "of-model", "of-route", "everybody"]
    assert held(gateway, stranger) == ["of-model", "of-route", "everybody"]


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_below_takes_away_what_stands_above(
    gateway: Gateway, family: tuple[dict[str, str], Key], level: str
) -> None:
    ids, key = family
    deny = {"deny": {"status": 451, "message": f"closed for the {level}"}}
    put(gateway, "closed", {"priority": 20, "attach": {f"{level}s": [ids[level]]}, "then": [deny]})
    # A member of the request cannot say otherwise.
    body = chat("heritage", metadata={"policies": [], "guardrails": []}, policies=[])
    refused = gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer)
    assert (refused.status_code, refused.json()["error"]["message"]) == (451, f"closed for the {level}")
    assert gateway.http.delete("/policies/closed", headers=gateway.admin).status_code == 200
    assert held(gateway, key)
