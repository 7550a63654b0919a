"""Routes of the REST views."""

from __future__ import annotations

from ailink.admin import key_fields as key
from ailink.admin import limit_fields as limit
from ailink.admin import limit_handlers as limits
from ailink.admin import litellm_fields as litellm
from ailink.admin import provider_handlers as providers
from ailink.admin import rest_fields as fields
from ailink.admin import rest_handlers as rest
from ailink.admin import restores
from ailink.admin import team_fields as team
from ailink.admin import user_fields as user
from ailink.shell import spending
from ailink.shell.policy import Policy, needs
from ailink.shell.route import Route, route

KEY_READ, KEY_WRITE = needs("keys.read"), needs("keys.write")
USER_READ, USER_WRITE = needs("users.read"), needs("users.write")
TEAM_READ, TEAM_WRITE = needs("teams.read"), needs("teams.write")
SPEND_READ = needs("spend.read")
OPERATION_READ, MODEL_WRITE = needs("operation.read"), needs("models.write")

# fmt: off
REST_ROUTES: tuple[Route, ...] = (
    route("GET", "/v1/auth/key", KEY_READ, rest.list_keys, "List keys", tag="Keys",
          query=fields.KeysQuery, response=fields.KeyPage),
    route("POST", "/v1/auth/key/generate", KEY_WRITE, rest.new_key, "Make a virtual key", tag="Keys",
          body=key.GenerateKey, inert_body=litellm.KEY_SETTINGS, body_optional=True,
          response=key.NewKeyView, status=201),
    route("GET", "/v1/auth/key/{key_id}", KEY_READ, rest.get_key, "One key", tag="Keys",
          response=key.KeyRowView),
    route("PATCH", "/v1/auth/key/{key_id}", KEY_WRITE, rest.update_key, "Change a key", tag="Keys",
          body=key.KeyChanges, inert_body=litellm.KEY_SETTINGS, response=key.KeyRowView),
    route("DELETE", "/v1/auth/key/{key_id}", KEY_WRITE, rest.delete_key, "Revoke a key", tag="Keys",
          response=fields.Deleted),
    route("POST", "/v1/auth/key/{key_id}/restore", KEY_WRITE, rest.restore_key, "Take back a delete",
          tag="Keys", response=key.KeyRowView),

    route("GET", "/v1/users", USER_READ, rest.list_users, "List users", tag="Users",
          query=fields.UsersQuery, response=fields.UserPage),
    route("POST", "/v1/users", USER_WRITE, rest.new_user, "Make a user, and a key", tag="Users",
          body=user.NewUser, inert_body=litellm.USER, body_optional=True, response=user.NewUserView,
          status=201),
    route("GET", "/v1/users/{user_id}", USER_READ, rest.get_user, "One user", tag="Users",
          response=user.UserView),
    route("PATCH", "/v1/users/{user_id}", USER_WRITE, rest.update_user, "Change a user", tag="Users",
          body=user.UserChanges, inert_body=litellm.USER, response=user.UserView),
    route("DELETE", "/v1/users/{user_id}", USER_WRITE, rest.delete_user, "Delete a user", tag="Users",
          response=fields.Deleted),
    route("POST", "/v1/users/{user_id}/restore", USER_WRITE, rest.restore_user, "Take back a delete",
          tag="Users", response=user.UserView),
    route("GET", "/v1/users/{user_id}/spending", SPEND_READ, spending.of_user, "What a user spent",
          tag="Spend", query=fields.SpendingQuery, response=fields.Spending),

    route("GET", "/v1/teams", TEAM_READ, rest.list_teams, "List teams", tag="Teams",
          query=fields.TeamsQuery, response=fields.TeamsPage),
    route("POST", "/v1/teams", TEAM_WRITE, rest.new_team, "Make a team", tag="Teams",
          body=team.NewTeam, inert_body=litellm.HOLDER, body_optional=True, response=team.TeamView,
          status=201),
    route("GET", "/v1/teams/{team_id}", TEAM_READ, rest.get_team, "One team", tag="Teams",
          response=team.TeamView),
    route("PATCH", "/v1/teams/{team_id}", TEAM_WRITE, rest.update_team, "Change a team", tag="Teams",
          body=team.TeamChanges, inert_body=litellm.HOLDER, response=team.TeamView),
    route("DELETE", "/v1/teams/{team_id}", TEAM_WRITE, rest.delete_team, "Delete a team", tag="Teams",
          response=fields.Deleted),
    route("POST", "/v1/teams/{team_id}/restore", TEAM_WRITE, rest.restore_team, "Take back a delete",
          tag="Teams", response=team.TeamView),
    route("GET", "/v1/teams/{team_id}/spending", SPEND_READ, spending.of_team, "What a team spent",
          tag="Spend", query=fields.SpendingQuery, response=fields.Spending),

    route("GET", "/v1/providers", OPERATION_READ, providers.list_providers, "Providers and how they do",
          tag="Providers", response=fields.ProvidersView),
    route("POST", "/v1/providers", MODEL_WRITE, providers.new, "Add a provider", tag="Providers",
          body=fields.ProviderBody, response=fields.ProviderView, status=201),
    route("GET", "/v1/providers/{name}", OPERATION_READ, providers.get, "One provider", tag="Providers",
          response=fields.ProviderView),
    route("PATCH", "/v1/providers/{name}", MODEL_WRITE, providers.update, "Change a provider",
          tag="Providers", body=fields.ProviderChanges, response=fields.ProviderView),
    route("DELETE", "/v1/providers/{name}", MODEL_WRITE, providers.delete, "Delete a provider",
          tag="Providers", response=fields.Deleted),

    route("GET", "/v1/limits", OPERATION_READ, limits.list_limits,
          "Limits of the gateway and what is used of them", tag="Limits", response=limit.LimitsView),
    route("POST", "/v1/limits", Policy.ADMIN, limits.new, "Add a limit or budget", tag="Limits",
          body=limit.NewLimit, response=limit.LimitView, status=201),
    route("GET", "/v1/limits/{id}", OPERATION_READ, limits.get, "One limit", tag="Limits",
          response=limit.LimitView),
    route("PATCH", "/v1/limits/{id}", Policy.ADMIN, limits.update, "Change a limit", tag="Limits",
          body=limit.LimitChanges, response=limit.LimitView),
    route("DELETE", "/v1/limits/{id}", Policy.ADMIN, limits.delete, "Delete a limit", tag="Limits",
          response=fields.Deleted),

    *(
        route("POST", f"/{noun.path}/restore", needs(noun.permission), restores.of(noun),
              "Take back a delete", tag=noun.tag, body=restores.Restore, response=restores.Restored)
        for noun in restores.RESTORED
    ),
)
# fmt: on
