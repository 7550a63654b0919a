"""Fields that LiteLLM's clients send and that this version does not act on.

They are accepted only with a value that asks for nothing (null, an empty list, false where false is the
default). Anything else is refused by name: a limit that is stored but not enforced is worse than an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ailink.admin.errors import ApiError, bad_request

# Field → the values that ask for nothing.
Inert = Mapping[str, Sequence[Any]]

_EMPTY: Sequence[Any] = (None, "", [], {})
_EMPTY_OR_FALSE: Sequence[Any] = (*_EMPTY, False)

KEY_SETTINGS: Inert = {
    # Budgets and spend
    "budget_fallbacks": _EMPTY,
    "end_user_budget_id": _EMPTY,
    "spend": (None, 0, 0.0),
    "throttle_on_budget_exceeded": _EMPTY_OR_FALSE,
    # Limits
    "default_estimated_output_tokens": _EMPTY,
    "default_estimated_output_tokens_per_model": _EMPTY,
    "mcp_rpm_limit": _EMPTY,
    "rpm_limit_type": _EMPTY,
    "tag_rpm_limit": _EMPTY,
    "tpm_limit_type": _EMPTY,
    # Owners
    "agent_id": _EMPTY,
    # Policies and behaviour
    "aliases": _EMPTY,
    "allowed_passthrough_routes": _EMPTY,
    "allowed_vector_store_indexes": _EMPTY,
    "config": _EMPTY,
    "denied_passthrough_routes": _EMPTY,
    "disable_global_guardrails": _EMPTY_OR_FALSE,
    "enable_prompt_caching": _EMPTY_OR_FALSE,
    "enforced_params": _EMPTY,
    "object_permission": _EMPTY,
    "permissions": _EMPTY,
    "policies": _EMPTY,
    "prompts": _EMPTY,
    "router_settings": _EMPTY,
    "send_invite_email": _EMPTY_OR_FALSE,
}

# What teams, projects and organizations share with keys, and what is theirs alone.
HOLDER: Inert = {
    **{name: values for name, values in KEY_SETTINGS.items() if name != "spend"},
    "allow_team_guardrail_config": _EMPTY_OR_FALSE,
    "allowed_models": _EMPTY,
    "enforced_batch_output_expires_after": _EMPTY,
    "enforced_file_expires_after": _EMPTY,
    "model_aliases": _EMPTY,
    "model_itpm_limit": _EMPTY,
    "model_otpm_limit": _EMPTY,
    "secret_manager_settings": _EMPTY,
    "spend": (None, 0, 0.0),
    "team_member_key_duration": _EMPTY,
}
USER: Inert = {**HOLDER, "password": _EMPTY}
# Of the key that comes with a new user: an update has none.
USER_UPDATE: Inert = {**USER, "duration": _EMPTY, "key_alias": _EMPTY, "team_id": _EMPTY}
COUNTER_QUERY: Inert = {"call_endpoint": ("", "false", "False")}
BULK_USERS: Inert = {"all_users": _EMPTY_OR_FALSE, "user_updates": _EMPTY}
BULK_MEMBERS: Inert = {"all_users": _EMPTY_OR_FALSE}
CUSTOMER: Inert = {
    "allowed_model_region": _EMPTY,
    "budget_reset_at": _EMPTY,
    "default_model": _EMPTY,
    "models": _EMPTY,
    "object_permission": _EMPTY,
    "spend": (None, 0, 0.0),
}
BUDGET: Inert = {"budget_reset_at": _EMPTY, "allowed_models": _EMPTY}
TAG: Inert = {"models": _EMPTY, "model_info": _EMPTY}
GROUP: Inert = {"model_ids": _EMPTY}
TEAM_QUERY: Inert = {"status": _EMPTY}
TAG_QUERY: Inert = {"start_date": _EMPTY, "end_date": _EMPTY}
_NO: Sequence[Any] = (*_EMPTY_OR_FALSE, "false", "False")
LOGS_QUERY: Inert = {
    "session_id": _EMPTY,
    "session_cursor": _EMPTY,
    "group_by_session": _NO,
    "cache_hit_filter": _EMPTY,
    "span_type": _EMPTY,
    "error_message": _EMPTY,
    "search": _EMPTY,
    "used_client_oauth_token": _NO,
}

# Days here are UTC's; the range holds today where it reaches it.
ACTIVITY_QUERY: Inert = {"timezone": ("", "0"), "include_current_utc_day": _NO}

AUDIT_QUERY: Inert = {"object_team_id": _EMPTY, "search": _EMPTY}

REGENERATE: Inert = {**KEY_SETTINGS, "new_master_key": _EMPTY}

# Keys of `metadata` that LiteLLM acts on. As a plain note they would look like a limit and be none.
METADATA: Inert = {
    "allowed_passthrough_routes": _EMPTY,
    "denied_passthrough_routes": _EMPTY,
    "disable_global_guardrails": _EMPTY_OR_FALSE,
    "enforced_params": _EMPTY,
    "guardrails": _EMPTY,
    "logging": _EMPTY,
    "mcp_rpm_limit": _EMPTY,
    "model_rpm_limit": _EMPTY,
    "model_tpm_limit": _EMPTY,
    "policies": _EMPTY,
    "prompts": _EMPTY,
    "rpm_limit_type": _EMPTY,
    "tag_rpm_limit": _EMPTY,
    "tpm_limit_type": _EMPTY,
}

# Query parameters of /key/list that would narrow the list by something no key has.
LIST_QUERY: Inert = {
    "access_group_id": _EMPTY,
    "agent_id": _EMPTY,
    "expand": _EMPTY,
    "expires": _EMPTY,
}

_OFF: Sequence[Any] = ("", "false", "False")
MODEL_QUERY: Inert = {"healthy_only": _OFF, "include_team_models": _OFF, "teamId": _OFF}

MODEL_PAGE_QUERY: Inert = {
    **MODEL_QUERY,
    "include_team_models": _OFF,
    "exclude_team_models": _OFF,
    "teamId": _OFF,
    "user_models_only": _OFF,
    "debug": _OFF,
    "exclude_auto_routers": _OFF,
    "user_id": _OFF,
}

_UNUSED_PARAMS = (
    "blocked", "budget_duration", "configurable_clientside_auth_params", "drop_params", "guardrails",
    "max_budget", "merge_reasoning_content_in_choices", "mock_response", "reasoning_effort", "thinking",
    "use_chat_completions_api", "use_in_pass_through", "use_litellm_proxy", "use_xai_oauth",
)  # fmt: skip
# Parameters of a deployment that ask for nothing as they stand in the bodies of LiteLLM's clients.
MODEL_PARAMS: Inert = {
    **dict.fromkeys(_UNUSED_PARAMS, _EMPTY_OR_FALSE),
    "input_cost_per_pixel": (None, 0, 0.0),
    "input_cost_per_second": (None, 0, 0.0),
    "output_cost_per_pixel": (None, 0, 0.0),
    "output_cost_per_second": (None, 0, 0.0),
}  # fmt: skip
# What `model_info` would make of a deployment: a team's own, part of a group.
MODEL_INFO: Inert = {
    "access_groups": _EMPTY,
    "direct_access": (None, True),
    "team_id": _EMPTY,
    "team_public_model_name": _EMPTY,
}

CREDENTIAL: Inert = {"credential_values_to_delete": _EMPTY, "display_name": _EMPTY, "model_id": _EMPTY}


def without_inert(fields: Mapping[str, Any], table: Inert, prefix: str = "") -> dict[str, Any]:
    """`fields` less those of `table` that ask for nothing.

    Raises `ApiError` (400) naming the first field of `table` that asks for something.
    """
    kept = {}
    for name, value in fields.items():
        inert = table.get(name)
        if inert is None:
            kept[name] = value
        # The type counts: 0 == False, but a limit of 0 is a limit.
        elif not any(type(value) is type(nothing) and value == nothing for nothing in inert):
            raise _refusal(prefix + name)
    return kept


def _refusal(path: str) -> ApiError:
    return bad_request(
        f"`{path}` is not enforced by this version of AILink, so it is refused and not stored: leave it out.",
        param=path,
        code="unsupported_parameter",
    )
