"""Two nodes as one: each knows what the other has in flight, and who wishes to be left alone."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    Background,
    Cluster,
    Key,
    MockProvider,
    PostgresServer,
    RedisServer,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)

HEARD_S = 5
ONE, OTHER = 0, 1


@pytest.fixture(scope="module")
def cluster(
    provider: MockProvider,
    postgres_server: PostgresServer,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    def at(name: str, script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, model=name, id=f"{name}-id", **settings)

    config = make_config(
        make_model("busy", at("slow", "latency=2500ms", tags=["slow"]), at("quick", tags=["default"]),
                   routing={"strategy": "least_busy"}),
        make_model("limited", at("full", "status=429;retry_after=40"), at("spare", order=1), retries=1),
        make_model("plain", at("p")),
    )  # fmt: skip
    with Cluster(
        tmp_path_factory.mktemp("cluster"),
        config,
        nodes=2,
        database_url=postgres_server.url(postgres_server.make_database()),
        redis_urls=[redis_server.url],
    ) as running:
        yield running


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Key:
    key = cluster.mint()
    cluster.wait_for(OTHER, key)
    return key


def ask(
    cluster: Cluster, node: int, key: Key, model: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    answer = cluster.nodes[node].http.post(
        "/v1/chat/completions", json=chat(model), headers={**key.bearer, **(headers or {})}
    )
    assert answer.status_code == 200, answer.text
    return answer


def told(cluster: Cluster, node: int, deployment: str) -> dict[str, Any]:
    rows = cluster.call("/health/deployments", node=node)["data"]
    return next(row for row in rows if row["deployment"] == f"{deployment}-id")


def test_the_least_busy_of_all_nodes(cluster: Cluster, key: Key) -> None:
    with Background(lambda: ask(cluster, ONE, key, "busy", {"x-ailink-tags": "slow"}), threads=4):
        until(lambda: told(cluster, OTHER, "slow")["in_flight_elsewhere"] >= 3, "it has heard", HEARD_S)
        assert told(cluster, OTHER, "slow")["in_flight"] == 0
        # By these tags both may be asked: whoever has less in flight, here or there.
        tags = {"x-ailink-tags": "slow,default"}
        served = {ask(cluster, OTHER, key, "busy", tags).headers["x-ailink-deployment"] for _ in range(12)}
    assert served == {"quick-id"}
    until(lambda: told(cluster, OTHER, "slow")["in_flight_elsewhere"] == 0, "what has ended is gone", HEARD_S)


def test_who_wishes_to_be_left_alone(cluster: Cluster, key: Key, provider: MockProvider) -> None:
    assert ask(cluster, ONE, key, "limited").headers["x-ailink-attempts"] == "2"
    until(lambda: told(cluster, OTHER, "full")["state"] == "open", "it has heard", HEARD_S)
    row = told(cluster, OTHER, "full")
    assert row["cause"] == "rate_limited"
    assert 30_000 < row["retry_in_ms"] <= 40_000
    mark = provider.mark()
    assert ask(cluster, OTHER, key, "limited").headers["x-ailink-attempts"] == "1"
    assert [seen.json()["model"] for seen in provider.requests(mark)] == ["spare"]


def test_without_the_other_it_goes_by_what_it_knows(cluster: Cluster, key: Key) -> None:
    with Background(lambda: ask(cluster, ONE, key, "busy", {"x-ailink-tags": "slow"}), threads=2):
        until(lambda: told(cluster, OTHER, "slow")["in_flight_elsewhere"] >= 2, "it has heard", HEARD_S)
        cluster.nodes[ONE].kill()
        until(lambda: told(cluster, OTHER, "slow")["in_flight_elsewhere"] == 0, "it is forgotten", HEARD_S)
        assert ask(cluster, OTHER, key, "plain").status_code == 200
