"""Calls that tools written for LiteLLM's management API make, in order: statuses and the fields they read."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model


class Sent(NamedTuple):
    """One call. `{name}` in paths, queries and bodies stands for a value that an earlier answer gave; `keep`
    gives a name to a value of this answer.
    """

    method: str
    path: str
    body: Any = None
    status: int = 200
    fields: str = ""
    keep: dict[str, str] = {}


KEY_FIELDS = (
    "key token token_id key_name key_alias expires models spend max_budget user_id team_id "
    "max_parallel_requests metadata tpm_limit rpm_limit budget_duration budget_id blocked aliases config "
    "permissions created_at updated_at created_by litellm_budget_table tags"
)
TEAM_FIELDS = (
    "team_id team_alias organization_id admins members members_with_roles metadata tpm_limit rpm_limit "
    "max_budget budget_duration models blocked spend created_at updated_at budget_reset_at"
)
USER_FIELDS = "user_id user_email user_alias user_role spend max_budget models teams created_at updated_at"
ORG_FIELDS = (
    "organization_id organization_alias budget_id spend metadata models created_by updated_by members teams "
    "litellm_budget_table created_at updated_at"
)
ACTIVITY = "results metadata.total_spend metadata.total_tokens metadata.total_api_requests metadata.has_more"

CALLS = [
    # Keys
    Sent("POST", "/key/generate", {}, fields=KEY_FIELDS, keep={"plain": "key", "hash": "token"}),
    Sent(
        "POST",
        "/key/generate",
        {
            "key_alias": "app",
            "duration": "30d",
            "models": ["m"],
            "max_budget": 10.5,
            "budget_duration": "30d",
            "tpm_limit": 100_000,
            "rpm_limit": 100,
            "max_parallel_requests": 10,
            "metadata": {"team": "core"},
            "tags": ["prod"],
            "model_max_budget": {"m": {"max_budget": 1, "budget_duration": "1d"}},
            "soft_budget": 5,
        },
        fields=KEY_FIELDS,
        keep={"app": "key"},
    ),
    Sent(
        "GET",
        "/key/info?key={app}",
        fields="key info.key_alias info.models info.spend info.max_budget info.status",
    ),
    Sent("GET", "/key/info?key={hash}", fields="key info.key_name info.spend"),
    Sent(
        "GET", "/key/info?key=sk-unknown-0000000000", status=404, fields="error.message error.type error.code"
    ),
    Sent("POST", "/v2/key/info", {"keys": ["{app}", "{plain}"]}, fields="key info.0.spend info.1.token"),
    Sent("POST", "/key/update", {"key": "{app}", "max_budget": 20}, fields="key max_budget models spend"),
    Sent("POST", "/key/update", {"key": "{app}", "duration": "-1"}, fields="key expires"),
    Sent(
        "POST",
        "/key/bulk_update",
        {"keys": [{"key": "{app}", "tags": ["a"]}, {"key": "sk-none-0000000000"}]},
        fields="total_requested successful_updates.0.key failed_updates.0.failed_reason",
    ),
    Sent("POST", "/key/block", {"key": "{app}"}, fields="token blocked"),
    Sent("POST", "/key/unblock", {"key": "{app}"}, fields="token blocked"),
    Sent("GET", "/key/list?page=1&size=10", fields="keys.0 total_count current_page total_pages"),
    Sent(
        "GET",
        "/key/list?return_full_object=true&sort_by=created_at&sort_order=desc&include_team_keys=true",
        fields="keys.0.token keys.0.key_alias keys.0.spend total_count",
    ),
    Sent("GET", "/key/aliases", fields="aliases.0 total_count current_page total_pages size"),
    Sent("POST", "/key/regenerate", {"key": "{plain}"}, fields=KEY_FIELDS, keep={"plain": "key"}),
    Sent("POST", "/key/regenerate?key={plain}", fields=KEY_FIELDS, keep={"plain": "key"}),
    Sent("POST", "/key/regenerate", {}, status=400, fields="error.param"),
    Sent("POST", "/key/{plain}/regenerate", {"grace_period": "1h"}, fields=KEY_FIELDS, keep={"plain": "key"}),
    Sent(
        "POST",
        "/key/{plain}/reset_spend",
        {"reset_to": 0},
        fields="key_hash spend previous_spend max_budget budget_reset_at",
    ),
    Sent("POST", "/key/health", {}, fields="key logging_callbacks"),
    Sent("POST", "/key/generate", {"max_budget": -1}, status=400, fields="error.message error.param"),
    Sent("POST", "/key/generate", {"team_id": "none"}, status=404, fields="error.message error.code"),
    Sent("POST", "/key/generate", {"key_alias": "app"}, status=400, fields="error.message"),
    # Budgets
    Sent(
        "POST",
        "/budget/new",
        {"budget_id": "b1", "max_budget": 5, "budget_duration": "7d"},
        fields="budget_id max_budget budget_duration soft_budget tpm_limit rpm_limit created_at",
    ),
    Sent("POST", "/budget/update", {"budget_id": "b1", "max_budget": 6}, fields="budget_id max_budget"),
    Sent("POST", "/budget/info", {"budgets": ["b1"]}, fields="0.budget_id 0.max_budget"),
    Sent("GET", "/budget/settings?budget_id=b1", fields="0.field_name 0.field_type 0.field_value"),
    Sent("GET", "/budget/list", fields="0.budget_id"),
    # Organizations
    Sent(
        "POST",
        "/organization/new",
        {"organization_alias": "Acme", "organization_id": "acme", "max_budget": 100},
        fields=ORG_FIELDS,
    ),
    Sent("GET", "/organization/info?organization_id=acme", fields=ORG_FIELDS),
    Sent("POST", "/organization/info", {"organizations": ["acme"]}, fields="0.organization_id"),
    Sent("GET", "/organization/list", fields="0.organization_id 0.members"),
    Sent(
        "PATCH",
        "/organization/update",
        {"organization_id": "acme", "organization_alias": "Acme 2"},
        fields=ORG_FIELDS,
    ),
    # Users
    Sent(
        "POST",
        "/user/new",
        {"user_id": "ann", "user_email": "ann@example.org", "user_role": "internal_user"},
        fields=USER_FIELDS + " key",
        keep={"ann": "key"},
    ),
    Sent("POST", "/user/new", {"user_id": "ann"}, status=409, fields="error.message"),
    Sent(
        "POST", "/user/new", {"user_id": "bob", "auto_create_key": False, "max_budget": 3}, fields=USER_FIELDS
    ),
    Sent("GET", "/user/info?user_id=ann", fields="user_id user_info.user_email keys.0.token teams"),
    Sent("GET", "/v2/user/info?user_id=ann", fields=USER_FIELDS),
    Sent("POST", "/user/update", {"user_id": "ann", "max_budget": 7}, fields="user_id data.max_budget"),
    Sent("POST", "/user/update", {"user_id": "ann", "duration": None, "key_alias": None, "team_id": None}),
    Sent("POST", "/user/update", {"user_id": "ann", "duration": "1d"}, status=400, fields="error.param"),
    Sent(
        "POST",
        "/user/bulk_update",
        {"users": [{"user_id": "bob", "rpm_limit": 9}]},
        fields="results.0.success total_requested successful_updates failed_updates",
    ),
    Sent(
        "GET",
        "/user/list?page=1&page_size=25",
        fields="users.0.user_id users.0.key_count total page total_pages",
    ),
    Sent("GET", "/user/available_roles", fields="proxy_admin.ui_label internal_user.description"),
    # Teams
    Sent(
        "POST",
        "/team/new",
        {
            "team_alias": "core",
            "team_id": "core",
            "organization_id": "acme",
            "max_budget": 50,
            "members_with_roles": [{"role": "admin", "user_id": "ann"}],
        },
        fields=TEAM_FIELDS,
    ),
    Sent("POST", "/team/new", {"team_alias": "second"}, fields=TEAM_FIELDS, keep={"second": "team_id"}),
    Sent("POST", "/team/update", {"team_id": "core", "tpm_limit": 1000}, fields="team_id data.tpm_limit"),
    Sent(
        "GET",
        "/team/info?team_id=core",
        fields="team_id team_info.team_alias keys team_memberships.0.user_id",
    ),
    Sent("GET", "/team/info?team_id=none", status=404, fields="error.message"),
    Sent("GET", "/team/list", fields="0.team_id 0.members_with_roles"),
    Sent(
        "GET", "/v2/team/list?page=1&page_size=10", fields="teams.0.team_id total page page_size total_pages"
    ),
    Sent("GET", "/v2/team/list?search=core", fields="teams.0.team_id"),
    Sent("GET", "/v2/team/list?search=co&search_team_id_match=prefix", fields="teams.0.team_id"),
    Sent(
        "POST",
        "/team/member_add",
        {"team_id": "core", "member": {"role": "user", "user_id": "bob"}, "max_budget_in_team": 2},
        fields=TEAM_FIELDS + " updated_users.0.user_id updated_team_memberships.0.litellm_budget_table",
    ),
    Sent(
        "POST",
        "/team/member_add",
        {"team_id": "core", "member": {"role": "user", "user_id": "bob"}},
        status=400,
    ),
    Sent(
        "POST",
        "/team/member_update",
        {"team_id": "core", "user_id": "bob", "max_budget_in_team": 3},
        fields="team_id user_id max_budget_in_team",
    ),
    Sent("POST", "/team/model/add", {"team_id": "core", "models": ["m"]}, fields="team_id models.0"),
    Sent("POST", "/team/model/delete", {"team_id": "core", "models": ["m"]}, fields="team_id"),
    Sent("POST", "/team/block", {"team_id": "core"}, fields="team_id blocked"),
    Sent("POST", "/team/unblock", {"team_id": "core"}, fields="team_id blocked"),
    Sent(
        "GET",
        "/team/permissions_list?team_id=core",
        fields="team_id team_member_permissions all_available_permissions.0",
    ),
    Sent(
        "POST",
        "/team/permissions_update",
        {"team_id": "core", "team_member_permissions": ["/key/generate"]},
        fields=TEAM_FIELDS,
    ),
    Sent("POST", "/team/update", {"team_id": "core", "models": []}, fields="team_id"),
    Sent("POST", "/key/generate", {"team_id": "core"}, fields=KEY_FIELDS, keep={"core_key": "key"}),
    Sent("POST", "/key/service-account/generate", {"team_id": "core", "key_alias": "ci"}, fields=KEY_FIELDS),
    Sent("POST", "/v1/chat/completions as {core_key}", chat(), fields="choices usage.total_tokens"),
    Sent("POST", "/team/member_delete", {"team_id": "core", "user_id": "bob"}, fields="team_id"),
    # Projects, customers, tags, access groups
    Sent(
        "POST",
        "/project/new",
        {"project_alias": "web", "project_id": "web", "team_id": "core"},
        fields="project_id project_alias team_id spend models litellm_budget_table created_at",
    ),
    Sent(
        "POST", "/project/update", {"project_id": "web", "description": "x"}, fields="project_id description"
    ),
    Sent("GET", "/project/info?project_id=web", fields="project_id"),
    Sent("GET", "/project/list", fields="0.project_id"),
    Sent("DELETE", "/project/delete", {"project_ids": ["web"]}, fields="0.project_id"),
    Sent(
        "POST",
        "/customer/new",
        {"user_id": "cust", "budget_id": "b1"},
        fields="user_id blocked alias spend litellm_budget_table",
    ),
    Sent("GET", "/customer/info?end_user_id=cust", fields="user_id budget_id"),
    Sent("POST", "/end_user/update", {"user_id": "cust", "alias": "C"}, fields="alias"),
    Sent("GET", "/customer/list", fields="0.user_id"),
    Sent("POST", "/customer/block", {"user_ids": ["cust"]}, fields="blocked_users.0.user_id"),
    Sent("POST", "/customer/unblock", {"user_ids": ["cust"]}, fields="blocked_users"),
    Sent("POST", "/customer/delete", {"user_ids": ["cust"]}, fields="deleted_customers message"),
    Sent(
        "POST", "/tag/new", {"name": "prod", "description": "x", "max_budget": 9}, fields="message tag.name"
    ),
    Sent("POST", "/tag/update", {"name": "prod", "description": "y"}, fields="message tag.description"),
    Sent("POST", "/tag/info", {"names": ["prod"]}, fields="prod.description"),
    Sent("GET", "/tag/list", fields="0.name"),
    Sent("POST", "/tag/delete", {"name": "prod"}, fields="message"),
    Sent(
        "POST",
        "/access_group/new",
        {"access_group": "g", "model_names": ["m"]},
        fields="access_group model_names models_updated",
    ),
    Sent("GET", "/access_group/list", fields="access_groups.0.access_group"),
    Sent("GET", "/access_group/g/info", fields="access_group model_names deployment_count"),
    Sent(
        "POST",
        "/v1/access_group",
        {"access_group_name": "h", "access_model_names": ["m"]},
        status=201,
        fields="access_group_id access_group_name access_model_names assigned_team_ids created_at",
    ),
    # Models and spend
    Sent("GET", "/model/info", fields="data.0.model_name data.0.litellm_params.model data.0.model_info.id"),
    Sent("GET", "/v2/model/info?page=1&size=50&access_group=g&exclude_auto_routers=false", fields="data.0"),
    Sent("GET", "/v2/model/info?wildcard_only=true", fields="total_count"),
    Sent("GET", "/model/info", fields="data.0.model_info.id", keep={"deployment": "data.0.model_info.id"}),
    Sent("GET", "/health?model_id={deployment}", fields="healthy_endpoints.0.model_id healthy_count"),
    Sent(
        "POST",
        "/utils/token_counter?call_endpoint=false",
        {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]},
        fields="total_tokens count_source error",
    ),
    Sent("GET", "/global/spend", fields="spend max_budget"),
    Sent("GET", "/spend/logs", fields="0.request_id 0.spend 0.model 0.startTime 0.user 0.request_tags"),
    Sent(
        "GET",
        "/spend/logs?start_date=2026-01-01&end_date=2026-01-31",
        fields="30.startTime 30.spend 30.users 30.models",
    ),
    Sent("GET", "/spend/logs?user_id=ann&start_date=2026-01-01&end_date=2026-01-31&summarize=false"),
    Sent(
        "GET",
        "/spend/logs/v2?page=1&page_size=10&sort_by=startTime&sort_order=desc&status_filter=success",
        fields="data.0.request_id data.0.spend data.0.startTime total page page_size total_pages",
    ),
    Sent(
        "GET", "/spend/logs/ui?start_date=2026-01-01 00:00:00&team_id=core", fields="data.0.model_group total"
    ),
    Sent("GET", "/global/spend/teams", fields="daily_spend teams total_spend_per_team.0.value"),
    Sent("GET", "/global/spend/keys?limit=5", fields="0.api_key 0.total_spend"),
    Sent("GET", "/global/spend/models", fields="0.model 0.total_spend"),
    Sent("GET", "/global/spend/report?group_by=team", fields="0.group_by_day 0.teams.0.team_name"),
    Sent(
        "GET",
        "/global/spend/report?group_by=api_key",
        fields="0.api_key 0.total_cost 0.model_details.0.model",
    ),
    Sent("GET", "/global/activity", fields="daily_data sum_api_requests sum_total_tokens"),
    Sent("GET", "/global/activity/model", fields="0.model 0.daily_data 0.sum_api_requests"),
    Sent("GET", "/global/spend/logs", fields="0.date 0.spend"),
    Sent("GET", "/global/spend/tags?tags=a,b", fields="spend_per_tag"),
    Sent("GET", "/global/spend/all_tag_names", fields="tag_names"),
    Sent("GET", "/global/all_end_users", fields="end_users"),
    Sent("GET", "/spend/tags?start_date=2026-01-01&end_date=2026-01-31"),
    Sent("GET", "/customer/daily/activity", fields=ACTIVITY),
    Sent("GET", "/tag/daily/activity?timezone=0", fields=ACTIVITY),
    Sent("GET", "/user/daily/activity/aggregated", fields=ACTIVITY),
    Sent(
        "POST",
        "/spend/calculate",
        {"completion_response": {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}},
        fields="cost",
    ),
    Sent("GET", "/user/daily/activity", fields=ACTIVITY),
    Sent(
        "GET",
        "/team/daily/activity?team_ids=core",
        fields=ACTIVITY
        + " results.0.date results.0.metrics.spend results.0.breakdown.models.m.metrics.spend",
    ),
    Sent("POST", "/spend/calculate", {"model": "m", "prompt_tokens": 10}, fields="cost"),
    Sent("GET", "/health/readiness/details", fields="status db"),
    # Deletes
    Sent("POST", "/key/delete", {"keys": ["{plain}"]}, fields="deleted_keys.0"),
    Sent("POST", "/key/delete", {"keys": ["{plain}"]}, status=404),
    Sent(
        "DELETE", "/organization/delete", {"organization_ids": ["acme"]}, status=409, fields="error.message"
    ),
    Sent("POST", "/team/delete", {"team_ids": ["core", "{second}"]}),
    Sent("POST", "/user/delete", {"user_ids": ["ann", "bob"]}),
    Sent("POST", "/budget/delete", {"id": "b1"}, fields="budget_id"),
    Sent("DELETE", "/organization/delete", {"organization_ids": ["acme"]}, fields="0.organization_id"),
]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    price = {"input_per_million": 1, "output_per_million": 2}
    config = make_config(make_model("m", make_deployment(provider), price=price))
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def at(value: Any, path: str) -> Any:
    """The value at a dotted path. Raises LookupError."""
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def filled(template: Any, values: dict[str, str]) -> Any:
    if isinstance(template, str):
        for name, value in values.items():
            template = template.replace(f"{{{name}}}", value)
        return template
    if isinstance(template, dict):
        return {name: filled(value, values) for name, value in template.items()}
    return [filled(value, values) for value in template] if isinstance(template, list) else template


def test_replay(gateway: Gateway) -> None:
    """Every call is made; all that went wrong is told at once."""
    kept: dict[str, str] = {}
    faults = []
    for number, sent in enumerate(CALLS):
        path, _, key = filled(sent.path, kept).partition(" as ")
        headers = {"Authorization": f"Bearer {key}"} if key else gateway.admin
        body = filled(sent.body, kept)
        response = gateway.http.request(sent.method, path, json=body, headers=headers)
        told = f"{number}: {sent.method} {sent.path}"
        if response.status_code != sent.status:
            faults.append(f"{told}: {response.status_code} {response.text[:300]}")
            continue
        answer = response.json()
        for field in sent.fields.split():
            try:
                at(answer, field)
            except (LookupError, TypeError):
                faults.append(f"{told}: no {field} in {response.text[:300]}")
        kept |= {name: at(answer, field) for name, field in sent.keep.items()}
    assert len(CALLS) > 60
    assert faults == []


def test_what_narrows_a_list_does(gateway: Gateway) -> None:
    for team, alias in (("squad-1", "Blue"), ("squad-2", "Red"), ("other", "squad-1 of old")):
        gateway.call("/team/new", {"team_id": team, "team_alias": alias})

    def teams(**query: Any) -> set[str]:
        return {team["team_id"] for team in gateway.call("/v2/team/list", **query)["teams"]}

    assert teams(search="squad-1") == {"squad-1", "other"}
    assert teams(search="squad-", search_team_id_match="prefix") == {"squad-1", "squad-2", "other"}
    assert teams(search="squad_1", search_team_id_match="prefix") == set(), "no pattern"
    assert teams(team_id="squad-1", search_team_id_match="prefix") == {"squad-1"}
    assert teams(search="RED") == {"squad-2"}
    assert teams(search="SQUAD-2") == set(), "ids have a case"

    gateway.call("/access_group/new", {"access_group": "fast", "model_names": ["m"]})
    assert gateway.call("/v2/model/info", access_group="fast")["total_count"] == 1
    assert gateway.call("/v2/model/info", access_group="none")["total_count"] == 0
    assert gateway.call("/v2/model/info", wildcard_only="true")["total_count"] == 0
    none = gateway.call("/health", model_id="none")
    assert (none["healthy_count"], none["unhealthy_count"]) == (0, 0)


def test_a_key_is_regenerated_by_query(gateway: Gateway) -> None:
    before = gateway.mint()
    answer = gateway.http.post(f"/key/regenerate?key={before.token}", headers=gateway.admin)
    assert answer.is_success, answer.text
    assert answer.json()["key_id"] == before.id
    both = gateway.http.post(
        f"/key/regenerate?key={before.token}", json={"key": answer.json()["key"]}, headers=gateway.admin
    )
    assert both.json()["key_id"] == before.id, "the body goes first"


# What docs/litellm.md says is not here.
ABSENT = """
POST /global/spend/reset, POST /global/spend/refresh, GET /global/activity/exceptions, GET
/spend/capture_rate, GET /global/activity/cache_hits, GET /provider/budgets, GET /team/spend/by_user, GET
/tag/user-agent/per-user-analytics, GET /user/daily/activity/aggregated/keys, GET
/user/daily/activity/aggregated/search, GET /tag/daily/activity/aggregated/model_top_keys, GET
/team/daily/activity/export, GET /spend/logs/ui/req_1, GET /spend/logs/session/ui, GET /cloudzero/settings,
POST /vantage/export, GET /health/latest, GET /health/history, GET /health/services, GET /health/license,
GET /health/backlog, GET /health/drain, GET /health/shared-status, POST /health/test_connection, POST
/fallback, GET /fallback/m, GET /router/settings, GET /config/cost_margin_config, GET /cache/settings, GET
/callbacks/list, GET /team/core/callback, POST /cost/estimate, GET /v1/unified_access_group, GET
/management/v1/budgets, POST /team/permissions_bulk_update, POST /team/key/bulk_update, GET
/access_group/g/budget, GET /user/filter/ui, GET /team/filter/ui, GET /user/available_users, POST
/user/password/change, POST /session/logout, POST /invitation/new, GET /sso/key/generate, GET
/onboarding/get_token, POST /model_group/make_public, GET /model_hub, GET /auto_router/benchmarks, GET
/model-insights, POST /usage/ai/chat, GET /debug/memory/summary, GET /otel-spans,
GET /credentials/by_model/m, GET /credentials/c/jwks, POST /credentials/migrate-encryption,
GET /memory-usage-in-mem-cache, GET /memory-usage-in-mem-cache-items, GET /debug/memory/summary, POST
/cache/settings/test, GET /coordination_redis/settings, GET /alerting/settings, GET /router/fields, GET
/model/settings, GET /settings, GET /active/callbacks, GET /get/config/callbacks, POST
/team/t/disable_logging, POST /reload/model_cost_map, POST /schedule/model_cost_map_reload, GET
/model/cost_map/source, GET /model/deprecations, GET /v1/model/deprecations, GET /utils/model_info, GET
/utils/supported_openai_params, POST /utils/transform_request, POST /cost/predict-cache, GET
/guardrails/list, GET /v2/guardrails/list, POST /guardrails/register, GET /guardrails/submissions, GET
/adaptive_router/state, GET /agent/daily/activity/aggregated, GET /gateway/daily/activity, GET
/team/metadata_schema, GET /login, POST /v2/login, POST /v3/login, GET /fallback/login, GET /routes, GET
/get_image, GET /get_logo_url, GET /claude-code/plugins, GET /v1/skills, GET /v1beta/agents, GET
/vector_stores, GET /vector_store/list, GET /v1/indexes, POST /rag/query, POST /search, GET
/search_tools/list, POST /ocr, GET /containers, GET /videos, GET /v1/evals, GET /fine_tuning/jobs, POST
/interactions, POST /v1/decisions, POST /systemone, POST /transcribe, POST /comprehendmedical, POST
/v1/realtime/calls, GET /responses/resp_1, GET /files, GET /batches, GET /azure/v1/files, POST
/cursor/chat/completions, POST /queue/chat/completions
"""


def test_what_is_not_here_is_told(gateway: Gateway) -> None:
    """In the API's shape; not a page, and no error of the server."""
    odd = []
    for call in ABSENT.replace("\n", " ").split(","):
        method, path = call.split()
        body = {"json": {}} if method == "POST" else {}
        answer = gateway.http.request(method, path, headers=gateway.admin, **body)
        if answer.status_code not in (404, 405) or "error" not in answer.json():
            odd.append(f"{call}: {answer.status_code} {answer.text[:100]}")
    assert odd == []
