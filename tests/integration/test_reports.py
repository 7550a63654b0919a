"""Reports by whose spend it was when it was spent, and in FOCUS's columns."""

import csv
import io
import json
from collections.abc import Iterator

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
