"""Budgets of teams, users, customers and keys over HTTP: what management says, nobody spends beyond."""

from collections.abc import Iterator

import pytest
from tests.harness import Gateway, MockProvider
from tests.harness.tenants import ask, code, manage, team_key, tenants_config


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), tenants_config(provider)) as running:
        yield running


def test_a_team_shares_one_budget(gateway: Gateway) -> None:
    gateway.call("/team/new", {"team_id": "t3", "max_budget": 3})
    one, two = team_key(gateway, "t3"), team_key(gateway, "t3", max_budget=2)
    assert [ask(gateway, two).status_code for _ in range(3)] == [200, 200, 422]
    assert [ask(gateway, one).status_code for _ in range(2)] == [200, 422]
    spend = gateway.call("/team/info", team_id="t3")["team_info"]["spend"]
    assert spend == 3
    gateway.call("/team/update", {"team_id": "t3", "max_budget": 4})
    assert ask(gateway, one).status_code == 200
    assert ask(gateway, one).status_code == 422


def test_budgets_by_id(gateway: Gateway) -> None:
    gateway.call("/budget/new", {"budget_id": "small", "max_budget": 1, "budget_duration": "30d"})
    key = gateway.mint(budget_id="small").secret
    assert [ask(gateway, key).status_code for _ in range(2)] == [200, 422]
    gateway.call("/budget/update", {"budget_id": "small", "max_budget": 2})
    assert [ask(gateway, key).status_code for _ in range(2)] == [200, 422]
    refused = gateway.http.post("/budget/delete", json={"id": "small"}, headers=gateway.admin)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "budget_in_use")
    token = gateway.call("/key/info", key=key)["info"]["key_id"]
    assert token
    reset = gateway.http.post(f"/key/{key}/reset_spend", json={"reset_to": 0}, headers=gateway.admin)
    assert (reset.json()["spend"], reset.json()["previous_spend"]) == (0, 2)
    assert ask(gateway, key).status_code == 200


def test_customers(gateway: Gateway) -> None:
    key = gateway.mint().secret
    gateway.call("/customer/new", {"user_id": "ann", "max_budget": 1})
    assert ask(gateway, key, user="ann").status_code == 200
    assert ask(gateway, key, user="ann").status_code == 422
    assert ask(gateway, key, user="bob").status_code == 200
    gateway.call("/customer/block", {"user_ids": ["bob"]})
    assert not ask(gateway, key, user="bob").is_success
    gateway.call("/end_user/unblock", {"user_ids": ["bob"]})
    assert ask(gateway, key, user="bob").status_code == 200
    assert gateway.call("/customer/info", end_user_id="ann")["spend"] == 1


def test_customers_of_organizations_are_their_own(gateway: Gateway) -> None:
    for org in ("oc1", "oc2"):
        gateway.call("/organization/new", {"organization_id": org, "organization_alias": org})
    gateway.call("/customer/new", {"user_id": "same", "organization_id": "oc1", "max_budget": 1})
    one = gateway.call("/key/generate", {"organization_id": "oc1"})["key"]
    two = gateway.call("/key/generate", {"organization_id": "oc2"})["key"]
    assert [ask(gateway, two, user="same").status_code for _ in range(3)] == [200] * 3
    assert [ask(gateway, one, user="same").status_code for _ in range(2)] == [200, 422]


def test_self_service(gateway: Gateway) -> None:
    made = gateway.call("/user/new", {"user_id": "self", "user_email": "Self@example.org", "max_budget": 2})
    own = made["key"]
    assert manage(gateway, own, "GET", "/user/info").json()["user_info"]["user_email"] == "self@example.org"
    second = manage(gateway, own, "POST", "/key/generate", {"key_alias": "mine", "max_budget": 1_000})
    assert second.status_code == 200
    assert second.json()["user_id"] == "self"
    # The user's budget holds for every key he makes.
    assert [ask(gateway, second.json()["key"]).status_code for _ in range(3)] == [200, 200, 422]
    assert manage(gateway, own, "GET", "/key/list").json()["total_count"] == 2
    for path, body in (
        ("/user/update", {"user_id": "self", "user_role": "proxy_admin"}),
        ("/user/update", {"user_id": "self", "max_budget": 1_000}),
        ("/team/new", {"team_id": "mine"}),
        ("/key/generate", {"user_id": "self", "organization_id": "o1"}),
        ("/key/generate", {"user_id": "u4"}),
    ):
        assert manage(gateway, own, "POST", path, body).status_code in (403, 404), path
    assert manage(gateway, own, "POST", "/key/delete", {"key_aliases": ["mine"]}).status_code == 200


def test_everything_is_there_after_a_restart(gateway: Gateway) -> None:
    gateway.call("/team/new", {"team_id": "t7", "models": ["m"]})
    key = team_key(gateway, "t7", max_budget=2)
    assert ask(gateway, key).status_code == 200
    gateway.restart()
    assert ask(gateway, key).status_code == 200
    assert ask(gateway, key, "org/one").status_code == 403
    assert gateway.call("/key/info", key=key)["info"]["spend"] == 2
    assert gateway.call("/team/info", team_id="t7")["team_info"]["models"] == ["m"]


def test_customers_tags_and_members_have_further_limits(gateway: Gateway) -> None:
    one = [{"requests": 1, "per": "1h"}]
    gateway.call("/customer/new", {"user_id": "narrow", "limits": one})
    key = gateway.mint().secret
    assert [ask(gateway, key, user="narrow").status_code for _ in range(2)] == [200, 429]
    gateway.call("/tag/new", {"name": "narrow", "limits": one})
    tagged = gateway.mint(tags=["narrow"]).secret
    assert [ask(gateway, tagged).status_code for _ in range(2)] == [200, 429]
    gateway.call("/team/new", {"team_id": "narrow"})
    gateway.call("/user/new", {"user_id": "narrow", "auto_create_key": False})
    gateway.call("/team/member_add", {"team_id": "narrow", "member": {"user_id": "narrow", "role": "user"}})
    gateway.call("/team/member_update", {"team_id": "narrow", "user_id": "narrow", "limits": one})
    member = team_key(gateway, "narrow", user_id="narrow")
    assert [ask(gateway, member).status_code for _ in range(2)] == [200, 429]
    assert ask(gateway, team_key(gateway, "narrow")).status_code == 200


def test_only_the_assumed_length_bends_to_a_limit(gateway: Gateway) -> None:
    # One dollar a request is known, whatever the length of the answer.
    dear = gateway.mint(max_budget=0.5).secret
    assert code(ask(gateway, dear)) == (422, "budget_exceeded")
    long = [{"role": "user", "content": "word " * 2_000}]
    for settings in ({"tpm_limit": 500}, {"limits": [{"input_tokens": 500, "per": "1m"}]}):
        key = gateway.mint(**settings).secret
        assert code(ask(gateway, key, "org/one", messages=long)) == (429, "rate_limit_exceeded"), settings
        assert ask(gateway, key, "org/one").status_code == 200, "its assumed length alone is more"
