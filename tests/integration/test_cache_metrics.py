"""What `/metrics` and `ailink cache stats` tell: what was saved, what went, how long lookups take."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

PRICE = {"input_per_million": 0, "output_per_million": 0, "per_request": "0.25"}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("m", make_deployment(provider, "usage=7:9;echo"), price=PRICE),
        make_model("fills", make_deployment(provider, "echo")),
        cache={"enabled": True, "ttl": "1h", "max_bytes": "128KiB", "max_entry_bytes": "32KiB"},
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, text: str, model: str = "m", **headers: str) -> None:
    sent = {**key.bearer, **headers}
    gateway.http.post("/v1/chat/completions", json=chat(model, text), headers=sent).raise_for_status()


def series(gateway: Gateway) -> dict[str, float]:
    text = gateway.http.get("/metrics", headers=gateway.admin).raise_for_status().text
    found = re.findall(r"^(ailink_cache\S*(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_what_was_saved_is_told_by_model(gateway: Gateway, key: Key) -> None:
    for _ in range(3):
        ask(gateway, key, "twice from the cache")
    ask(gateway, key, "twice from the cache", **{"cache-control": "no-store"})
    told = series(gateway)
    outcomes = {"hit": 2, "miss": 1, "bypass": 1, "semantic": 0, "stale": 0, "joined": 0}
    for outcome, count in outcomes.items():
        assert told[f'ailink_cache_requests_total{{model="m",outcome="{outcome}"}}'] == count
    assert told['ailink_cache_saved_usd_total{model="m"}'] == 0.5
    assert told['ailink_cache_saved_tokens_total{model="m",type="input"}'] == 14
    assert told['ailink_cache_saved_tokens_total{model="m",type="output"}'] == 18
    assert told['ailink_cache_saved_seconds_total{model="m"}'] > 0
    assert told["ailink_cache_max_bytes"] == 128 * 1024


def test_an_answer_fetched_anew_is_no_eviction(gateway: Gateway, key: Key) -> None:
    before = series(gateway)
    for _ in range(3):
        ask(gateway, key, "anew", **{"cache-control": "no-cache"})
    after = series(gateway)
    assert after["ailink_cache_stored_total"] - before["ailink_cache_stored_total"] == 3
    assert after["ailink_cache_entries"] - before["ailink_cache_entries"] == 1
    assert after["ailink_cache_evictions_total"] == before["ailink_cache_evictions_total"]


def test_what_goes_for_want_of_room_is_counted(gateway: Gateway, key: Key) -> None:
    for number in range(12):
        ask(gateway, key, f"{number} " + "x" * 20_000, "fills")
    ask(gateway, key, "too long " + "x" * 40_000, "fills")
    told = series(gateway)
    assert told["ailink_cache_evictions_total"] >= 6
    assert told["ailink_cache_not_stored_total"] >= 1
    assert told["ailink_cache_stored_total"] >= 12
    assert 0 < told["ailink_cache_bytes"] <= 128 * 1024
    stats = gateway.call("/cache/stats")
    assert stats["evicted"] == told["ailink_cache_evictions_total"]


def test_lookups_in_memory_are_timed(gateway: Gateway, key: Key) -> None:
    # One in 64 is, by the clock: among 640 that is at least one but for one run in some ten thousand.
    for _ in range(640):
        ask(gateway, key, "timed")
        if gateway.call("/cache/stats")["lookup_us"] > 0:
            break
    told = series(gateway)
    count = told['ailink_cache_read_seconds_count{tier="memory"}']
    assert count > 0
    assert 0 < told['ailink_cache_read_seconds_sum{tier="memory"}'] < count
    assert told['ailink_cache_read_seconds_bucket{tier="memory",le="+Inf"}'] == count


def test_the_command_line_tells_it(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "ailink", "cache", "stats"]
    where = ["--url", gateway.url, "--key", gateway.admin_key]
    told = subprocess.run([*command, *where], check=True, capture_output=True, text=True).stdout
    assert re.search(r"[1-9]\d* evicted for want of room, [1-9]\d* not stored", told), told
    assert re.search(r"\d us a lookup", told), told
