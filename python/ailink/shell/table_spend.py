"""Routes of spend: sums and reports."""

from __future__ import annotations

from typing import Any

from ailink.admin import activity_handlers as activity
from ailink.admin import ending_handlers as ending
from ailink.admin import litellm_fields as litellm
from ailink.admin import log_handlers as logs
from ailink.admin import report_handlers as reports
from ailink.shell.policy import Policy, needs
from ailink.shell.route import Route, route

ADMIN, READ = Policy.ADMIN, needs("spend.read")

# fmt: off
SPEND_ROUTES: tuple[Route, ...] = (
    route("GET", "/global/spend/keys", READ, reports.keys, "Keys that spent most", tag="Spend",
          query=reports.DaysQuery, response=list[reports.KeySpend]),
    route("GET", "/global/spend/models", READ, reports.models, "Models that cost most", tag="Spend",
          query=reports.DaysQuery, response=list[reports.ModelSpend]),
    route("GET", "/global/spend/teams", READ, reports.of_teams, "Spend of teams, day by day", tag="Spend",
          query=reports.DaysQuery, response=reports.TeamsSpend),
    route("GET", "/global/spend/provider", READ, reports.by_provider, "Spend by provider", tag="Spend",
          query=reports.DaysQuery, response=list[reports.NamedSpend]),
    route("GET", "/global/spend/report", READ, reports.report, "Spend by team, key, user or model",
          tag="Spend", query=reports.ReportQuery, response=list[Any]),
    route("GET", "/global/models/ending", READ, ending.ending, "Models that end, and who still uses them",
          tag="Models", query=ending.EndingQuery, response=ending.EndingView),
    route("GET", "/global/activity", READ, reports.activity, "Requests and tokens, day by day", tag="Spend",
          query=reports.DaysQuery, response=reports.GlobalActivity),
    route("GET", "/spend/logs", ADMIN, logs.logs, "Upstream attempts, or spend by day", tag="Spend",
          query=logs.LogsQuery, response=list[Any]),
    route("GET", "/spend/logs/v2", ADMIN, logs.page, "Upstream attempts by pages", tag="Spend",
          query=logs.LogsPageQuery, inert_query=litellm.LOGS_QUERY, response=logs.LogsPage),
    route("GET", "/spend/logs/ui", ADMIN, logs.page, "Upstream attempts by pages", tag="Spend",
          query=logs.LogsPageQuery, inert_query=litellm.LOGS_QUERY, response=logs.LogsPage),
    route("GET", "/spend/keys", READ, reports.keys, "Keys that spent most", tag="Spend",
          query=reports.DaysQuery, response=list[reports.KeySpend]),
    route("GET", "/spend/users", READ, reports.spenders, "Users that spent most", tag="Spend",
          query=reports.DaysQuery, response=list[reports.NamedSpend]),
    route("POST", "/spend/calculate", READ, reports.calculate, "What a request would cost", tag="Spend",
          body=reports.CalculateUsage, response=reports.Calculated),
    route("GET", "/key/spend/report", READ, reports.grouped("api_key"), "Spend by key", tag="Spend",
          query=reports.ReportQuery, response=list[reports.EntityReport]),
    route("GET", "/user/spend/report", READ, reports.grouped("user"), "Spend by user", tag="Spend",
          query=reports.ReportQuery, response=list[reports.EntityReport]),
    route("GET", "/team/spend/report", READ, reports.grouped("team"), "Spend by team", tag="Spend",
          query=reports.ReportQuery, response=list[reports.EntityReport]),
    route("GET", "/organization/spend/report", READ, reports.grouped("organization"),
          "Spend by organization", tag="Spend", query=reports.ReportQuery,
          response=list[reports.EntityReport]),
    route("GET", "/user/daily/activity", READ, activity.of_users, "Daily sums by user", tag="Spend",
          query=activity.ActivityQuery, response=activity.ActivityView),
    route("GET", "/team/daily/activity", READ, activity.of_teams, "Daily sums by team", tag="Spend",
          query=activity.ActivityQuery, response=activity.ActivityView),
    route("GET", "/organization/daily/activity", READ, activity.of_organizations,
          "Daily sums by organization", tag="Spend", query=activity.ActivityQuery,
          response=activity.ActivityView),
)
# fmt: on
