"""Reports by whose spend it was when it was spent, and in FOCUS's columns."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness import Gateway, MockProvider, until
from tests.harness.tenants import ask, team_key, tenants_config


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("reports"), tenants_config(provider)) as running:
        running.call("/team/new", {"team_id": "before", "team_alias": "Before"})
        running.call("/team/new", {"team_id": "after", "team_alias": "After"})
        key = team_key(running, "before", key_alias="mover")
        assert ask(running, key).status_code == 200
        running.call("/key/update", {"key": key, "team_id": "after"})
        for _ in range(2):
            assert ask(running, key).status_code == 200
        until(lambda: running.call("/global/spend")["spend"] == 3, "all is in the ledger")
        yield running


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
