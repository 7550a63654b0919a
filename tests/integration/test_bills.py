"""Bills of providers beside the ledger, reports as Parquet, attempts that are not kept for ever."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)

CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
DAY = time.strftime("%Y-%m-%d", time.gmtime())


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("a", make_deployment(provider, id="a1", model="up-a"), price=CENT),
        make_model("b", make_deployment(provider, id="b1", model="up-b"), price=CENT),
    )
    with Gateway(tmp_path_factory.mktemp("bills"), config) as running:
        key = running.mint()
        for model in ("a", "a", "a", "b"):
            assert ask(running, key, model).status_code == 200
        until(lambda: running.call("/global/spend")["api_requests"] == 4, "all attempts in the ledger")
        yield running


def ask(gateway: Gateway, key: Key, model: str) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model), headers=key.bearer)


def bill(gateway: Gateway, text: str, **more: Any) -> httpx.Response:
    body = {"provider": "mock", "format": "csv", "text": text, **more}
    return gateway.http.post("/v1/bills", json=body, headers=gateway.admin)


def sources(gateway: Gateway) -> dict[str, int]:
    found = gateway.call("/v1/spend", group_by="source")["data"]
    return {line["group"]["source"]: line["requests"] for line in found}


def test_what_agrees_is_reconciled(gateway: Gateway) -> None:
    assert sources(gateway) == {"reported": 4}
    text = f"date,model,cost\n{DAY},up-a-2026-01-31,0.03\n{DAY},up-b,0.25\n{DAY},other,1\n"
    answer = bill(gateway, text)
    assert answer.status_code == 200, answer.text
    found = json.loads(answer.text, parse_float=str)
    assert (found["billed"], found["recorded"], found["difference"]) == ("1.28", "0.04", "1.24")
    assert (found["agreeing"], found["differing"]) == (1, 2)
    assert [(line["model"], line["agrees"], line["deployments"]) for line in found["data"]] == [
        ("other", False, []),
        ("up-a", True, ["a1"]),
        ("up-b", False, ["b1"]),
    ]
    assert sources(gateway) == {"reconciled": 3, "reported": 1}
    logs = gateway.call("/spend/logs")
    assert {(log["model_group"], log["source"]) for log in logs} == {("a", "reconciled"), ("b", "reported")}
    by_both = gateway.call("/v1/spend", group_by="model,source")["data"]
    assert [line["group"] for line in by_both] == [
        {"model": "a", "source": "reconciled"},
        {"model": "b", "source": "reported"},
    ]
    assert gateway.call("/v1/bills", provider="mock")["data"] == answer.json()["data"]
    assert gateway.call("/v1/bills", provider="else")["data"] == []
    # The next bill of the same day takes its place.
    assert bill(gateway, f"date,model,cost\n{DAY},up-b,0.0101\n", percent=2).json()["agreeing"] == 1
    assert sources(gateway) == {"reported": 3, "reconciled": 1}


def test_the_command(gateway: Gateway, tmp_path: Path) -> None:
    start = int(time.time()) // 86_400 * 86_400
    results = [
        {"amount": {"value": 0.02, "currency": "usd"}, "line_item": "up-a, input"},
        {"amount": {"value": 0.01, "currency": "usd"}, "line_item": "up-a, output"},
        {"amount": {"value": 0.01, "currency": "usd"}, "line_item": "up-b, input"},
    ]
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"data": [{"start_time": start, "results": results}]}))
    command = [sys.executable, "-m", "ailink", "reconcile", str(file), "--provider", "mock"]
    command += ["--url", gateway.url, "--key", gateway.admin_key]
    done = subprocess.run([*command, "--format", "openai"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 agree, 0 differ" in done.stdout
    wrong = subprocess.run([*command, "--format", "aws"], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    assert "Cost and Usage Report" in wrong.stderr or "no line" in wrong.stderr


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": "x"}, "text"),
        ({"text": "date,model,cost\n2026-01-01,m,1\n2028-01-01,m,1\n"}, "text"),
        ({"text": "date,model,cost\n2026-01-01,m,9000000\n2026-01-01,m,9000000\n"}, "text"),
        ({"text": "date,model,cost\n2026-01-01,up-a,9e6\n2026-01-01,up-a-latest,9e6\n"}, "text"),
        ({"text": "date,model,cost\n2026-01-01,m,1,234.50\n"}, "text"),
        ({"text": "date,model,cost\n2026-01-01,m,1\n2026-01-02,m"}, "text"),
        ({"text": "date,model,cost\n2026-01-01,,1\n"}, "text"),
        ({"text": "date,model,cost\n2026-01-01,m\0,1\n"}, "text"),
        (
            {
                "format": "openai",
                "text": '{"data": [{"start_time": 1, "results": ['
                '{"amount": {"value": 1}, "line_item": "\\ud800"}]}]}',
            },
            "text",
        ),
        ({"provider": "nobody"}, "provider"),
        ({"format": "xml"}, "format"),
        ({"percent": -1}, "percent"),
    ],
)
def test_bad_bills_are_told(gateway: Gateway, body: dict[str, Any], param: str) -> None:
    refused = bill(gateway, body.pop("text", "date,model,cost\n2026-01-01,m,1\n"), **body)
    assert refused.status_code == (404 if param == "provider" else 400), refused.text
    assert refused.json()["error"]["param"] == param


def test_the_same_bill_twice_counts_once(gateway: Gateway) -> None:
    """Also at once; what is credited is taken off, and a bill of other days changes nothing of these."""
    text = "date,model,cost\n2025-01-01,up-a,0.50\n2025-01-01,up-a,-0.20\n2025-01-03,up-b,-1\n"
    answers = in_parallel(lambda _: bill(gateway, text), range(8), 8)
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.text for answer in answers}) == 1
    span = {"from": "2025-01-01", "to": "2025-01-31"}
    known = json.loads(json.dumps(gateway.call("/v1/bills", **span)["data"]), parse_float=str)
    assert [(line["day"], line["model"], line["billed"]) for line in known] == [
        ("2025-01-01", "up-a", "0.3"),
        ("2025-01-03", "up-b", "-1.0"),
    ]
    assert bill(gateway, "date,model,cost\n2025-01-04,up-a,1\n").status_code == 200
    assert len(gateway.call("/v1/bills", **span)["data"]) == 3


def test_reports_as_parquet(gateway: Gateway) -> None:
    query = {"group_by": "day,model", "format": "parquet"}
    answer = gateway.http.get("/v1/spend", params=query, headers=gateway.admin)
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    rows = [(row["day"].isoformat(), row["model"], str(row["spend"]), row["requests"]) for row in table]
    assert rows == [(DAY, "a", "0.030000000000", 3), (DAY, "b", "0.010000000000", 1)]
