"""`/audit`: every change is told to those who may read it, on both stores."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import pytest
from tests.harness import Gateway, MockProvider, PostgresServer
from tests.harness.tenants import manage, tenants_config

ENCRYPTION_KEY = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="


class Change(NamedTuple):
    """Changes the database behind the gateway's back."""

    server: PostgresServer | None
    place: str

    def __call__(self, sql: str) -> None:
        if self.server is not None:
            self.server.run(sql, self.place)
            return
        with closing(sqlite3.connect(self.place, timeout=30)) as database, database:
            database.execute(sql)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def change(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Change:
    if request.param == "sqlite":
        return Change(None, str(tmp_path_factory.mktemp("database") / "ailink.db"))
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return Change(server, server.make_database())


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, tmp_path_factory: pytest.TempPathFactory, change: Change
) -> Iterator[Gateway]:
    url = f"sqlite:///{change.place}" if change.server is None else change.server.url(change.place)
    config = tenants_config(provider) | {"database_url": url, "encryption_key": ENCRYPTION_KEY}
    with Gateway(tmp_path_factory.mktemp("audit"), config) as running:
        yield running


def command(gateway: Gateway) -> subprocess.CompletedProcess[str]:
    reach = {"AILINK_URL": gateway.url, "AILINK_KEY": gateway.admin_key}
    return subprocess.run(
        [sys.executable, "-m", "ailink", "audit", "verify"],
        env=os.environ | reach,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def person(gateway: Gateway, user: str, org: str, role: str) -> str:
    made = gateway.call("/user/new", {"user_id": user})
    gateway.call(
        "/organization/member_add", {"organization_id": org, "member": {"user_id": user, "role": role}}
    )
    secret: str = made["key"]
    return secret


def test_who_changed_what(gateway: Gateway) -> None:
    for org in ("acme", "rival"):
        gateway.call("/organization/new", {"organization_id": org, "organization_alias": org})
    ann = person(gateway, "ann", "acme", "org_admin")
    auditor = person(gateway, "aud", "acme", "auditor")
    viewer = person(gateway, "vic", "acme", "viewer")
    made = manage(gateway, ann, "POST", "/team/new", {"team_id": "core", "organization_id": "acme"})
    assert made.status_code == 200, made.text
    request_id = manage(
        gateway, ann, "POST", "/team/update", {"team_id": "core", "team_alias": "Core"}
    ).headers["x-request-id"]
    gateway.call("/team/new", {"team_id": "hidden", "organization_id": "rival"})
    key = gateway.call("/key/generate", {"team_id": "core", "max_budget": 5})
    gateway.call("/key/update", {"key": key["key"], "max_budget": 7})

    def told(secret: str | None = None, **query: Any) -> Any:
        headers = gateway.admin if secret is None else {"Authorization": f"Bearer {secret}"}
        answer = gateway.http.get("/audit", params=query, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    newest, before = told(page_size=2)["audit_logs"]
    assert (newest["action"], newest["table_name"], newest["object_id"]) == (
        "key.update",
        "key",
        key["key_id"],
    )
    assert (newest["changed_by"], newest["changed_by_api_key"]) == ("master", "master")
    assert newest["before_value"] != newest["updated_values"]
    assert before["action"] == "key.create"
    assert key["key"] not in str(told(page_size=100))
    assert gateway.call(f"/audit/{newest['id']}") == newest

    (change,) = told(object_id="core", action="team.update")["audit_logs"]
    assert (change["changed_by"], change["request_id"]) == ("ann", request_id)
    assert (change["before_value"], change["updated_values"]) == ({"alias": None}, {"alias": "Core"})
    by_ann = told(changed_by="ann", page_size=100)["audit_logs"]
    assert {one["object_id"] for one in by_ann} == {"core"}
    assert told(changed_by_api_key=ann, page_size=100)["audit_logs"] == by_ann
    assert {one["action"] for one in told(object_key_hash=key["token"])["audit_logs"]} == {
        "key.create",
        "key.update",
    }
    assert told(object_key_hash=key["token"], table_name="team")["total"] == 0
    assert told(changed_by="master", changed_by_api_key=ann)["total"] == 0

    whole = told(page_size=100)
    assert whole["total"] == len(whole["audit_logs"]) > 8
    assert told(page_size=100, sort_order="asc")["audit_logs"] == whole["audit_logs"][::-1]
    second = told(page=2, page_size=3)
    assert second["audit_logs"] == whole["audit_logs"][3:6]
    assert second["total_pages"] == -(-whole["total"] // 3)
    today = datetime.now(UTC).date()
    assert told(start_date=str(today - timedelta(days=1)), end_date=str(today))["total"] == whole["total"]
    assert told(end_date=str(today - timedelta(days=2)))["total"] == 0

    seen = told(auditor, page_size=100)["audit_logs"]
    assert {"core", key["key_id"], "acme"} <= {one["object_id"] for one in seen}
    assert {one["organization_id"] for one in seen} == {"acme"}
    assert "rival" not in str(seen)
    assert "hidden" not in str(seen)
    (foreign,) = told(object_id="hidden")["audit_logs"]
    missing = manage(gateway, auditor, "GET", "/audit/999999999")
    refused = manage(gateway, auditor, "GET", f"/audit/{foreign['id']}")
    assert (refused.status_code, refused.json()) == (missing.status_code, missing.json())
    assert refused.json()["error"]["code"] == "audit_not_found"
    assert manage(gateway, auditor, "GET", f"/audit/{change['id']}").status_code == 200
    for secret in (viewer, gateway.mint().secret):
        assert manage(gateway, secret, "GET", "/audit").status_code == 403


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"start_date": "soon"}, "start_date"),
        ({"end_date": "9999-12-31"}, "end_date"),
        ({"page": "0"}, "page"),
        ({"search": "x"}, "search"),
        ({"sort_by": "action"}, "sort_by"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_questions_are_told(gateway: Gateway, query: dict[str, str], param: str) -> None:
    refused: httpx.Response = gateway.http.get("/audit", params=query, headers=gateway.admin)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("number", ["0", "-1", "x", "٣", "9" * 40])
def test_entries_that_are_not_there(gateway: Gateway, number: str) -> None:
    assert gateway.http.get(f"/audit/{number}", headers=gateway.admin).status_code == 404


def test_the_chain_is_walked_to_its_first_broken_link(gateway: Gateway, change: Change) -> None:
    for org in ("walked", "beside"):
        gateway.call("/organization/new", {"organization_id": org, "organization_alias": org})
    newest = gateway.call("/audit", page_size=1)["audit_logs"][0]
    whole = gateway.call("/audit/verify")
    assert whole == {
        "unbroken": True,
        "entries": int(newest["id"]),
        "hash": newest["hash"],
        "broken_at": None,
        "reason": None,
    }
    told = command(gateway)
    assert (told.returncode, told.stdout) == (
        0,
        f"{newest['id']} entries, unbroken; the last has the hash {newest['hash']}\n",
    )
    # Whoever reads the log of one organization has only a part of the chain.
    auditor = person(gateway, "walker", "walked", "auditor")
    assert manage(gateway, auditor, "GET", "/audit").status_code == 200
    refused = manage(gateway, auditor, "GET", "/audit/verify")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")

    forged = int(newest["id"])
    change(f"UPDATE audit SET actor = 'nobody' WHERE seq = {forged}")
    try:
        broken = gateway.call("/audit/verify")
        assert (broken["unbroken"], broken["broken_at"], broken["reason"]) == (False, forged, "was changed")
        told = command(gateway)
        assert told.returncode == 1
        assert told.stdout == f"broken: entry {forged} was changed; {forged - 1} before it are whole\n"
    finally:
        change(f"UPDATE audit SET actor = 'master' WHERE seq = {forged}")
    assert gateway.call("/audit/verify")["unbroken"]
