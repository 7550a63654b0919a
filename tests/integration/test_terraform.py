"""What the community Terraform provider for LiteLLM sends and reads, resource by resource: made, read,
changed, read again, deleted, gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from tests.harness.gateway import Gateway
from tests.harness.provider import MockProvider
from tests.harness.tenants import tenants_config

Ask = tuple[str, str, Any]


class Resource(NamedTuple):
    """Requests as method, path and body; `{id}` is what `named` picks out of the first answer. `shown`: where
    the answer to `read` has the resource. `first`, `then`: fields as they must read, before and after.
    """

    name: str
    create: Ask
    named: str
    read: Ask
    shown: str
    first: dict[str, Any]
    update: Ask
    then: dict[str, Any]
    delete: Ask
    gone: int = 404


MODEL = {
    "model_name": "tf-model",
    "litellm_params": {
        "custom_llm_provider": "openai",
        "model": "openai/gpt-4o",
        "input_cost_per_token": 0.00003,
        "output_cost_per_token": 0.00006,
        "tpm": 100_000,
        "rpm": 1_000,
        "api_key": "sk-terraform-secret",
        "merge_reasoning_content_in_choices": False,
    },
    "model_info": {"id": "tf-1", "db_model": True, "base_model": "gpt-4o", "tier": "paid", "mode": "chat"},
}
RESOURCES = [
    Resource(
        "litellm_model",
        ("POST", "/model/new", MODEL),
        "model_id",
        ("GET", "/model/info?litellm_model_id={id}", None),
        "data.0",
        {
            "model_name": "tf-model",
            "litellm_params.custom_llm_provider": "openai",
            "litellm_params.tpm": 100_000,
            "litellm_params.rpm": 1_000,
            "model_info.base_model": "gpt-4o",
            "model_info.tier": "paid",
            "model_info.mode": "chat",
            "model_info.db_model": True,
        },
        (
            "PATCH",
            "/model/{id}/update",
            {"litellm_params": {"rpm": 50}, "model_info": {"id": "tf-1", "tier": "free"}},
        ),
        {"litellm_params.rpm": 50, "litellm_params.tpm": 100_000, "model_info.tier": "free"},
        ("POST", "/model/delete", {"id": "{id}"}),
    ),
    Resource(
        "litellm_key",
        (
            "POST",
            "/key/generate",
            {
                "key_alias": "tf-key",
                "models": ["m"],
                "max_budget": 100.0,
                "tpm_limit": 50_000,
                "rpm_limit": 200,
                "budget_duration": "30d",
                "max_parallel_requests": 10,
                "soft_budget": 80.0,
                "duration": "90d",
                "blocked": False,
                "allowed_passthrough_routes": [],
                "guardrails": [],
                "prompts": [],
                "enforced_params": [],
                "metadata": {"environment": "testing", "owner": "terraform"},
                "aliases": {},
                "config": {},
                "permissions": {},
            },
        ),
        "key",
        ("GET", "/key/info?key={id}", None),
        "info",
        {
            "key_alias": "tf-key",
            "models": ["m"],
            "max_budget": 100.0,
            "tpm_limit": 50_000,
            "rpm_limit": 200,
            "budget_duration": "30d",
            "max_parallel_requests": 10,
            "metadata.owner": "terraform",
            "blocked": False,
        },
        ("POST", "/key/update", {"key": "{id}", "max_budget": 50.0, "metadata": {"owner": "ops"}}),
        {"max_budget": 50.0, "metadata.owner": "ops", "rpm_limit": 200},
        ("POST", "/key/delete", {"keys": ["{id}"]}),
        # A deleted key is told from the archive, as LiteLLM does.
        200,
    ),
    Resource(
        "litellm_team",
        (
            "POST",
            "/team/new",
            {
                "team_id": "tf-team",
                "team_alias": "Terraform",
                "models": ["m"],
                "max_budget": 1_000.0,
                "budget_duration": "30d",
                "tpm_limit": 1_000,
                "rpm_limit": 60,
                "metadata": {"cost_center": "42"},
                "blocked": False,
            },
        ),
        "team_id",
        ("GET", "/team/info?team_id={id}", None),
        "team_info",
        {"team_alias": "Terraform", "models": ["m"], "max_budget": 1_000.0, "metadata.cost_center": "42"},
        ("POST", "/team/update", {"team_id": "{id}", "team_alias": "Renamed", "max_budget": 500.0}),
        {"team_alias": "Renamed", "max_budget": 500.0, "rpm_limit": 60},
        ("POST", "/team/delete", {"team_ids": ["{id}"]}),
    ),
    Resource(
        "litellm_user",
        (
            "POST",
            "/user/new",
            {
                "user_id": "tf-user",
                "user_email": "tf@example.com",
                "user_alias": "tf",
                "user_role": "internal_user",
                "max_budget": 10.0,
                "auto_create_key": False,
            },
        ),
        "user_id",
        ("GET", "/user/info?user_id={id}", None),
        "user_info",
        {"user_email": "tf@example.com", "user_role": "internal_user", "max_budget": 10.0},
        ("POST", "/user/update", {"user_id": "{id}", "user_alias": "changed"}),
        {"user_alias": "changed", "user_email": "tf@example.com"},
        ("POST", "/user/delete", {"user_ids": ["{id}"]}),
    ),
    Resource(
        "litellm_organization",
        (
            "POST",
            "/organization/new",
            {
                "organization_id": "tf-org",
                "organization_alias": "Org",
                "models": ["m"],
                "max_budget": 5_000.0,
                "budget_duration": "30d",
            },
        ),
        "organization_id",
        ("GET", "/organization/info?organization_id={id}", None),
        "",
        {"organization_alias": "Org", "models": ["m"], "litellm_budget_table.max_budget": 5_000.0},
        ("PATCH", "/organization/update", {"organization_id": "{id}", "organization_alias": "New"}),
        {"organization_alias": "New", "models": ["m"]},
        ("DELETE", "/organization/delete", {"organization_ids": ["{id}"]}),
    ),
    Resource(
        "litellm_credential",
        (
            "POST",
            "/credentials",
            {
                "credential_name": "tf-credential",
                "credential_values": {"api_key": "sk-terraform-secret"},
                "credential_info": {"description": "by terraform"},
            },
        ),
        "=tf-credential",
        ("GET", "/credentials/by_name/{id}", None),
        "",
        {"credential_name": "tf-credential", "credential_info.description": "by terraform"},
        ("PATCH", "/credentials/{id}", {"credential_info": {"description": "changed"}}),
        {"credential_info.description": "changed"},
        ("DELETE", "/credentials/{id}", None),
    ),
    Resource(
        "litellm_tag",
        ("POST", "/tag/new", {"name": "tf-tag", "description": "one", "max_budget": 5.0}),
        "=tf-tag",
        ("POST", "/tag/info", {"names": ["{id}"]}),
        "tf-tag",
        {"description": "one"},
        ("POST", "/tag/update", {"name": "{id}", "description": "two"}),
        {"description": "two"},
        ("POST", "/tag/delete", {"name": "{id}"}),
    ),
    Resource(
        "litellm_budget",
        (
            "POST",
            "/budget/new",
            {
                "budget_id": "tf-budget",
                "max_budget": 1_000.0,
                "soft_budget": 800.0,
                "max_parallel_requests": 20,
                "tpm_limit": 100_000,
                "rpm_limit": 1_000,
                "budget_duration": "30d",
            },
        ),
        "budget_id",
        ("POST", "/budget/info", {"budgets": ["{id}"]}),
        "0",
        {"max_budget": 1_000.0, "soft_budget": 800.0, "rpm_limit": 1_000, "budget_duration": "30d"},
        ("POST", "/budget/update", {"budget_id": "{id}", "max_budget": 10.0}),
        {"max_budget": 10.0, "soft_budget": 800.0},
        ("POST", "/budget/delete", {"id": "{id}"}),
    ),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("terraform")
    with MockProvider(directory / "provider") as provider:
        with Gateway(directory / "gateway", tenants_config(provider)) as started:
            yield started


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_a_resource_lives(gateway: Gateway, resource: Resource) -> None:
    made = _send(gateway, resource.create, "")
    assert made.is_success, made.text
    name = resource.named.removeprefix("=") if resource.named[0] == "=" else made.json()[resource.named]
    for change, wanted in ((None, resource.first), (resource.update, resource.then)):
        if change is not None:
            changed = _send(gateway, change, name)
            assert changed.is_success, changed.text
        read = _send(gateway, resource.read, name)
        assert read.is_success, read.text
        assert "sk-terraform-secret" not in read.text
        shown = _at(read.json(), resource.shown)
        assert {path: _at(shown, path) for path in wanted} == wanted
    deleted = _send(gateway, resource.delete, name)
    assert deleted.is_success, deleted.text
    after = _send(gateway, resource.read, name)
    # Lists by name answer with what is left of them.
    assert after.status_code == resource.gone or after.json() in ([], {}), after.text


def _send(gateway: Gateway, ask: Ask, name: str) -> httpx.Response:
    method, path, body = ask
    return gateway.http.request(
        method, path.replace("{id}", name), json=_filled(body, name), headers=gateway.admin
    )


def _filled(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(part, name) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, name) for part in value]
    return value.replace("{id}", name) if isinstance(value, str) else value


def _at(value: Any, path: str) -> Any:
    for part in path.split(".") if path else ():
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
