"""Another encryption key: what is stored opens under it, and under the old one no more. A tenant's tokens are
the same on two nodes, before and behind.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import (
    Cluster,
    Gateway,
    Key,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
    write_config,
)
from tests.harness.cluster import ENCRYPTION_KEY
from tests.harness.size import FULL

MAIL = "jane.doe.of.two.nodes@example.org"
NEW_KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def config(provider: MockProvider) -> dict[str, Any]:
    return make_config(
        make_model("kept", make_deployment(provider, "echo=1", model="rekey"), guardrails=["kept"]),
        make_model("slow", make_deployment(provider), policies=["ask"]),
        guardrails=[{"name": "kept", "presets": ["email"], "action": "tokenize", "vault": "tenant"}],
        policies=[{"name": "ask", "then": [{"require_approval": {"mode": "accept"}}]}],
    )


def said(gateway: Gateway, key: Key, text: str) -> str:
    answer = gateway.http.post("/v1/chat/completions", json=chat("kept", text), headers=key.bearer)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def token(gateway: Gateway, provider: MockProvider, key: Key) -> str:
    """What the provider reads instead of the address."""
    mark = provider.mark()
    assert said(gateway, key, f"I am {MAIL}") == f"I am {MAIL}"
    (seen,) = provider.requests(mark, lambda one: one.json()["model"].startswith("rekey"))
    return str(seen.json()["messages"][0]["content"]).removeprefix("I am ")


def rekey(
    gateway: Gateway, *options: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ailink", "rekey", "--config", str(gateway.file), *options]
    return subprocess.run(
        command,
        cwd=gateway.directory,
        env={**os.environ, **gateway.child.env, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def cluster(
    provider: MockProvider, tmp_path_factory: pytest.TempPathFactory, postgres_server: Any, redis_server: Any
) -> Iterator[Cluster]:
    url = postgres_server.url(postgres_server.make_database())
    directory = tmp_path_factory.mktemp("two")
    settings = config(provider)
    with Cluster(directory, settings, nodes=2, database_url=url, redis_urls=[redis_server.url]) as running:
        yield running


def test_two_nodes_give_one_token_and_its_value(cluster: Cluster, provider: MockProvider) -> None:
    key = cluster.mint()
    cluster.wait_for(1, key)
    one, other = cluster.nodes
    mine = token(one, provider, key)
    assert mine.startswith("<EMAIL_")
    # The other node has never seen the value.
    assert said(other, key, f"who is {mine}?") == f"who is {MAIL}?"
    assert token(other, provider, key) == mine


def test_all_that_is_sealed_opens_under_the_new_key(provider: MockProvider, tmp_path: Path) -> None:
    with Gateway(tmp_path, {**config(provider), "encryption_key": ENCRYPTION_KEY}) as gateway:
        key = gateway.mint()
        mine = token(gateway, provider, key)
        asked = gateway.http.post("/v1/chat/completions", json=chat("slow"), headers=key.bearer)
        assert asked.status_code == 202
        again = {**gateway.admin, "idempotency-key": "rekey-1"}
        made = gateway.http.post("/key/generate", json={"key_alias": "once"}, headers=again).json()

        refused = rekey(gateway, "--new-key-env", "NEW_KEY", env={"NEW_KEY": NEW_KEY})
        assert refused.returncode == 1, "a gateway is running"
        gateway.stop()
        done = rekey(gateway, "--new-key-env", "NEW_KEY", env={"NEW_KEY": NEW_KEY})
        assert done.returncode == 0, done.stderr
        assert NEW_KEY not in done.stdout + done.stderr

        write_config(gateway.file, {**config(provider), "encryption_key": NEW_KEY})
        gateway.start()
        assert said(gateway, key, f"who is {mine}?") == f"who is {MAIL}?"
        assert token(gateway, provider, key) == mine
        repeated = gateway.http.post("/key/generate", json={"key_alias": "once"}, headers=again).json()
        assert repeated["key"] == made["key"]
        told = asked.json()
        approved = gateway.http.post(
            f"/v1/approvals/{told['id']}/decision", json={"decision": "approve"}, headers=gateway.admin
        )
        assert approved.status_code == 200, approved.text
        answer = gateway.http.get(told["result"], params={"wait": 20}, headers=key.bearer)
        assert answer.status_code == 200, answer.text


@pytest.mark.skipif(not FULL, reason="three starts of a gateway")
def test_a_key_of_the_data_directory_is_replaced(provider: MockProvider, tmp_path: Path) -> None:
    with Gateway(tmp_path, config(provider)) as gateway:
        key = gateway.mint()
        mine = token(gateway, provider, key)
        file = gateway.data / "encryption.key"
        before = file.read_bytes()
        gateway.stop()
        done = rekey(gateway)
        assert done.returncode == 0, done.stderr
        assert file.read_bytes() != before
        assert file.stat().st_mode & 0o077 == 0
        assert not (gateway.data / "encryption.new").exists()
        gateway.start()
        assert said(gateway, key, f"who is {mine}?") == f"who is {MAIL}?"
        gateway.stop()
        file.write_bytes(before)
        gateway.child.start()
        until(lambda: not gateway.child.running, "it does not start")
        assert "not the encryption key" in gateway.log
