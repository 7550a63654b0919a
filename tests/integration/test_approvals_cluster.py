"""Approvals on two nodes with one PostgreSQL: decided anywhere, executed once, whoever dies."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.harness import Cluster, Key, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.cluster import MASTER_KEY

POOL = ThreadPoolExecutor(128)
ADMIN = {"Authorization": f"Bearer {MASTER_KEY}"}


@pytest.fixture
def cluster(
    provider: MockProvider, tmp_path_factory: pytest.TempPathFactory, database_url: str, redis_url: str
) -> Iterator[Cluster]:
    def policy(name: str, **rule: Any) -> dict[str, Any]:
        return {"name": name, "then": [{"require_approval": rule}]}

    config = make_config(
        make_model("accept", make_deployment(provider), policies=["accept"]),
        make_model("hold", make_deployment(provider), policies=["hold"]),
        make_model("slow", make_deployment(provider, "latency=6s"), policies=["accept"]),
        policies=[policy("accept", mode="accept"), policy("hold")],
    )
    directory = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, config, nodes=2, database_url=database_url, redis_urls=[redis_url]) as running:
        yield running


@pytest.fixture
def key(cluster: Cluster) -> Key:
    made = cluster.mint()
    cluster.wait_for(1, made)
    return made


def ask(cluster: Cluster, node: int, key: Key, model: str, text: str, **headers: str) -> httpx.Response:
    url = f"{cluster.nodes[node].url}/v1/chat/completions"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(url, json=chat(model, text), headers={**key.bearer, **named}, timeout=90)


def result(cluster: Cluster, node: int, key: Key, told: dict[str, Any]) -> httpx.Response:
    url = f"{cluster.nodes[node].url}{told['result']}"
    return httpx.get(url, params={"wait": 60}, headers=key.bearer, timeout=90)


def approve(cluster: Cluster, node: int, approval: str) -> None:
    url = f"{cluster.nodes[node].url}/v1/approvals/{approval}/decision"
    answer = httpx.post(url, json={"decision": "approve"}, headers=ADMIN, timeout=30)
    assert answer.status_code == 200, answer.text


def seen(provider: MockProvider, text: str) -> int:
    return len(
        provider.requests(
            where=lambda one: one.path.endswith("/chat/completions") and text in json.dumps(one.json())
        )
    )


def test_two_nodes_execute_once(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    told = ask(cluster, 0, key, "accept", "on two nodes").json()
    waiting = [POOL.submit(result, cluster, number % 2, key, told) for number in range(12)]
    approve(cluster, 1, told["id"])
    answers = [one.result(90) for one in waiting]
    assert {one.status_code for one in answers} == {200}, [one.text for one in answers]
    assert len({one.text for one in answers}) == 1
    assert seen(provider, "on two nodes") == 1
    # Held on both at once: one approval, one execution, one answer.
    held = [POOL.submit(ask, cluster, number % 2, key, "hold", "held on two") for number in range(8)]
    rows = until(
        lambda: cluster.call("/v1/approvals", status="pending", key_id=key.id)["approvals"], "one waits"
    )
    assert len(rows) == 1
    approve(cluster, 1, rows[0]["id"])
    answers = [one.result(90) for one in held]
    assert {one.status_code for one in answers} == {200}, [one.text for one in answers]
    assert len({one.text for one in answers}) == 1
    assert seen(provider, "held on two") == 1


def test_of_a_hundred_who_approve_on_two_nodes_one_does(
    cluster: Cluster, key: Key, provider: MockProvider
) -> None:
    held = POOL.submit(ask, cluster, 0, key, "hold", "a hundred hands on two nodes")
    (row,) = until(
        lambda: cluster.call("/v1/approvals", status="pending", key_id=key.id)["approvals"], "it waits"
    )
    start = threading.Barrier(100)

    def decide(number: int) -> int:
        start.wait()
        url = f"{cluster.nodes[number % 2].url}/v1/approvals/{row['id']}/decision"
        body = {"decision": "reject" if number % 10 == 9 else "approve"}
        while True:
            answer = httpx.post(url, json=body, headers=ADMIN, timeout=60)
            # So many at once are more than the control plane takes.
            if answer.status_code != 503:
                return answer.status_code

    codes = [one.result(90) for one in [POOL.submit(decide, number) for number in range(100)]]
    assert sorted(set(codes)) == [200, 409]
    assert codes.count(200) == 1
    answer = held.result(60)
    told = cluster.call(f"/v1/approvals/{row['id']}", node=1)
    assert len(told["votes"]) == 1
    if answer.status_code == 200:
        assert seen(provider, "a hundred hands on two nodes") == 1
        outcome = "executed"
    else:
        assert seen(provider, "a hundred hands on two nodes") == 0
        outcome = "rejected"
    until(lambda: cluster.call(f"/v1/approvals/{row['id']}", node=1)["status"] == outcome, "it is recorded")


def test_a_dead_node_leaves_what_waits_and_repeats_nothing(
    cluster: Cluster, key: Key, provider: MockProvider
) -> None:
    waits = ask(cluster, 0, key, "accept", "left behind").json()
    runs = ask(cluster, 0, key, "slow", "cut in the middle").json()
    approve(cluster, 0, runs["id"])
    until(lambda: seen(provider, "cut in the middle"), "it is executed")
    # Its caller waits at the node that dies, and comes again at the other with the same name.
    held = POOL.submit(ask, cluster, 0, key, "hold", "held at the dead one", idempotency_key="once")
    rows = until(
        lambda: (
            cluster.call("/v1/approvals", status="pending", key_id=key.id)["approvals"][1:]
            and cluster.call("/v1/approvals", status="pending", key_id=key.id)["approvals"]
        ),
        "it waits too",
    )
    cluster.nodes[0].kill()
    assert isinstance(held.exception(30), httpx.HTTPError)
    again = POOL.submit(ask, cluster, 1, key, "hold", "held at the dead one", idempotency_key="once")
    (joined,) = [row["id"] for row in rows if row["id"] != waits["id"]]
    approve(cluster, 1, joined)
    assert again.result(90).status_code == 200
    assert seen(provider, "held at the dead one") == 1
    until(lambda: cluster.call(f"/v1/approvals/{joined}", node=1)["status"] == "executed", "it is recorded")
    approve(cluster, 1, waits["id"])
    answer = result(cluster, 1, key, waits)
    assert answer.status_code == 200, answer.text
    assert seen(provider, "left behind") == 1
    # Nobody can tell what came of the other: it is not done again.
    lost = result(cluster, 1, key, runs)
    assert lost.status_code == 410, lost.text
    assert lost.json()["error"]["code"] == "approval_outcome_lost"
    assert cluster.call(f"/v1/approvals/{runs['id']}", node=1)["status"] == "unknown"
    assert seen(provider, "cut in the middle") == 1
