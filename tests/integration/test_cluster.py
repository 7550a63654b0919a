"""Three nodes as one gateway: one ledger, in which every attempt stands once, whatever happens in between."""

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from tests.harness import (
    Background,
    Cluster,
    Key,
    MockProvider,
    PostgresServer,
    RedisServer,
    Relay,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.cluster import MASTER_KEY

NODES = 3
CENT = {"per_request": 0.01, "input_per_million": 1, "output_per_million": 3}
ADMIN = {"Authorization": f"Bearer {MASTER_KEY}"}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def database(server: PostgresServer) -> str:
    return server.make_database()


@pytest.fixture(scope="module")
def relay(server: PostgresServer) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        yield relay


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockProvider]:
    with MockProvider(tmp_path_factory.mktemp("provider"), journal=True) as provider:
        yield provider


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    journal: MockProvider,
    server: PostgresServer,
    database: str,
    relay: Relay,
    redis_server: RedisServer,
) -> Iterator[Cluster]:
    with Cluster(
        tmp_path_factory.mktemp("cluster"),
        make_config(make_model("m", make_deployment(journal, "usage=10:20"), price=CENT)),
        nodes=NODES,
        database_url=server.url(database, relay.port),
        redis_urls=[redis_server.url],
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Key:
    key = cluster.mint(key_alias="shared")
    for node in range(NODES):
        cluster.wait_for(node, key)
    return key


def spend(cluster: Cluster, node: int, **query: Any) -> dict[str, Any]:
    answer = cluster.nodes[node].http.get("/v1/spend", params=query, headers=ADMIN)
    assert answer.is_success, answer.text
    found: dict[str, Any] = json.loads(answer.text, parse_float=str)
    return found


def rows(server: PostgresServer, database: str) -> tuple[int, int, int, int]:
    """Attempts, different ones, their cost; the cost by the sums."""
    attempts, different, cost = server.run(
        "SELECT count(*), count(DISTINCT (node, attempt_id)), coalesce(sum(cost_pico), 0) FROM attempt",
        database,
    ).split("|")
    summed = server.run(
        "SELECT coalesce(sum(cost_usd::numeric * 1000000000000 + cost_pico), 0) FROM rollup", database
    )
    return int(attempts), int(different), int(cost), int(summed)


def complete(cluster: Cluster, journal: MockProvider, server: PostgresServer, database: str) -> int:
    """Waits until all attempts stand in the database, and says how many. Each once, sums equal to rows."""
    until(lambda: journal.stats()["in_flight"] == 0, "provider at rest")
    made = len(journal.journal("received"))
    until(lambda: rows(server, database)[0] >= made, "all attempts in the database", 40)
    # What came twice would come now.
    time.sleep(1.5)
    attempts, different, cost, summed = rows(server, database)
    assert (attempts, different) == (made, made)
    assert cost == summed
    return made


def test_what_a_key_and_its_team_have_spent_is_told_alike_by_every_node(cluster: Cluster) -> None:
    team = cluster.call("/team/new", {"team_alias": "spenders"})["team_id"]
    key = cluster.mint(team_id=team)
    for node in range(NODES):
        cluster.wait_for(node, key)
    # Of different weight, so that no node has the sum of all by itself.
    costs = [
        Decimal(cluster.ask(node, key).headers["x-ailink-cost"])
        for node in range(NODES)
        for _ in range(node + 1)
    ]

    def told(node: int) -> list[Decimal]:
        of_key = cluster.call("/key/info", node=node, key=key.secret)["info"]["spend"]
        listed = cluster.call("/key/list", node=node, return_full_object=True, team_id=team)["keys"]
        of_team = cluster.call("/team/info", node=node, team_id=team)["team_info"]["spend"]
        return [Decimal(str(one)) for one in (of_key, listed[0]["spend"], of_team)]

    def agrees(node: int) -> bool:
        return told(node) == [sum(costs)] * 3

    for node in range(NODES):
        until(partial(agrees, node), "all that was spent is told", 20)
    # Counted from the sum of all nodes, whichever is asked.
    reset = cluster.call(f"/key/{key.secret}/reset_spend", {"reset_to": 0}, node=1)
    assert Decimal(str(reset["previous_spend"])) == sum(costs)
    until(lambda: told(2)[0] == 0, "reset everywhere", 20)


def test_the_last_use_of_a_key_is_told_by_every_node_also_after_a_restart(cluster: Cluster) -> None:
    key = cluster.mint()
    cluster.wait_for(1, key)

    def told(node: int) -> list[tuple[str | None, str | None]]:
        info = cluster.call("/key/info", node=node, key=key.secret)["info"]
        listed = cluster.call("/key/list", node=node, return_full_object=True, key_hash=key.token)["keys"]
        return [(view["last_active"], view["last_active_address"]) for view in (info, *listed)]

    assert told(0) == [(None, None)] * 2
    assert cluster.ask(1, key).is_success
    used = told(1)
    assert used[0] == used[1]
    assert used[0][0] is not None
    assert used[0][1] == "127.0.0.1"
    until(lambda: told(0) == told(2) == used, "the use is told everywhere", 20)
    cluster.nodes[1].restart()
    assert told(1) == used


def test_one_ledger(
    cluster: Cluster, key: Key, journal: MockProvider, server: PostgresServer, database: str
) -> None:
    answers = in_parallel(lambda at: cluster.ask(at % NODES, key).status_code, range(60), threads=9)
    assert set(answers) == {200}
    made = complete(cluster, journal, server, database)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    cost = Decimal(0)
    for dimension in (
        "organization", "team", "user", "project", "key", "model", "deployment", "customer", "tag", "day",
        "source",
    ):  # fmt: skip
        told = [spend(cluster, node, group_by=dimension, **{"from": day}) for node in range(NODES)]
        # What the rest of the month will cost depends on when it is asked.
        for one in told:
            one.pop("forecast", None)
        assert told[0] == told[1] == told[2]
        assert told[0]["total"]["requests"] == made, dimension
        cost = Decimal(told[0]["total"]["spend"])
    assert spend(cluster, 0, tag="none")["total"]["requests"] == 0
    named = spend(cluster, 1, key_id=key.id, group_by="model")["total"]
    assert named["requests"] == len(answers)
    assert Decimal(named["spend"]) * made == cost * len(answers), "every request costs the same"
    whole = cluster.nodes[2].http.get("/global/spend/keys", headers=ADMIN)
    assert whole.is_success, whole.text
    assert key.token in whole.text
    logs = cluster.nodes[1].http.get("/spend/logs", params={"limit": 1000}, headers=ADMIN)
    assert len(logs.json()) == made
    one = logs.json()[0]["request_id"]
    found = cluster.nodes[2].http.get("/spend/logs", params={"request_id": one}, headers=ADMIN)
    assert [row["request_id"] for row in found.json()] == [one]


def test_nothing_is_lost_or_doubled_by_outages(
    cluster: Cluster, key: Key, journal: MockProvider, server: PostgresServer, database: str, relay: Relay
) -> None:
    turn = iter(range(1_000_000))
    with Background(lambda: cluster.ask(next(turn) % 2, key).status_code, threads=3, pause=0.01) as load:
        for fault in ("kill", "hole", "node"):
            count = len(load.results) + 40
            until(lambda count=count: len(load.results) > count, "load")
            if fault == "kill":
                server.kill()
            elif fault == "hole":
                relay.set("hole")
            else:
                assert cluster.ask(2, key).status_code == 200
                cluster.nodes[2].kill()
            until(lambda count=count: len(load.results) > count + 40, "load")
            if fault == "kill":
                server.start()
            elif fault == "hole":
                relay.set("pass")
            else:
                cluster.nodes[2].start()
    assert load.errors == []
    assert set(load.results) == {200}
    complete(cluster, journal, server, database)


def test_what_is_left_is_told_also_when_a_share_had_to_be_asked_for(cluster: Cluster) -> None:
    key = cluster.mint(rpm_limit=10, tpm_limit=1_000)
    for node in range(NODES):
        cluster.wait_for(node, key)
    first = cluster.ask(0, key, max_tokens=5)
    assert first.status_code == 200
    assert first.headers["x-ratelimit-remaining-requests"] == "9"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) > 0
