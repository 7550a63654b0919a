"""Routes of organizations, teams, projects, users, customers, tags, budgets, access groups and roles."""

from __future__ import annotations

from ailink.admin import access_group_handlers as groups
from ailink.admin import budget_handlers as budgets
from ailink.admin import customer_handlers as customers
from ailink.admin import litellm_fields as litellm
from ailink.admin import organization_fields as org
from ailink.admin import organization_handlers as orgs
from ailink.admin import project_handlers as projects
from ailink.admin import role_handlers as roles
from ailink.admin import tag_handlers as tags
from ailink.admin import team_fields as team
from ailink.admin import team_handlers as teams
from ailink.admin import team_member_handlers as members
from ailink.admin import user_fields as user
from ailink.admin import user_handlers as users
from ailink.shell.policy import needs
from ailink.shell.route import Route, route

ORG_READ, ORG_WRITE = needs("organizations.read"), needs("organizations.write")
TEAM_READ, TEAM_WRITE = needs("teams.read"), needs("teams.write")
MEMBERS = needs("members.write")
PROJECT_READ, PROJECT_WRITE = needs("projects.read"), needs("projects.write")
USER_READ, USER_WRITE = needs("users.read"), needs("users.write")
CUSTOMER_READ, CUSTOMER_WRITE = needs("customers.read"), needs("customers.write")
TAG_READ, TAG_WRITE = needs("tags.read"), needs("tags.write")
BUDGET_READ, BUDGET_WRITE = needs("budgets.read"), needs("budgets.write")
GROUP_READ, GROUP_WRITE = needs("access_groups.read"), needs("access_groups.write")
ROLE_READ, ROLE_WRITE = needs("roles.read"), needs("roles.write")

# fmt: off
ORGANIZATION_ROUTES: tuple[Route, ...] = (
    route("POST", "/organization/new", ORG_WRITE, orgs.new, "Make an organization", tag="Organizations",
          body=org.NewOrganization, inert_body=litellm.HOLDER, response=org.OrganizationView),
    route("GET", "/organization/info", ORG_READ, orgs.info, "One organization", tag="Organizations",
          query=org.OrganizationQuery, response=org.OrganizationView),
    route("POST", "/organization/info", ORG_READ, orgs.info_of_many, "Several organizations",
          tag="Organizations", body=org.OrganizationsInfo, response=list[org.OrganizationView]),
    route("GET", "/organization/list", ORG_READ, orgs.list_organizations, "List organizations",
          tag="Organizations", query=org.OrganizationList, response=list[org.OrganizationView]),
    route("PATCH", "/organization/update", ORG_WRITE, orgs.update, "Change an organization",
          tag="Organizations", body=org.UpdateOrganization, inert_body=litellm.HOLDER,
          response=org.OrganizationView),
    route("PATCH", "/v2/organization/{organization_id}", ORG_WRITE, orgs.update_named,
          "Change the named organization", tag="Organizations", body=org.OrganizationChanges,
          inert_body=litellm.HOLDER, response=org.OrganizationView),
    route("DELETE", "/organization/delete", ORG_WRITE, orgs.delete, "Delete organizations",
          tag="Organizations", body=org.DeleteOrganizations, response=list[org.OrganizationView]),
    route("POST", "/organization/member_add", MEMBERS, orgs.add_members, "Add members", tag="Organizations",
          body=org.AddOrganizationMembers, response=org.AddedOrganizationMembers),
    route("PATCH", "/organization/member_update", MEMBERS, orgs.update_member, "Change a member",
          tag="Organizations", body=org.UpdateOrganizationMember, response=org.OrganizationMemberView),
    route("DELETE", "/organization/member_delete", MEMBERS, orgs.delete_member, "Remove a member",
          tag="Organizations", body=org.DeleteOrganizationMember, response=org.MemberRemoved),
)
TEAM_ROUTES: tuple[Route, ...] = (
    route("POST", "/team/new", TEAM_WRITE, teams.new, "Make a team", tag="Teams", body=team.NewTeam,
          inert_body=litellm.HOLDER, body_optional=True, response=team.TeamView),
    route("POST", "/team/update", TEAM_WRITE, teams.update, "Change a team", tag="Teams",
          body=team.UpdateTeam, inert_body=litellm.HOLDER, response=team.UpdatedTeam),
    route("PATCH", "/team/{team_id}", TEAM_WRITE, teams.update_named, "Change the named team", tag="Teams",
          body=team.TeamChanges, inert_body=litellm.HOLDER, response=team.UpdatedTeam),
    route("POST", "/team/delete", TEAM_WRITE, teams.delete, "Delete teams and their keys", tag="Teams",
          body=team.DeleteTeams, response=team.DeletedTeams),
    route("POST", "/team/{team_id}/restore", TEAM_WRITE, teams.restore, "Take back a delete", tag="Teams",
          response=team.TeamView),
    route("GET", "/team/info", TEAM_READ, teams.info, "One team, its keys and members", tag="Teams",
          query=team.TeamQuery, response=team.TeamInfoView),
    route("GET", "/team/list", TEAM_READ, teams.list_teams, "List teams", tag="Teams",
          query=team.TeamsQuery, response=list[team.TeamView]),
    route("GET", "/v2/team/list", TEAM_READ, teams.page, "List teams by pages", tag="Teams",
          query=team.TeamPageQuery, inert_query=litellm.TEAM_QUERY, response=team.TeamPage),
    route("GET", "/team/available", TEAM_READ, teams.available, "Teams one could join", tag="Teams",
          response=list[team.TeamView]),
    route("POST", "/team/block", TEAM_WRITE, teams.block, "Block a team and its keys", tag="Teams",
          body=team.OneTeam, response=team.TeamView),
    route("POST", "/team/unblock", TEAM_WRITE, teams.unblock, "Unblock a team", tag="Teams",
          body=team.OneTeam, response=team.TeamView),
    route("POST", "/team/model/add", TEAM_WRITE, teams.add_models, "Allow models", tag="Teams",
          body=team.TeamModels, response=team.TeamView),
    route("POST", "/team/model/delete", TEAM_WRITE, teams.delete_models, "Disallow models", tag="Teams",
          body=team.TeamModels, response=team.TeamView),
    route("GET", "/team/permissions_list", TEAM_READ, teams.permissions, "What plain members may do",
          tag="Teams", query=team.TeamQuery, response=team.PermissionsView),
    route("POST", "/team/permissions_update", TEAM_WRITE, teams.update_permissions,
          "Say what plain members may do", tag="Teams", body=team.TeamPermissions, response=team.TeamView),
    route("POST", "/team/member_add", MEMBERS, members.add, "Add members", tag="Teams",
          body=team.AddTeamMembers, response=team.TeamWithAdded),
    route("POST", "/team/bulk_member_add", MEMBERS, members.bulk_add, "Add many members", tag="Teams",
          body=team.BulkAddTeamMembers, inert_body=litellm.BULK_MEMBERS, response=team.BulkAdded),
    route("POST", "/team/member_update", MEMBERS, members.update, "Change a member", tag="Teams",
          body=team.UpdateTeamMember, response=team.UpdatedMember),
    route("POST", "/team/member_delete", MEMBERS, members.delete, "Remove a member", tag="Teams",
          body=team.DeleteTeamMember, response=team.TeamView),
    route("GET", "/team/{team_id}/members/me", TEAM_READ, members.me, "The caller as a member", tag="Teams",
          response=team.MembershipView),
    route("POST", "/team/{team_id}/member/{user_id}/reset_spend", MEMBERS, members.reset_spend,
          "Count a member's spend from now", tag="Teams", response=members.MemberSpend),
)
PROJECT_ROUTES: tuple[Route, ...] = (
    route("POST", "/project/new", PROJECT_WRITE, projects.new, "Make a project", tag="Projects",
          body=projects.NewProject, inert_body=litellm.HOLDER, response=projects.ProjectView),
    route("POST", "/project/update", PROJECT_WRITE, projects.update, "Change a project", tag="Projects",
          body=projects.UpdateProject, inert_body=litellm.HOLDER, response=projects.ProjectView),
    route("DELETE", "/project/delete", PROJECT_WRITE, projects.delete, "Delete projects", tag="Projects",
          body=projects.DeleteProjects, response=list[projects.ProjectView]),
    route("GET", "/project/info", PROJECT_READ, projects.info, "One project", tag="Projects",
          query=projects.ProjectQuery, response=projects.ProjectView),
    route("GET", "/project/list", PROJECT_READ, projects.list_projects, "List projects", tag="Projects",
          query=projects.ProjectList, response=list[projects.ProjectView]),
)
USER_ROUTES: tuple[Route, ...] = (
    route("POST", "/user/new", USER_WRITE, users.new, "Make a user, and a key", tag="Users",
          body=user.NewUser, inert_body=litellm.USER, body_optional=True, response=user.NewUserView),
    route("GET", "/user/info", USER_READ, users.info, "One user, keys and teams", tag="Users",
          query=user.UserQuery, response=user.UserInfoView),
    route("GET", "/v2/user/info", USER_READ, users.flat_info, "One user", tag="Users",
          query=user.UserQuery, response=user.UserView),
    route("POST", "/user/update", USER_WRITE, users.update, "Change a user", tag="Users",
          body=user.UpdateUser, inert_body=litellm.USER_UPDATE, response=user.UpdatedUser),
    route("POST", "/user/bulk_update", USER_WRITE, users.bulk_update, "Change several users", tag="Users",
          body=user.BulkUpdateUsers, inert_body=litellm.BULK_USERS, response=user.BulkUpdatedUsers),
    route("POST", "/user/delete", USER_WRITE, users.delete, "Delete users and their keys", tag="Users",
          body=user.DeleteUsers, response=int),
    route("POST", "/user/{user_id}/restore", USER_WRITE, users.restore, "Take back a delete", tag="Users",
          response=user.UserView),
    route("GET", "/user/list", USER_READ, users.list_users, "List users", tag="Users",
          query=user.UserListQuery, response=user.UserListView),
    route("GET", "/user/available_roles", USER_READ, users.available_roles, "Roles over the gateway",
          tag="Users", response=user.Roles),
    route("GET", "/role/list", ROLE_READ, roles.list_roles, "List roles", tag="Roles",
          response=roles.RoleList),
    route("POST", "/role/new", ROLE_WRITE, roles.new, "Make a role", tag="Roles", body=roles.NewRole,
          response=roles.RoleRow),
    route("POST", "/role/{role_id}/update", ROLE_WRITE, roles.update, "Change what a role may do",
          tag="Roles", body=roles.RoleChanges, response=roles.RoleRow),
    route("DELETE", "/role/{role_id}", ROLE_WRITE, roles.delete, "Delete a role", tag="Roles",
          response=roles.RoleRow),
)


def _customer_routes(prefix: str) -> tuple[Route, ...]:
    return (
        route("POST", f"{prefix}/new", CUSTOMER_WRITE, customers.new, "Make a customer", tag="Customers",
              body=customers.NewCustomer, inert_body=litellm.CUSTOMER, response=customers.CustomerView),
        route("POST", f"{prefix}/update", CUSTOMER_WRITE, customers.update, "Change a customer",
              tag="Customers", body=customers.UpdateCustomer, inert_body=litellm.CUSTOMER,
              response=customers.CustomerView),
        route("GET", f"{prefix}/info", CUSTOMER_READ, customers.info, "One customer", tag="Customers",
              query=customers.CustomerQuery, response=customers.CustomerView),
        route("GET", f"{prefix}/list", CUSTOMER_READ, customers.list_customers, "List customers",
              tag="Customers", response=list[customers.CustomerView]),
        route("POST", f"{prefix}/delete", CUSTOMER_WRITE, customers.delete, "Delete customers",
              tag="Customers", body=customers.Customers, response=customers.DeletedCustomers),
        route("POST", f"{prefix}/block", CUSTOMER_WRITE, customers.block, "Block customers",
              tag="Customers", body=customers.Customers, response=customers.BlockedCustomers),
        route("POST", f"{prefix}/unblock", CUSTOMER_WRITE, customers.unblock, "Unblock customers",
              tag="Customers", body=customers.Customers, response=customers.UnblockedCustomers),
    )


BUDGET_ROUTES: tuple[Route, ...] = (
    route("POST", "/budget/new", BUDGET_WRITE, budgets.new, "Make a budget", tag="Budgets",
          body=budgets.NewBudget, inert_body=litellm.BUDGET, response=budgets.BudgetRow),
    route("POST", "/budget/update", BUDGET_WRITE, budgets.update, "Change a budget", tag="Budgets",
          body=budgets.UpdateBudget, inert_body=litellm.BUDGET, response=budgets.BudgetRow),
    route("POST", "/budget/info", BUDGET_READ, budgets.info, "Several budgets", tag="Budgets",
          body=budgets.BudgetIds, response=list[budgets.BudgetRow]),
    route("GET", "/budget/settings", BUDGET_READ, budgets.settings, "A budget, field by field",
          tag="Budgets", query=budgets.BudgetQuery, response=list[budgets.BudgetField]),
    route("GET", "/budget/list", BUDGET_READ, budgets.list_budgets, "List budgets", tag="Budgets",
          response=list[budgets.BudgetRow]),
    route("POST", "/budget/delete", BUDGET_WRITE, budgets.delete, "Delete a budget", tag="Budgets",
          body=budgets.DeleteBudget, response=budgets.BudgetRow),
    route("POST", "/tag/new", TAG_WRITE, tags.new, "Make a tag", tag="Tags", body=tags.TagFields,
          inert_body=litellm.TAG, response=tags.TagMade),
    route("POST", "/tag/update", TAG_WRITE, tags.update, "Change a tag", tag="Tags", body=tags.TagFields,
          inert_body=litellm.TAG, response=tags.TagMade),
    route("POST", "/tag/info", TAG_READ, tags.info, "Several tags", tag="Tags", body=tags.TagNames,
          response=dict[str, tags.TagView]),
    route("GET", "/tag/list", TAG_READ, tags.list_tags, "List tags", tag="Tags",
          inert_query=litellm.TAG_QUERY, response=list[tags.TagView]),
    route("POST", "/tag/delete", TAG_WRITE, tags.delete, "Delete a tag", tag="Tags", body=tags.TagName,
          response=tags.TagDeleted),
)
GROUP_ROUTES: tuple[Route, ...] = (
    route("POST", "/access_group/new", GROUP_WRITE, groups.new, "Make an access group",
          tag="Access groups", body=groups.NewGroup, inert_body=litellm.GROUP,
          response=groups.ModelGroupView),
    route("GET", "/access_group/list", GROUP_READ, groups.list_groups, "List access groups",
          tag="Access groups", response=groups.GroupList),
    route("GET", "/access_group/{access_group}/info", GROUP_READ, groups.info, "One access group",
          tag="Access groups", response=groups.GroupInfo),
    route("PUT", "/access_group/{access_group}/update", GROUP_WRITE, groups.update,
          "Change what a group stands for", tag="Access groups", body=groups.GroupModels,
          inert_body=litellm.GROUP, response=groups.ModelGroupView),
    route("DELETE", "/access_group/{access_group}/delete", GROUP_WRITE, groups.delete,
          "Delete an access group", tag="Access groups", response=groups.GroupDeleted),
    route("POST", "/v1/access_group", GROUP_WRITE, groups.create, "Make an access group",
          tag="Access groups", body=groups.CreateGroup, response=groups.GroupView, status=201),
    route("GET", "/v1/access_group", GROUP_READ, groups.list_rows, "List access groups",
          tag="Access groups", response=list[groups.GroupView]),
    route("GET", "/v1/access_group/{access_group_id}", GROUP_READ, groups.get, "One access group",
          tag="Access groups", response=groups.GroupView),
    route("PUT", "/v1/access_group/{access_group_id}", GROUP_WRITE, groups.put, "Change an access group",
          tag="Access groups", body=groups.UpdateGroup, response=groups.GroupView),
    route("DELETE", "/v1/access_group/{access_group_id}", GROUP_WRITE, groups.delete_row,
          "Delete an access group", tag="Access groups", response=groups.GroupDeleted),
)
TENANT_ROUTES: tuple[Route, ...] = (
    *ORGANIZATION_ROUTES,
    *TEAM_ROUTES,
    *PROJECT_ROUTES,
    *USER_ROUTES,
    *_customer_routes("/customer"),
    *_customer_routes("/end_user"),
    *BUDGET_ROUTES,
    *GROUP_ROUTES,
)
# fmt: on
