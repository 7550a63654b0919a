"""Credentials, models, spend, health and metrics over HTTP."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.admin.gateway import Gateway
from tests.unit.admin.gateway import gateway as make
from tests.unit.ledger.test_reader import NAMES, insert, request_id
from tests.unit.shell.conftest import ADMIN, mint

from ailink.shell.app import create_app

SECRET = "canary-provider-key"


async def test_credentials(http: httpx.AsyncClient, gateway: Gateway) -> None:
    body = {
        "credential_name": "main",
        "credential_values": {"api_key": SECRET},
        "credential_info": {"a": "b"},
    }
    made = await http.post("/credentials", json=body, headers=ADMIN)
    assert made.json() == {"success": True, "message": "Credential created successfully"}
    assert gateway.plane.credentials == {"credential/main": SECRET.encode()}
    view = {
        "credential_name": "main",
        "credential_values": {"api_key": "********"},
        "credential_info": {"a": "b"},
    }
    assert (await http.get("/credentials", headers=ADMIN)).json() == {"success": True, "credentials": [view]}
    assert (await http.get("/credentials/by_name/main", headers=ADMIN)).json() == view
    patch = {"credential_values": {"api_key": "another-key"}, "credential_info": None}
    assert (await http.patch("/credentials/main", json=patch, headers=ADMIN)).status_code == 200
    assert gateway.plane.credentials == {"credential/main": b"another-key"}
    gateway.config.used = {"main"}
    assert (await http.delete("/credentials/main", headers=ADMIN)).status_code == 409
    gateway.config.used = set()
    assert (await http.delete("/credentials/main", headers=ADMIN)).json()["success"] is True
    assert (await http.delete("/credentials/main", headers=ADMIN)).status_code == 404
    assert (await http.get("/credentials/by_name/main", headers=ADMIN)).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"credential_name": "a"}, "credential_values"),
        ({"credential_name": "a", "credential_values": {}}, "credential_values.api_key"),
        (
            {"credential_name": "a", "credential_values": {"api_key": "x", "api_base": "y"}},
            "credential_values.api_base",
        ),
        (
            {"credential_name": "a", "credential_values": {"api_key": "x\r\ny: z"}},
            "credential_values.api_key",
        ),
        ({"credential_name": "a/b", "credential_values": {"api_key": "x"}}, "credential_name"),
        ({"credential_name": "a", "credential_values": {"api_key": "x"}, "model_id": "m"}, "model_id"),
    ],
)
async def test_credentials_refused(asgi: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    response = await asgi.post("/credentials", json=body, headers=ADMIN)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_credential_cannot_be_renamed(asgi: httpx.AsyncClient) -> None:
    response = await asgi.patch("/credentials/a", json={"credential_name": "b"}, headers=ADMIN)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "credential_name")


async def test_models(http: httpx.AsyncClient, gateway: Gateway) -> None:
    everything = (await http.get("/model/info", headers=ADMIN)).json()["data"]
    assert [entry["model_name"] for entry in everything] == ["gpt-4o", "o1", "claude"]
    assert everything[0]["litellm_params"] == {
        "model": "openai/gpt-4o-2026",
        "api_base": "http://10.0.0.1/v1",
    }
    assert everything[0]["model_info"]["input_cost_per_token"] == 1.5e-07
    assert everything[1]["model_info"]["input_cost_per_token"] is None
    _, headers = await mint(gateway, models=["gpt-*"])
    seen = (await http.get("/v1/model/info", headers=headers)).json()["data"]
    assert [entry["model_name"] for entry in seen] == ["gpt-4o"]
    assert seen[0]["litellm_params"]["api_base"] is None, "where a model is served is for admins"
    one = await http.get(
        "/model/info", params={"litellm_model_id": "d-o1", "healthy_only": "false"}, headers=ADMIN
    )
    assert [entry["model_name"] for entry in one.json()["data"]] == ["o1"]
    refused = await http.get("/model/info", params={"healthy_only": "true"}, headers=ADMIN)
    assert refused.status_code == 400


async def test_spend_logs(http: httpx.AsyncClient, gateway: Gateway) -> None:
    raw, headers = await mint(gateway)
    token = (await http.get("/key/info", headers=headers)).json()["key"]
    names = [
        (number, kind, headers["x-ailink-key-id"] if text == "key_a" else text)
        for number, kind, text in NAMES
    ]
    gateway.plane.ledger.executemany("INSERT INTO dict (id, kind, text) VALUES (?, ?, ?)", names)
    for number in range(4):
        insert(gateway.plane.ledger, 100 + number, number, 1 + number % 2)

    rows = (await http.get("/spend/logs", params={"api_key": raw}, headers=ADMIN)).json()
    assert [row["attempt_id"] for row in rows] == ["102", "100"]
    row = rows[1]
    assert row["request_id"] == f"req_{request_id(0).hex()}"
    assert (row["api_key"], row["model_group"], row["model_id"]) == (token, "gpt-4o", "d1")
    assert (row["spend"], row["total_tokens"], row["status"], row["source"]) == (
        1.234567e-06,
        15,
        "success",
        "reported",
    )
    assert (row["call_type"], row["startTime"], row["endTime"]) == (
        "chat", "2026-09-21T14:13:20Z", "2026-09-21T14:13:20.009000Z"
    )  # fmt: skip
    assert raw not in str(rows)

    found = await http.get("/spend/logs", params={"request_id": row["request_id"]}, headers=ADMIN)
    assert found.json() == [row]
    newest = (await http.get("/spend/logs", params={"limit": "1"}, headers=ADMIN)).json()
    assert [entry["attempt_id"] for entry in newest] == ["103"]
    both = await http.get("/spend/logs", params={"request_id": "x", "api_key": raw}, headers=ADMIN)
    assert both.status_code == 400
    unknown = await http.get("/spend/logs", params={"api_key": "sk-nobody-0123456789"}, headers=ADMIN)
    assert unknown.status_code == 404
    assert (await http.get("/spend/logs", params={"start_date": "soon"}, headers=ADMIN)).status_code == 400
    gateway.plane.fail = True
    down = await http.get("/spend/logs", headers=ADMIN)
    assert (down.status_code, down.json()["error"]["code"]) == (503, "ledger_unavailable")


async def test_global_spend(http: httpx.AsyncClient, gateway: Gateway) -> None:
    row = {"key_id": 1, "requests": 2, "errors": 1, "input": 10, "output": 5, "cost_usd": 3, "cost_pico": 7}
    columns = [name for _, name, *_ in gateway.plane.ledger.execute("PRAGMA table_info(rollup)")]
    values = [row.get(name, 0) for name in columns]
    gateway.plane.ledger.execute(f"INSERT INTO rollup VALUES ({', '.join('?' * len(values))})", values)
    response = await http.get("/global/spend", headers=ADMIN)
    assert '"spend":3.000000000007' in response.text
    assert response.json()["failed_requests"] == 1


async def test_health(http: httpx.AsyncClient, gateway: Gateway) -> None:
    gateway.pass_time(90)
    health = (await http.get("/health/readiness/details", headers=ADMIN)).json()
    assert health == {
        "status": "healthy", "db": "connected", "version": "1.2.3", "uptime_seconds": 90, "models": 3,
        "config": {"version": 3, "errors": []}, "identities": {},
    }  # fmt: skip
    gateway.config.details = {"errors": ["ailink.yaml:3:1: models: …"]}
    assert (await http.get("/health/readiness/details", headers=ADMIN)).json()["status"] == "degraded"


async def test_metrics(http: httpx.AsyncClient) -> None:
    await http.get("/key/list", headers=ADMIN)
    await http.get("/key/list")
    await http.get("/nowhere/at/all")
    response = await http.get("/metrics", headers=ADMIN)
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = response.text
    assert text.startswith("# TYPE ailink_requests_total counter\n"), "the data plane's series come first"
    assert 'ailink_shell_requests_total{method="GET",route="/key/list",status="2xx"} 1.0' in text
    assert 'ailink_shell_requests_total{method="GET",route="/key/list",status="4xx"} 1.0' in text
    assert 'ailink_shell_requests_total{method="unmatched",route="unmatched",status="4xx"} 1.0' in text
    assert 'ailink_build_info{version="1.2.3"} 1.0' in text
    assert "process_resident_memory_bytes" in text


async def test_metrics_on_loopback_need_no_key(tmp_path: Path) -> None:
    async with make(tmp_path, loopback=True) as local:
        transport = httpx.ASGITransport(create_app(local.services))
        async with httpx.AsyncClient(transport=transport, base_url="http://shell") as client:
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/key/list")).status_code == 401


async def test_landing(http: httpx.AsyncClient) -> None:
    assert (await http.get("/")).json() == {
        "name": "AILink",
        "version": "1.2.3",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/health/ready",
    }
