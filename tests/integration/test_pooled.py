"""Two nodes behind a PgBouncer that deals out connections by transaction: what one stores, the other sees."""

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from tests.harness import (
    Cluster,
    MockProvider,
    PostgresServer,
    RedisServer,
    in_parallel,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.cluster import MASTER_KEY
from tests.harness.pooler import POOL, PgBouncer

NODES = 2
CALLS = 60
CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
ADMIN = {"Authorization": f"Bearer {MASTER_KEY}"}


class Place(Cluster):
    """The nodes, and a look at the database behind the pooler's back."""

    server: PostgresServer
    database: str

    def sql(self, statement: str) -> str:
        return self.server.run(statement, self.database)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    provider: MockProvider,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
) -> Iterator[Place]:
    database = postgres_server.make_database()
    with PgBouncer(postgres_server) as pooler:
        place = Place(
            tmp_path_factory.mktemp("cluster"),
            make_config(
                make_model("m", make_deployment(provider, id="m1", model="up-m"), price=CENT),
                cache={"measure": True},
            ),
            nodes=NODES,
            database_url=postgres_server.url(database, pooler.port),
            redis_urls=[redis_server.url],
        )
        place.server, place.database = postgres_server, database
        with place:
            yield place


def test_nodes_share_the_connections_of_a_pooler(place: Place) -> None:
    """Writes, reports and attempts of both at once: nothing of one transaction is left to the next."""
    key = place.mint()
    place.wait_for(1, key)

    def call(number: int) -> httpx.Response:
        node = number % NODES
        if number % 3 == 0:
            return place.ask(node, key)
        if number % 3 == 1:
            body = {"key_alias": f"alias-{number}", "tags": ["t"]}
            return place.nodes[node].http.post("/key/generate", json=body, headers=ADMIN)
        return place.nodes[node].http.get("/v1/spend?group_by=model", headers=ADMIN)

    def work(number: int) -> int:
        """Asks again where the queue of writers is too long for a busy machine: that says nothing here."""
        return until(lambda: (status := call(number).status_code) != 503 and status, "no 503", 20)

    assert set(in_parallel(work, range(CALLS), threads=6)) == {200}
    until(lambda: place.sql("SELECT count(*) FROM attempt") == str(CALLS // 3), "all attempts arrive")
    assert place.sql("SELECT sum(requests) FROM rollup") == str(CALLS // 3)
    made = [f"alias-{number}" for number in range(1, CALLS, 3)]
    for node in range(NODES):
        listed = place.call("/key/aliases", node=node, size=100)["aliases"]
        assert sorted(listed) == sorted(made)
    held = place.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ailink'")
    assert 1 <= int(held) <= POOL
    place.call("/key/block", {"key": key.secret}, node=1)
    for node in range(NODES):
        blocked = partial(lambda node: place.ask(node, key).status_code == 401, node)
        until(blocked, "blocked everywhere")


def test_a_model_made_at_one_node_is_served_by_the_other(place: Place, provider: MockProvider) -> None:
    key = place.mint()
    place.wait_for(1, key)
    params = {"model": "mock/made", "api_base": f"{provider.url}/v1", "input_cost_per_request": 0.02}
    made = place.call("/model/new", {"model_name": "made", "litellm_params": params})
    assert place.ask(0, key, "made").status_code == 200
    until(lambda: place.ask(1, key, "made").status_code == 200, "the other node serves it")
    found = place.call("/model/info", node=1)["data"]
    assert [one["model_info"]["id"] for one in found if one["model_name"] == "made"] == [made["model_id"]]
    # What the other one does to it holds here.
    place.call("/model/delete", {"id": made["model_id"]}, node=1)
    until(lambda: place.ask(0, key, "made").status_code == 404, "gone at the first node")


def exact(place: Place, path: str, node: int, **query: Any) -> Any:
    response = place.nodes[node].http.get(path, params=query, headers=ADMIN)
    assert response.is_success, response.text
    return json.loads(response.text, parse_float=Decimal)


def test_bills_and_savings_are_about_all_nodes(place: Place) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    key = place.mint(key_alias="bills")
    place.wait_for(1, key)
    # The same question at both nodes: one of four is new.
    for number in range(4):
        answer = place.ask(number % NODES, key, messages=[{"role": "user", "content": "the same?"}])
        assert answer.status_code == 200

    def all_there(node: int) -> bool:
        # Of this key: those of tests before this one may still be arriving.
        return bool(exact(place, "/v1/spend", node, key_id=key.id)["total"]["requests"] == 4)

    for node in range(NODES):
        until(partial(all_there, node), "both know of all attempts")
    saved = [exact(place, "/cache/savings", node, scope="key", by="key") for node in range(NODES)]
    for one in saved:
        # They were asked one after the other.
        one.pop("start")
        one.pop("end")
    assert saved[0] == saved[1]
    (line,) = [line for line in saved[0]["lines"] if line["name"] == key.id or line["name"] == "bills"]
    assert (line["hits"], line["saved_usd"]) == (3, Decimal("0.03"))
    known = exact(place, "/v1/spend", 0, group_by="deployment")["data"]
    (spent,) = [line["spend"] for line in known if line["group"]["deployment"] == "m1"]
    text = f"date,model,cost\n{day},up-m,{spent}\n"
    body = {"provider": "mock", "format": "csv", "text": text}
    told = place.call("/v1/bills", body, node=1)
    assert [line["agrees"] for line in told["data"] if line["model"] == "up-m"] == [True]
    assert place.call("/v1/bills", node=0, provider="mock")["data"] == told["data"]
    for node in range(NODES):
        sources = exact(place, "/v1/spend", node, group_by="deployment,source")["data"]
        assert {line["group"]["source"] for line in sources if line["group"]["deployment"] == "m1"} == {
            "reconciled"
        }
