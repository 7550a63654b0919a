"""The third tier, in a bucket that verifies signatures, and in a directory: but a miss when it fails."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until
from tests.harness.bucket import Bucket
from tests.harness.cache_nodes import ADMIN, MASTER, SEAL, ask, call, running_nodes, told
from tests.harness.servers import RedisServer

LONG = "long " * 500


def config(provider: MockProvider, objects: dict[str, Any], **more: Any) -> dict[str, Any]:
    cache: dict[str, Any] = {"enabled": True, "ttl": "10m", "objects": objects, **more}
    models = [
        make_model("m", make_deployment(provider, "echo"), cache={"scope": "shared"}),
        make_model("other", make_deployment(provider, "echo"), cache={"scope": "shared"}),
        make_model("keeps", make_deployment(provider, "echo"), cache={"scope": "shared", "ttl": "2h"}),
        make_model("mine", make_deployment(provider, "echo"), cache={"scope": "key"}),
        make_model("slow", make_deployment(provider, "latency=600;echo"), cache={"scope": "shared"}),
    ]
    return make_config(*models, cache=cache, master_key=MASTER, encryption_key=SEAL)


def in_bucket(bucket: Bucket, **more: Any) -> dict[str, Any]:
    return {
        "url": f"s3://{bucket.name}/ailink/test",
        "endpoint": bucket.url,
        "region": "eu-west-1",
        "access_key": bucket.access_key,
        "min_bytes": "1KiB",
        "timeout": "2s",
        **more,
    }


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with Bucket() as running:
        yield running


@pytest.fixture(scope="module")
def nodes(
    provider: MockProvider, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Gateway]]:
    settings = config(provider, in_bucket(bucket))
    with running_nodes(tmp_path_factory, settings, 2) as running:
        yield running


def mint(node: Gateway, **settings: Any) -> Key:
    made = call(node, "/key/generate", settings)
    return Key(secret=made["key"], id=made["key_id"], token=made["token"])


def name_of(response: httpx.Response) -> str:
    key = response.headers["x-ailink-cache-key"]
    return f"ailink/test/e/{key[:2]}/{key}"


def stored(bucket: Bucket, response: httpx.Response) -> bytes:
    return until(lambda: bucket.objects.get(name_of(response)), "the entry is in the bucket")


def tier(node: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = call(node, "/cache/stats")["objects"]
    return found


def written(node: Gateway, count: int) -> None:
    until(lambda: tier(node)["writes"] >= count, f"{count} entries are written")


def test_nodes_share_long_answers(nodes: list[Gateway], bucket: Bucket) -> None:
    first = ask(nodes[0], LONG)
    sealed = stored(bucket, first)
    assert b"long long" not in sealed
    assert b"choices" not in sealed
    # Compressed, too.
    assert len(sealed) < len(first.content) / 2
    second = ask(nodes[1], LONG)
    assert (told(first), told(second), first.content == second.content) == ("miss", "hit", True)
    assert told(ask(nodes[1], LONG, stream=True)) == "hit"
    assert "age" in second.headers
    assert bucket.refused == []
    assert tier(nodes[1])["hits"] == 1


def test_short_answers_go_there_only_where_they_are_kept_for_long(
    nodes: list[Gateway], bucket: Bucket
) -> None:
    short = ask(nodes[0], "short")
    kept = ask(nodes[0], "short", "keeps")
    stored(bucket, kept)
    assert name_of(short) not in bucket.objects
    assert told(ask(nodes[1], "short", "keeps")) == "hit"


def test_names_tell_nobody_whose_entries_are(nodes: list[Gateway], bucket: Bucket) -> None:
    key = mint(nodes[0], tags=["a-telling-tag"])
    answer = ask(nodes[0], LONG, "mine", key.secret)
    stored(bucket, answer)
    names = "\n".join(bucket.objects)
    for word in (key.id, "mine", "a-telling-tag", "default"):
        assert word not in names
    # Another tenant's question is another one.
    other = mint(nodes[0])
    assert told(ask(nodes[0], LONG, "mine", other.secret)) == "miss"


@pytest.mark.parametrize(
    ("purge", "goes", "stays"),
    [
        ({"model": "other"}, ["other"], ["m", "mine"]),
        ({"tag": "red"}, ["m", "other", "mine"], []),
        ({"tag": "blue"}, [], ["m", "other", "mine"]),
        ({"tenant": "shared:default"}, ["m", "other"], ["mine"]),
    ],
)
def test_purges(
    nodes: list[Gateway], bucket: Bucket, purge: dict[str, str], goes: list[str], stays: list[str]
) -> None:
    text = LONG + repr(purge)
    key = mint(nodes[0], tags=["red"])
    answers = {name: ask(nodes[0], text, name, key.secret) for name in (*goes, *stays)}
    for answer in answers.values():
        stored(bucket, answer)
    deleted = call(nodes[0], "/cache/purge", purge)["deleted"]
    assert deleted >= len(goes)
    assert {name: name_of(answers[name]) in bucket.objects for name in answers} == {
        **dict.fromkeys(goes, False),
        **dict.fromkeys(stays, True),
    }
    # What tells of an entry goes with it.
    gone = [answers[name].headers["x-ailink-cache-key"] for name in goes]
    assert not [name for name in bucket.objects if any(key in name for key in gone)]


def test_a_purge_by_key_and_of_everything(nodes: list[Gateway], bucket: Bucket) -> None:
    one, two = ask(nodes[0], LONG + "1"), ask(nodes[0], LONG + "2")
    stored(bucket, one)
    stored(bucket, two)
    keys = [one.headers["x-ailink-cache-key"]]
    assert call(nodes[0], "/cache/delete", {"keys": keys})["deleted"] == 1
    assert name_of(one) not in bucket.objects
    assert name_of(two) in bucket.objects
    assert call(nodes[0], "/cache/flushall", {})["deleted"] >= 1
    assert list(bucket.objects) == ["ailink/test/purged"]


def test_a_purge_reaches_other_nodes(nodes: list[Gateway], bucket: Bucket) -> None:
    stored(bucket, ask(nodes[0], LONG + "everywhere"))
    assert told(ask(nodes[1], LONG + "everywhere")) == "hit"
    call(nodes[0], "/cache/flushall", {})
    # An answer that the other node writes now makes it look whether somebody has purged.
    entries = lambda: call(nodes[1], "/cache/stats")["entries"]  # noqa: E731
    assert entries() >= 1
    ask(nodes[1], LONG + "written behind the purge")
    until(lambda: entries() == 0, "the other node's memory is empty")
    assert told(ask(nodes[1], LONG + "everywhere")) == "miss"


@pytest.mark.parametrize("purger", [0, 1])
def test_a_purge_during_a_fill_does_not_bring_the_entry_back(
    nodes: list[Gateway], bucket: Bucket, provider: MockProvider, purger: int
) -> None:
    mark = provider.mark()
    answers: list[httpx.Response] = []
    text = f"{LONG} purged by {purger}"
    filling = threading.Thread(target=lambda: answers.append(ask(nodes[0], text, "slow")))
    filling.start()
    until(lambda: provider.requests(since=mark), "the provider is asked")
    before = len(bucket.calls)
    call(nodes[purger], "/cache/flushall", {})
    filling.join()
    [answer] = answers
    if purger == 1:
        # The other node knows nothing of it before it has written.
        removed = lambda: ("DELETE", name_of(answer)) in bucket.calls[before:]  # noqa: E731
        until(removed, "the entry is taken back")
    else:
        kept = ask(nodes[0], text + "afterwards")
        stored(bucket, kept)
    assert name_of(answer) not in bucket.objects
    assert told(ask(nodes[1], text, "slow")) == "miss"


def test_what_is_not_ours_is_a_miss(nodes: list[Gateway], bucket: Bucket) -> None:
    before = tier(nodes[1])["foreign"]
    values = (b"", b"garbage", b"ALC1" + bytes(200), b"\xff" * 5000)
    for value in values:
        text = f"{LONG} damaged {len(value)}"
        first = ask(nodes[0], text)
        stored(bucket, first)
        bucket.objects[name_of(first)] = value
        assert told(ask(nodes[1], text)) == "miss"
    one, two = ask(nodes[0], LONG + "one"), ask(nodes[0], LONG + "two")
    entry = stored(bucket, one)
    stored(bucket, two)
    bucket.objects[name_of(two)] = entry
    swapped = ask(nodes[1], LONG + "two")
    assert (told(swapped), swapped.json()["choices"][0]["message"]["content"][-3:]) == ("miss", "two")
    cut = ask(nodes[0], LONG + "cut")
    bucket.objects[name_of(cut)] = stored(bucket, cut)[:-1]
    assert told(ask(nodes[1], LONG + "cut")) == "miss"
    assert tier(nodes[1])["foreign"] - before == len(values) + 2


def test_metrics_and_stats_tell_of_the_tier(nodes: list[Gateway]) -> None:
    text = nodes[1].http.get("/metrics", headers=ADMIN).text
    assert 'ailink_cache_tier_total{tier="objects",outcome="hit"}' in text
    assert 'ailink_cache_tier_open{tier="objects"} 0' in text
    seconds = text.split('ailink_cache_read_seconds_sum{tier="objects"} ')[1].split()[0]
    assert float(seconds) > 0
    stats = call(nodes[1], "/cache/stats")
    assert stats["redis"] is None
    assert stats["objects"]["mean_us"] > 0


@pytest.fixture
def alone(provider: MockProvider, tmp_path: Path) -> Iterator[tuple[Gateway, Bucket]]:
    with (
        Bucket() as bucket,
        Gateway(tmp_path / "gateway", config(provider, in_bucket(bucket, timeout="100ms"))) as gateway,
    ):
        yield gateway, bucket


def test_faults_are_misses_and_the_tier_comes_back(alone: tuple[Gateway, Bucket]) -> None:
    gateway, bucket = alone
    stored(bucket, ask(gateway, LONG))
    for fault in ("drops", "busy", "truncated", "missing"):
        bucket.fault = fault
        assert told(ask(gateway, f"{LONG} {fault}")) == "miss"
    failed = tier(gateway)
    assert failed["errors"] >= 3
    assert failed["last_error"]
    bucket.fault = "none"

    def back() -> bool:
        answer = ask(gateway, f"{LONG} {time.monotonic_ns()}")
        assert told(answer) == "miss"
        return name_of(answer) in bucket.objects

    until(back, "the tier is used again")


def test_a_purge_that_cannot_be_made_is_told(alone: tuple[Gateway, Bucket]) -> None:
    gateway, bucket = alone
    stored(bucket, ask(gateway, LONG))
    bucket.fault = "busy"
    answer = gateway.http.post("/cache/flushall", json={}, headers=ADMIN)
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == "cache_tier_unreachable"
    assert "SlowDown" in error["message"]
    bucket.fault = "none"
    assert call(gateway, "/cache/flushall", {})["deleted"] == 1


def test_a_store_that_stands_still_costs_its_time_out_only(alone: tuple[Gateway, Bucket]) -> None:
    gateway, bucket = alone
    stored(bucket, ask(gateway, LONG))
    bucket.fault = "slow"
    began = time.monotonic()
    assert {told(ask(gateway, f"{LONG} {number}")) for number in range(20)} == {"miss"}
    # Five reads of 100 ms and then none: far below a time-out for each of twenty.
    assert time.monotonic() - began < 20 * 0.25
    found = tier(gateway)
    # Whichever of the two clocks was first.
    assert found["timeouts"] + found["errors"] >= 5
    assert found["open"]
    assert found["skipped"] > 0
    bucket.woken.set()


def test_a_wrong_key_is_told_and_no_error(provider: MockProvider, tmp_path: Path) -> None:
    with Bucket() as bucket:
        settings = config(provider, in_bucket(bucket, access_key="AKIDEXAMPLE:wrong"))
        with Gateway(tmp_path, settings) as gateway:
            assert told(ask(gateway, LONG)) == "miss"
            assert told(ask(gateway, LONG)) == "hit"
            until(
                lambda: "SignatureDoesNotMatch" in (tier(gateway)["last_error"] or ""), "the reason is told"
            )
        assert bucket.objects == {}


def test_a_directory(provider: MockProvider, tmp_path: Path) -> None:
    place = tmp_path / "store"
    settings = config(provider, {"url": f"file://{place}", "min_bytes": "1KiB", "max_bytes": "64KiB"})
    with Gateway(tmp_path / "gateway", settings) as gateway:
        first = ask(gateway, LONG)
        written(gateway, 1)
        [entry] = place.glob("e/*/*")
        assert entry.name == first.headers["x-ailink-cache-key"]
        assert entry.stat().st_mode & 0o777 == 0o600
        assert b"long long" not in entry.read_bytes()
        gateway.restart()
        again = ask(gateway, LONG)
        assert (told(again), again.content == first.content) == ("hit", True)
        assert call(gateway, "/cache/purge", {"model": "m"})["deleted"] == 1
        assert list(place.glob("[ei]/**/*.*")) == []
        assert told(ask(gateway, LONG)) == "miss"
        # What does not shrink fills it; the oldest go.
        noise = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(2500))
        for number in range(8):
            ask(gateway, f"{number} {noise}")
        written(gateway, 9)
        until(
            lambda: sum(one.stat().st_size for one in place.glob("e/*/*")) <= 64 * 1024, "there is room", 10
        )
        assert told(ask(gateway, f"7 {noise}")) == "hit"


def test_long_answers_are_not_in_redis(provider: MockProvider, bucket: Bucket, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        settings = config(provider, in_bucket(bucket), redis={"url": server.url, "timeout": "1s"})
        with (
            Gateway(tmp_path / "one", settings) as one,
            Gateway(tmp_path / "two", settings) as two,
        ):
            ask(one, "short, with Redis")
            stored(bucket, ask(one, LONG + "with Redis"))
            kept = ask(one, "kept, with Redis", "keeps")
            stored(bucket, kept)
            assert {
                told(ask(two, "short, with Redis")),
                told(ask(two, LONG + "with Redis")),
                told(ask(two, "kept, with Redis", "keeps")),
            } == {"hit"}
            stats = call(two, "/cache/stats")
            assert (stats["redis"]["hits"], stats["objects"]["hits"]) == (2, 1)


def test_a_node_waits_for_a_long_answer_of_another(
    provider: MockProvider, bucket: Bucket, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as server:
        settings = config(provider, in_bucket(bucket), redis={"url": server.url, "timeout": "1s"})
        with (
            Gateway(tmp_path / "one", settings) as one,
            Gateway(tmp_path / "two", settings) as two,
        ):
            mark = provider.mark()
            answers: list[httpx.Response] = []
            asking = [
                threading.Thread(target=lambda n=node: answers.append(ask(n, LONG + "for two", "slow")))
                for node in (one, two)
            ]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
            assert sorted(map(told, answers)) == ["hit", "miss"]
            assert len(provider.requests(since=mark)) == 1
