"""Routes of spend: sums and reports."""

from __future__ import annotations

from typing import Any

from ailink.admin import activity_handlers as activity
from ailink.admin import calculate_handlers as calculation
from ailink.admin import ending_handlers as ending
from ailink.admin import litellm_fields as litellm
from ailink.admin import log_handlers as logs
from ailink.admin import report_handlers as reports
from ailink.admin import spend_sum_handlers as sums
from ailink.admin import tag_activity_handlers as tagged
from ailink.shell.policy import Policy, needs
from ailink.shell.route import Route, route

ADMIN, READ = Policy.ADMIN, needs("spend.read")


# fmt: off
def _activity_routes(prefix: str, kind: activity.Wanted) -> tuple[Route, ...]:
    what = f"Daily sums, with those of {kind}"
    return (
        route("GET", f"{prefix}/daily/activity", READ, activity.paged(kind), what, tag="Spend",
              query=activity.ActivityPageQuery, inert_query=litellm.ACTIVITY_QUERY,
              response=activity.ActivityView),
        route("GET", f"{prefix}/daily/activity/aggregated", READ, activity.whole(kind),
              f"{what}, of all days at once", tag="Spend", query=activity.ActivityQuery,
              inert_query=litellm.ACTIVITY_QUERY, response=activity.ActivityView),
    )


SPEND_ROUTES: tuple[Route, ...] = (
    route("GET", "/global/spend/keys", READ, reports.keys, "Keys that spent most", tag="Spend",
          query=reports.DaysQuery, response=list[reports.KeySpend]),
    route("GET", "/global/spend/models", READ, reports.models, "Models that cost most", tag="Spend",
          query=reports.DaysQuery, response=list[reports.ModelSpend]),
    route("GET", "/global/spend/teams", READ, reports.of_teams, "Spend of teams, day by day", tag="Spend",
          query=reports.DaysQuery, response=reports.TeamsSpend),
    route("GET", "/global/spend/provider", READ, reports.by_provider, "Spend by provider", tag="Spend",
          query=reports.DaysQuery, response=list[reports.ProviderSpend]),
    route("GET", "/global/spend/report", READ, reports.report, "Spend by team, customer, key, user or model",
          tag="Spend", query=reports.ReportQuery, response=list[Any]),
    route("GET", "/global/models/ending", READ, ending.ending, "Models that end, and who still uses them",
          tag="Models", query=ending.EndingQuery, response=ending.EndingView),
    route("GET", "/global/spend/tags", READ, sums.by_tag, "Spend by tag", tag="Spend",
          query=sums.TagsQuery, response=sums.TagsSpend),
    route("GET", "/global/spend/logs", READ, sums.by_days, "Spend by day", tag="Spend",
          query=sums.KeyDaysQuery, response=list[sums.DaySpend]),
    route("GET", "/global/spend/all_tag_names", ADMIN, sums.tag_names, "Tags in the ledger", tag="Spend",
          response=sums.TagsSpentOn),
    route("GET", "/global/all_end_users", ADMIN, sums.customer_names, "Customers in the ledger",
          tag="Spend", response=sums.CustomersSpentOn),
    route("GET", "/global/activity/model", READ, sums.by_model, "Requests and tokens by model and day",
          tag="Spend", query=reports.DaysQuery, response=list[sums.ModelActivity]),
    route("GET", "/tag/distinct", READ, tagged.distinct, "Tags that anything was spent with", tag="Spend",
          response=tagged.DistinctTags),
    route("GET", "/tag/dau", READ, tagged.active(1, ""), "Users of tags, by day", tag="Spend",
          query=tagged.TagsNamed, response=tagged.TagUsers),
    route("GET", "/tag/wau", READ, tagged.active(7, "Week"), "Users of tags, by week", tag="Spend",
          query=tagged.TagsNamed, response=tagged.TagUsers),
    route("GET", "/tag/mau", READ, tagged.active(30, "Month"), "Users of tags, by 30 days", tag="Spend",
          query=tagged.TagsNamed, response=tagged.TagUsers),
    route("GET", "/tag/summary", READ, tagged.summary, "Users, requests and spend by tag", tag="Spend",
          query=tagged.TagDaysQuery, response=tagged.TagSummaries),
    route("GET", "/spend/tags", READ, sums.tag_costs, "Tags that cost most", tag="Spend",
          query=reports.DaysQuery, response=list[sums.TagCost]),
    route("GET", "/global/activity", READ, sums.activity, "Requests and tokens, day by day", tag="Spend",
          query=reports.DaysQuery, response=sums.GlobalActivity),
    route("GET", "/spend/logs", READ, logs.logs, "Upstream attempts, or spend by day", tag="Spend",
          query=logs.LogsQuery, response=list[Any]),
    route("GET", "/spend/logs/v2", READ, logs.page, "Upstream attempts by pages", tag="Spend",
          query=logs.LogsPageQuery, inert_query=litellm.LOGS_QUERY, response=logs.LogsPage),
    route("GET", "/spend/logs/ui", READ, logs.page, "Upstream attempts by pages", tag="Spend",
          query=logs.LogsPageQuery, inert_query=litellm.LOGS_QUERY, response=logs.LogsPage),
    route("GET", "/spend/keys", READ, reports.spending_keys, "Keys that spent most", tag="Spend",
          query=reports.DaysQuery, response=list[reports.KeySpender]),
    route("GET", "/spend/users", READ, reports.spenders, "Users that spent most", tag="Spend",
          query=reports.UsersQuery, response=list[reports.UserSpend]),
    route("POST", "/spend/calculate", READ, calculation.calculate, "What a request would cost", tag="Spend",
          body=calculation.CalculateUsage, response=calculation.Calculated),
    route("GET", "/key/spend/report", READ, reports.grouped("api_key"), "Spend by key", tag="Spend",
          query=reports.ReportQuery, response=list[reports.EntityReport]),
    route("GET", "/user/spend/report", READ, reports.grouped("user"), "Spend by user", tag="Spend",
          query=reports.ReportQuery, response=list[reports.EntityReport]),
    route("GET", "/team/spend/report", READ, reports.grouped("team"), "Spend by team", tag="Spend",
          query=reports.ReportQuery, response=list[reports.EntityReport]),
    route("GET", "/organization/spend/report", READ, reports.grouped("organization"),
          "Spend by organization", tag="Spend", query=reports.ReportQuery,
          response=list[reports.EntityReport]),
    *_activity_routes("/user", "users"),
    *_activity_routes("/team", "teams"),
    *_activity_routes("/organization", "organizations"),
    *_activity_routes("/customer", "customers"),
    *_activity_routes("/end_user", "customers"),
    *_activity_routes("/tag", "tags"),
)
# fmt: on
