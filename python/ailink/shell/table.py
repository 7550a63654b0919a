"""THE table of the shell's routes: what exists, who may call it, what goes in and comes out.

The front forwards a path only if the data plane's endpoint table gives it to the shell; a test holds the two
together.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ailink.admin import alert_handlers as alerts
from ailink.admin import approval_handlers as approvals
from ailink.admin import audit_handlers as audits
from ailink.admin import bill_handlers as bill
from ailink.admin import cache_handlers as cache
from ailink.admin import credential_handlers as creds
from ailink.admin import feedback_handlers as feedback
from ailink.admin import group_handlers as group
from ailink.admin import guard_handlers as guards
from ailink.admin import health_handlers as health
from ailink.admin import litellm_fields as litellm
from ailink.admin import mirror_handlers as mirror
from ailink.admin import policy_handlers as policies
from ailink.admin import routing_handlers as routing
from ailink.admin import savings_handlers as savings
from ailink.admin import spend_handlers as spend
from ailink.admin import token_handlers as tokens
from ailink.admin import verdict_handlers as verdicts
from ailink.admin.call import Call, Nothing
from ailink.admin.services import Services
from ailink.observe.alerts import Delivery
from ailink.shell import openapi, pages
from ailink.shell import spend_report as report
from ailink.shell.batch_routes import BATCH_ROUTES
from ailink.shell.policy import Policy, needs
from ailink.shell.route import Content, Route, route
from ailink.shell.session_routes import SESSION_ROUTES
from ailink.shell.table_keys import KEY_ROUTES
from ailink.shell.table_models import MODEL_ROUTES
from ailink.shell.table_rest import REST_ROUTES
from ailink.shell.table_spend import SPEND_ROUTES
from ailink.shell.table_tenants import TENANT_ROUTES


async def document(services: Services, call: Call[Nothing, Nothing]) -> Content:
    """The OpenAPI description of this table and of the data plane's."""
    # In a thread: milliseconds of work, and asked for once in a while only.
    body = await asyncio.to_thread(openapi.render, ROUTES, services.endpoints, services.version)
    return Content(body=body, media_type="application/json")


ADMIN, KEY, PUBLIC = Policy.ADMIN, Policy.KEY, Policy.PUBLIC
SPEND_READ = needs("spend.read")

# fmt: off
ROUTES: tuple[Route, ...] = (
    *KEY_ROUTES,
    *TENANT_ROUTES,
    *SPEND_ROUTES,
    *MODEL_ROUTES,
    *REST_ROUTES,
    *BATCH_ROUTES,
    *SESSION_ROUTES,

    # Provider credentials
    route("GET", "/credentials", ADMIN, creds.list_credentials, "List credentials",
          tag="Credentials", response=creds.CredentialsView),
    route("POST", "/credentials", ADMIN, creds.create_credential, "Store a credential",
          tag="Credentials", body=creds.CreateCredential, inert_body=litellm.CREDENTIAL, response=creds.Done),
    route("GET", "/credentials/by_name/{name}", ADMIN, creds.get_credential, "One credential",
          tag="Credentials", response=creds.CredentialView),
    route("PATCH", "/credentials/{name}", ADMIN, creds.update_credential, "Change a credential",
          tag="Credentials", body=creds.UpdateCredential, inert_body=litellm.CREDENTIAL, response=creds.Done),
    route("DELETE", "/credentials/{name}", ADMIN, creds.delete_credential, "Delete a credential",
          tag="Credentials", response=creds.Done),

    # Spend
    route("POST", "/v1/tokens/count", KEY, tokens.count, "Tokens of a request", tag="Tokens",
          body=tokens.TokenRequest, response=tokens.TokenCount),
    route("POST", "/utils/token_counter", KEY, tokens.token_counter, "Tokens of a request", tag="Tokens",
          body=tokens.TokenRequest, inert_query=litellm.COUNTER_QUERY, response=tokens.TokenCounter),
    route("POST", "/v1/cost/estimate", KEY, tokens.estimate, "What a request may cost", tag="Tokens",
          body=tokens.TokenRequest, response=tokens.CostEstimate),
    route("GET", "/v1/spend", SPEND_READ, report.spend, "Spend by any dimension and time", tag="Spend",
          query=report.SpendQuery, response=report.SpendReport),
    route("GET", "/v1/bills", SPEND_READ, bill.list_bills, "Bills of providers beside the ledger",
          tag="Spend", query=bill.BillsQuery, response=bill.BillView),
    route("POST", "/v1/bills", ADMIN, bill.reconcile, "Reconcile the ledger with a provider's bill",
          tag="Spend", body=bill.NewBill, response=bill.BillView),
    route("GET", "/global/spend", SPEND_READ, spend.global_spend, "Everything spent so far", tag="Spend",
          response=spend.GlobalSpend),

    # What was changed
    route("GET", "/audit", needs("audit.read"), audits.page, "Who changed what", tag="Audit",
          query=audits.AuditQuery, inert_query=litellm.AUDIT_QUERY, response=audits.AuditPage),
    route("GET", "/audit/verify", needs("audit.read"), audits.verify, "Whether the log is as it was written",
          tag="Audit", response=audits.AuditChain),
    route("GET", "/audit/{id}", needs("audit.read"), audits.one, "One change", tag="Audit",
          response=audits.AuditLog),

    # Guardrails
    route("GET", "/v1/alerts", ADMIN, alerts.deliveries, "What was told to whom", tag="Alerts",
          query=alerts.DeliveriesQuery, response=alerts.Deliveries),
    route("POST", "/v1/alerts/test", ADMIN, alerts.test, "Send a test to a channel", tag="Alerts",
          body=alerts.TestAlert, response=Delivery),
    route("GET", "/guardrails", ADMIN, guards.list_guardrails, "Guardrails and their models",
          tag="Guardrails", response=guards.GuardrailsView),
    route("GET", "/guardrails/report", ADMIN, guards.report, "What guardrails found", tag="Guardrails",
          query=guards.ReportQuery, response=guards.ReportView),
    route("GET", "/guardrails/verdicts", ADMIN, verdicts.find, "What guardrails found and policies did",
          tag="Guardrails", query=verdicts.VerdictsQuery, response=verdicts.VerdictsView),
    route("POST", "/guardrails/test", ADMIN, guards.test, "Try guardrails on a text", tag="Guardrails",
          body=guards.Try, response=guards.TriedView),
    route("GET", "/guardrails/vault", ADMIN, guards.vault, "Whose values are kept behind tokens",
          tag="Guardrails", response=guards.VaultView),
    route("POST", "/guardrails/purge", ADMIN, guards.purge, "Forget values behind tokens", tag="Guardrails",
          body=guards.Purge, response=guards.PurgedView),

    # Cache
    route("GET", "/cache/ping", ADMIN, cache.ping, "Whether the cache is on", tag="Cache",
          response=cache.PingView),
    route("GET", "/cache/stats", ADMIN, cache.stats, "What the cache holds and saved", tag="Cache",
          response=cache.StatsView),
    route("GET", "/cache/savings", ADMIN, savings.report, "What a cache would have saved", tag="Cache",
          query=savings.SavingsQuery, response=savings.SavingsView),
    route("GET", "/cache/explain", ADMIN, cache.explain, "One entry", tag="Cache",
          query=cache.ExplainQuery, response=cache.EntryView),
    route("GET", "/cache/redis/info", ADMIN, cache.redis_info, "How the second tier does", tag="Cache",
          response=cache.RedisView),
    route("POST", "/cache/purge", ADMIN, cache.purge, "Remove entries by what they are",
          tag="Cache", body=cache.PurgeBody, response=cache.PurgedView),
    route("POST", "/cache/delete", ADMIN, cache.delete, "Remove entries by their keys", tag="Cache",
          body=cache.DeleteBody, response=cache.PurgedView),
    route("POST", "/cache/flushall", ADMIN, cache.flush_all, "Remove all entries", tag="Cache",
          response=cache.PurgedView),

    # Approvals
    route("GET", "/v1/approvals", KEY, approvals.list_approvals, "What waits for people", tag="Approvals",
          query=approvals.ApprovalsQuery, response=approvals.ApprovalsView),
    route("GET", "/v1/approvals/{id}", KEY, approvals.get, "One approval", tag="Approvals",
          response=approvals.ApprovalDetail),
    route("POST", "/v1/approvals/{id}/decision", KEY, approvals.decide, "Approve, reject or edit",
          tag="Approvals", body=approvals.Decide, response=approvals.ApprovalDetail),
    route("POST", "/v1/approvals/{id}/cancel", KEY, approvals.cancel, "Withdraw a request", tag="Approvals",
          body=approvals.End, body_optional=True, response=approvals.ApprovalDetail),
    route("POST", "/v1/approvals/{id}/expire", KEY, approvals.expire, "End the time to decide",
          tag="Approvals", body=approvals.End, body_optional=True, response=approvals.ApprovalDetail),

    # Policies
    route("GET", "/policies", ADMIN, policies.list_policies, "Policies and what they are attached to",
          tag="Policies", response=policies.PoliciesView),
    route("GET", "/policies/report", ADMIN, policies.report, "What policies did, and would have done",
          tag="Policies", query=policies.ReportQuery, response=policies.ReportView),
    route("POST", "/policies/simulate", ADMIN, policies.simulate, "What would become of a request",
          tag="Policies", body=policies.Simulate, response=policies.OutcomeView),
    route("POST", "/policies/replay", ADMIN, policies.replay, "What would have become of the requests kept",
          tag="Policies", body=policies.Replay, response=policies.ReplayView),
    route("GET", "/policies/{name}", ADMIN, policies.get, "One policy", tag="Policies",
          response=policies.VersionView),
    route("PUT", "/policies/{name}", ADMIN, policies.put, "Make a policy or its next version", tag="Policies",
          body=policies.Put, response=policies.VersionView),
    route("DELETE", "/policies/{name}", ADMIN, policies.delete, "Delete a policy", tag="Policies",
          response=policies.VersionView),
    route("GET", "/policies/{name}/versions", ADMIN, policies.versions, "All versions of a policy",
          tag="Policies", response=policies.VersionsView),
    route("POST", "/policies/{name}/promote", ADMIN, policies.promote, "From shadow to force", tag="Policies",
          response=policies.VersionView),
    route("POST", "/policies/{name}/rollback", ADMIN, policies.rollback, "Back to a former version",
          tag="Policies", body=policies.Rollback, response=policies.VersionView),

    # Operation
    route("GET", "/health/readiness/details", ADMIN, health.readiness_details, "State of the gateway",
          tag="Operation", response=health.ReadinessView),
    route("GET", "/health", ADMIN, routing.health, "Deployments that answer and those that do not",
          tag="Routing", query=routing.HealthQuery, response=routing.Health),
    route("GET", "/health/deployments", ADMIN, routing.deployments, "Health of every deployment",
          tag="Routing", query=routing.HealthQuery, response=routing.DeploymentsHealth),
    route("GET", "/routing/explain/{id}", ADMIN, routing.explain, "Why a request went where it went",
          tag="Routing", response=dict[str, Any]),
    route("GET", "/routing/samples", ADMIN, feedback.samples, "What routers are trained from", tag="Routing",
          query=feedback.SamplesQuery, response=feedback.SamplesView),
    route("GET", "/routing/groups", ADMIN, group.list_groups, "Groups of deployments", tag="Routing",
          response=group.GroupsView),
    route("POST", "/routing/switch", ADMIN, group.switch, "Switch to another group of deployments",
          tag="Routing", body=group.Switch, response=group.GroupsOf),
    route("GET", "/routing/mirrors", ADMIN, mirror.report, "How mirrors do", tag="Routing",
          query=mirror.MirrorsQuery, response=mirror.MirrorsView),
    route("POST", "/v1/feedback", KEY, feedback.give, "Say what an answer is worth", tag="Routing",
          body=feedback.GiveFeedback, response=feedback.FeedbackView),
    route("GET", "/metrics", Policy.METRICS, pages.metrics, "Prometheus metrics", tag="Operation"),
    route("GET", "/openapi.json", PUBLIC, document, "This description", tag="Operation"),
    route("GET", "/docs", PUBLIC, pages.docs, "The documentation page", tag="Operation"),
    route("GET", "/docs/{name}", PUBLIC, pages.docs_file, "Files of the documentation page", tag="Operation"),
    route("GET", "/", PUBLIC, pages.landing, "What this server is", tag="Operation", response=pages.Landing),
)
# fmt: on
