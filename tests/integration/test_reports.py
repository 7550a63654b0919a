"""Reports by whose spend it was when it was spent, and in FOCUS's columns."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.harness import Gateway, MockProvider, PostgresServer, make_deployment, make_model, until
from tests.harness.tenants import ask, team_key, tenants_config


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def gateway(
    provider: MockProvider, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Gateway]:
    config = tenants_config(provider)
    price = {"input_per_million": 1, "output_per_million": 2, "cache_read_per_million": 0.1}
    config["models"].append(make_model("priced", make_deployment(provider), price=price))
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        config |= {"database_url": server.url(server.make_database()), "encryption_key": ENCRYPTION_KEY}
    with Gateway(tmp_path_factory.mktemp("reports"), config) as running:
        running.call("/team/new", {"team_id": "before", "team_alias": "Before"})
        running.call("/team/new", {"team_id": "after", "team_alias": "After", "tags": ["night", "batch"]})
        running.call("/user/new", {"user_id": "ann", "auto_create_key": False})
        running.call("/customer/new", {"user_id": "cust"})
        key = team_key(running, "before", key_alias="mover")
        assert ask(running, key).status_code == 200
        running.call("/key/update", {"key": key, "team_id": "after", "user_id": "ann"})
        for _ in range(2):
            assert ask(running, key, user="cust").status_code == 200
        until(lambda: running.call("/global/spend")["spend"] == 3, "all is in the ledger")
        yield running


ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="


def test_a_key_that_moves_leaves_its_past_where_it_was(gateway: Gateway) -> None:
    exact = gateway.call("/v1/spend", group_by="team")["data"]
    assert {line["group"]["team"]: line["spend"] for line in exact} == {"before": 1, "after": 2}
    daily = gateway.call("/global/spend/teams")["total_spend_per_team"]
    assert {team["team_id"]: team["value"] for team in daily} == {"before": 1, "after": 2}
    days = gateway.call("/global/spend/report", group_by="team")
    assert {team["team_id"]: team["total_spend"] for team in days[-1]["teams"]} == {"before": 1, "after": 2}
    activity = gateway.call("/team/daily/activity", team_ids="before")
    assert activity["metadata"]["total_spend"] == 1


def test_focus(gateway: Gateway) -> None:
    answer = gateway.http.get("/v1/spend", params={"format": "focus"}, headers=gateway.admin)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["SubAccountId"]: float(row["BilledCost"]) for row in rows} == {"before": 1, "after": 2}
    assert {row["ServiceName"] for row in rows} == {"m"}
    assert all(row["ChargePeriodStart"].endswith("T00:00:00Z") for row in rows)
    assert all(json.loads(row["Tags"])["ailink/team"] == row["SubAccountId"] for row in rows)
    one = gateway.http.get("/v1/spend", params={"format": "focus", "team": "before"}, headers=gateway.admin)
    assert len(list(csv.DictReader(io.StringIO(one.text)))) == 1


def pages(gateway: Gateway, **query: Any) -> Any:
    answer = gateway.http.get("/spend/logs/v2", params=query, headers=gateway.admin)
    assert answer.is_success, answer.text
    return answer.json()


def test_attempts_by_pages(gateway: Gateway) -> None:
    newest = gateway.call("/spend/logs")
    one, two = pages(gateway, page_size=2), pages(gateway, page_size=2, page=2)
    assert [one[name] for name in ("total", "page", "page_size", "total_pages")] == [3, 1, 2, 2]
    assert one["data"] + two["data"] == newest
    assert pages(gateway, page_size=2, page=3)["data"] == []
    oldest = pages(gateway, sort_order="asc")["data"]
    assert oldest == newest[::-1]
    for query, count in (
        ({"team_id": "before"}, 1),
        ({"team_id": "after", "status_filter": "success"}, 2),
        ({"status_filter": "failure"}, 0),
        ({"error_code": 500}, 0),
        ({"key_alias": "mover"}, 3),
        ({"key_alias": "nobody"}, 0),
        ({"exclude_internal_health_checks": "true"}, 3),
        ({"team_id": "nobody"}, 0),
        ({"request_id": newest[1]["request_id"]}, 1),
        ({"request_id": "req_else"}, 0),
        ({"api_key": newest[0]["api_key"], "model_group": "m"}, 3),
        ({"model": newest[0]["model"], "model_id": newest[0]["model_id"]}, 3),
        ({"model": "else"}, 0),
        ({"model": "else", "model_id": newest[0]["model_id"]}, 0),
        ({"min_spend": 1, "max_spend": 1, "sort_by": "spend"}, 3),
        ({"min_spend": 1.01}, 0),
        ({"start_date": newest[0]["startTime"][:10], "end_date": newest[0]["startTime"][:10]}, 3),
        ({"end_date": "2026-01-31 08:00:00"}, 0),
        ({"start_date": "2026-01-01", "search": "", "group_by_session": "false"}, 3),
    ):
        assert (pages(gateway, **query)["total"], query) == (count, query)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_date": "soon"}, "start_date"),
        ({"start_date": "2026-02-01", "end_date": "2026-01-01"}, "start_date"),
        ({"end_date": "9999-12-31"}, "end_date"),
        ({"page": 0}, "page"),
        ({"sort_by": "colour"}, "sort_by"),
        ({"search": "x"}, "search"),
    ],
)
def test_bad_pages_are_told(gateway: Gateway, query: dict[str, Any], param: str) -> None:
    refused = gateway.http.get("/spend/logs/v2", params=query, headers=gateway.admin)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert gateway.http.get("/spend/logs/v2", headers=gateway.mint().bearer).status_code in (401, 403)


def logs(gateway: Gateway, **query: Any) -> Any:
    answer = gateway.http.get("/spend/logs", params=query, headers=gateway.admin)
    assert answer.is_success, answer.text
    return answer.json()


def test_attempts_tell_whose_they_are(gateway: Gateway) -> None:
    newest, _, oldest = logs(gateway)
    names = ("team_id", "user", "end_user", "request_tags", "organization_id", "project_id")
    assert [newest[name] for name in names] == ["after", "ann", "cust", ["batch", "night"], None, None]
    assert [oldest[name] for name in names] == ["before", None, None, [], None, None]
    assert logs(gateway, user_id="ann") == logs(gateway)[:2]
    assert logs(gateway, user_id="ann", api_key=newest["api_key"], limit=1) == [newest]
    assert logs(gateway, user_id="nobody") == []


def test_logs_of_days(gateway: Gateway) -> None:
    newest = logs(gateway)
    day = newest[0]["startTime"][:10]
    assert newest[-1]["startTime"][:10] == day, "run across midnight"
    before, after = ((date.fromisoformat(day) + timedelta(days=step)).isoformat() for step in (-1, 1))
    nothing = {"spend": 0, "users": {}, "models": {}}
    sums = {"startTime": day, "spend": 3, "users": {"": 1, "ann": 2}, "models": {"m": 3}}
    whole = {"start_date": before, "end_date": after}
    assert logs(gateway, **whole) == [
        {"startTime": before, **nothing},
        sums,
        {"startTime": after, **nothing},
    ]
    (of_user,) = logs(gateway, start_date=day, end_date=day, user_id="ann", summarize="True")
    assert of_user == {"startTime": day, "spend": 2, "users": {"ann": 2}, "models": {"m": 2}}
    (of_key,) = logs(gateway, start_date=day, api_key=newest[0]["api_key"])
    assert of_key == sums
    assert [one["spend"] for one in logs(gateway, end_date=day)] == [0] * 29 + [3]
    assert logs(gateway, **whole, summarize="false") == newest
    assert logs(gateway, **whole, summarize="False", user_id="ann") == newest[:2]
    assert logs(gateway, **whole, summarize="false", request_id=newest[1]["request_id"]) == [newest[1]]
    assert logs(gateway, start_date="2026-01-01", end_date="2026-01-02", summarize="false") == []
    for query, param in (
        ({**whole, "request_id": "req_1"}, "request_id"),
        ({"request_id": "req_1", "user_id": "ann"}, "user_id"),
        ({"start_date": "2020-01-01"}, "start_date"),
        ({"start_date": after, "end_date": before}, "start_date"),
        ({"end_date": "soon"}, "end_date"),
    ):
        refused = gateway.http.get("/spend/logs", params=query, headers=gateway.admin)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_by_customer_and_tag(gateway: Gateway) -> None:
    day = logs(gateway)[0]["startTime"][:10]
    (of_day,) = gateway.call("/global/spend/report", group_by="customer")
    assert (of_day["group_by_day"], len(of_day["customers"])) == (day, 1)
    customer = of_day["customers"][0]
    assert (customer["customer"], customer["total_spend"]) == ("cust", 2)
    assert [(line["model"], line["spend"]) for line in customer["metadata"]] == [("m", 2)]
    assert gateway.call("/global/spend/report", customer_id="cust") == [of_day]
    assert gateway.call("/global/spend/report", customer_id="nobody") == []
    (of_user,) = gateway.call("/global/spend/report", internal_user_id="ann")
    assert (of_user["internal_user_id"], of_user["total_cost"]) == ("ann", 2)
    (team,) = gateway.call("/team/spend/report", customer_id="cust")
    assert (team["team_id"], team["total_cost"]) == ("after", 2)

    tags = [{"individual_request_tag": name, "log_count": 2, "total_spend": 2} for name in ("batch", "night")]
    assert gateway.call("/spend/tags") == tags
    assert gateway.call("/spend/tags", limit=1) == tags[:1]
    assert gateway.call("/spend/tags", end_date="2026-01-01") == []
    one = gateway.call("/global/spend/tags", tags="night,none")
    assert one == {"spend_per_tag": [{"name": "night", "spend": 2, "log_count": 2}]}
    assert len(gateway.call("/global/spend/tags")["spend_per_tag"]) == 2
    assert gateway.call("/global/spend/all_tag_names") == {"tag_names": ["batch", "night"]}
    assert gateway.call("/global/all_end_users") == {"end_users": ["cust"]}


def test_users_of_tags(gateway: Gateway) -> None:
    day = date.fromisoformat(logs(gateway)[0]["startTime"][:10])
    assert gateway.call("/tag/distinct") == {"results": [{"tag": "batch"}, {"tag": "night"}]}

    def counted(path: str, **query: Any) -> list[tuple[str, int, str, str, str]]:
        names = ("tag", "active_users", "date", "period_start", "period_end")
        return [tuple(one[name] for name in names) for one in gateway.call(path, **query)["results"]]

    # Requests with tags were ann's.
    today = day.isoformat()
    week, month = ((day - timedelta(days=days)).isoformat() for days in (6, 29))
    assert counted("/tag/dau") == [(tag, 1, today, today, today) for tag in ("batch", "night")]
    assert counted("/tag/wau", tag_filter="night") == [("night", 1, "Week 1", week, today)]
    assert counted("/tag/mau", tag_filters="none,batch", tag_filter="night") == [
        ("batch", 1, "Month 1", month, today)
    ]
    assert counted("/tag/dau", tag_filter="none") == []
    (summary,) = gateway.call("/tag/summary", tag_filter="night")["results"]
    tokens = sum(row["total_tokens"] for row in logs(gateway) if "night" in row["request_tags"])
    assert summary == {
        "tag": "night",
        "unique_users": 1,
        "total_requests": 2,
        "successful_requests": 2,
        "failed_requests": 0,
        "total_tokens": tokens,
        "total_spend": 2,
    }
    assert len(gateway.call("/tag/summary")["results"]) == 2
    assert gateway.call("/tag/summary", end_date="2026-01-01") == {"results": []}


def test_spenders(gateway: Gateway) -> None:
    (key,) = gateway.call("/spend/keys")
    assert (key["spend"], key["total_spend"], key["key_alias"]) == (3, 3, "mover")
    assert (key["token"], key["user_id"], key["team_id"]) == (key["api_key"], "ann", "after")
    (user,) = gateway.call("/spend/users")
    assert (user["user_id"], user["spend"], user["api_requests"]) == ("ann", 2, 2)
    assert gateway.call("/spend/users", user_id="ann") == [user]
    assert gateway.call("/spend/users", user_id="nobody") == []
    (provider,) = gateway.call("/global/spend/provider")
    assert (provider["provider"], provider["spend"]) == ("mock", 3)
    (plain,) = gateway.call("/global/spend/keys")
    assert set(plain) == {"api_key", "key_alias", "key_name", "total_spend"}
    per_team = gateway.call("/global/spend/teams")["total_spend_per_team"]
    assert {team["team_id"]: team["total_spend"] for team in per_team} == {"before": 1, "after": 2}


def test_by_day(gateway: Gateway) -> None:
    newest = logs(gateway)[0]
    days = gateway.call("/global/spend/logs")
    assert (len(days), days[-1]) == (31, {"date": newest["startTime"][:10], "spend": 3})
    assert gateway.call("/global/spend/logs", api_key=newest["api_key"])[-1]["spend"] == 3
    assert gateway.call("/global/spend/logs", api_key="sk-nobody-0123456789")[-1]["spend"] == 0
    (model,) = gateway.call("/global/activity/model")
    assert (model["model"], model["sum_api_requests"], model["daily_data"][-1]["api_requests"]) == ("m", 3, 3)


def test_daily_activity_by_what_requests_name(gateway: Gateway) -> None:
    def entities(path: str, **query: Any) -> tuple[float, dict[str, float]]:
        answer = gateway.call(path, **query)
        found = [day["breakdown"]["entities"] for day in answer["results"]]
        named = {name: entity["metrics"]["spend"] for day in found for name, entity in day.items()}
        return answer["metadata"]["total_spend"], named

    for prefix in ("/customer", "/end_user"):
        assert entities(f"{prefix}/daily/activity") == (3, {"cust": 2})
        assert entities(f"{prefix}/daily/activity", end_user_ids="cust") == (2, {"cust": 2})
    assert entities("/customer/daily/activity", exclude_end_user_ids="cust") == (1, {})
    assert entities("/tag/daily/activity") == (3, {"batch": 2, "night": 2})
    assert entities("/tag/daily/activity/aggregated", tags="night") == (2, {"night": 2})
    assert entities("/user/daily/activity", team_ids="before") == (1, {})
    assert entities("/team/daily/activity", user_id="ann", timezone=0) == (2, {"after": 2})
    assert entities("/organization/daily/activity/aggregated") == (3, {})
    assert entities("/team/daily/activity", exclude_team_ids="after") == (1, {"before": 1})
    (key,) = gateway.call("/user/daily/activity")["results"][0]["breakdown"]["api_keys"].values()
    assert key["metadata"]["key_alias"] == "mover"
    refused = gateway.http.get("/user/daily/activity?timezone=-60", headers=gateway.admin)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "timezone")
    page = gateway.http.get("/user/daily/activity/aggregated?page=2", headers=gateway.admin)
    assert (page.status_code, page.json()["error"]["param"]) == (400, "page")


def test_nobody_sees_the_spend_of_others(gateway: Gateway) -> None:
    stranger = gateway.mint()
    for path in (
        "/spend/tags", "/global/spend/tags", "/global/spend/logs", "/tag/daily/activity", "/tag/distinct",
        "/tag/dau", "/tag/summary",
    ):  # fmt: skip
        assert gateway.http.get(path, headers=stranger.bearer).status_code == 403, path
    made = gateway.call("/user/new", {"user_id": f"viewer-{uuid4().hex}"})
    own = {"Authorization": f"Bearer {made['key']}"}
    assert gateway.http.get("/spend/tags", headers=own).json() == []
    for path in ("/tag/distinct", "/tag/mau", "/tag/summary"):
        assert gateway.http.get(path, headers=own).json() == {"results": []}, path
    assert gateway.http.get("/customer/daily/activity", headers=own).json()["results"] == []
    assert gateway.http.get("/global/spend/all_tag_names", headers=own).status_code == 403
    assert gateway.http.get("/global/all_end_users", headers=own).status_code == 403
    assert gateway.http.get("/spend/logs", headers=own).status_code == 403


def test_what_an_answer_costs(gateway: Gateway) -> None:
    def cost(body: dict[str, Any]) -> Any:
        return gateway.http.post("/spend/calculate", json=body, headers=gateway.admin).json()

    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 400}}
    assert cost({"completion_response": {"model": "priced", "usage": usage}}) == {"cost": 0.00066}
    assert cost({"model": "priced", "prompt_tokens": 1000}) == {"cost": 0.001}
    messages = [{"role": "user", "content": "Hello!"}]
    counted = gateway.call("/v1/tokens/count", {"model": "priced", "messages": messages})["tokens"]
    assert cost({"model": "priced", "messages": messages})["cost"] == pytest.approx(counted / 1e6)
    for body, param in (
        ({}, "model"),
        ({"model": "nobody"}, "model"),
        ({"model": "priced", "completion_response": {}}, "completion_response.usage"),
        (
            {"model": "priced", "completion_response": {"usage": {"prompt_tokens": -1}}},
            "completion_response.usage",
        ),
        (
            {"model": "priced", "messages": messages, "completion_response": {"usage": {}}},
            "completion_response",
        ),
    ):
        assert cost(body)["error"]["param"] == param


def test_a_key_is_the_same_by_all_its_names(gateway: Gateway) -> None:
    key = gateway.mint()
    assert ask(gateway, key.secret).status_code == 200
    until(lambda: gateway.call("/global/spend")["spend"] == 4, "it is in the ledger")
    sha256 = hashlib.sha256(key.secret.encode()).hexdigest()
    for name, spend in ((key.secret, 1), (key.token, 1), (sha256, 1), ("sk-nobody-0123456789", 0)):
        activity = gateway.call("/user/daily/activity", api_key=name)
        assert activity["metadata"]["total_spend"] == spend
        report = gateway.call("/global/spend/report", api_key=name)
        assert [line["total_cost"] for line in report] == [1] * spend
