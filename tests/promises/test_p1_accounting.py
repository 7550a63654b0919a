"""P1: no request unaccounted.

Every attempt that reached a provider has exactly one ledger row, also across `kill -9`, a full disk and a
shutdown under load. Rows say how their figures were come by; for reported rows the cost equals the provider's
usage × price to the last pico-USD.

Passes when, over all attempts in the provider's synced journal: 0 missing, 0 extra, 0 duplicate; cost
difference 0 on reported rows; estimated rows flagged, 99 % of them within max(5 %, 32 tokens); `unknown` rows
(crash between send and settlement) priced at their reservation; roll-ups equal the sums of rows; a key's
spend equals the sum of its rows.
"""

import contextlib
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.size import sized
from tests.promises import truth
from tests.promises.conftest import Figures
from tests.promises.generator import Generator, generator
from tests.promises.truth import USD, Price

SEED = 20_261_121
KILLS = sized(20, 100)
# A kill leaves at most the intents that the I/O threads were about to send, one per thread.
UNSENT_PER_KILL = 2
# A client that leaves is noticed right after its request was sent at most this often, seen over all rows.
GIVEN_UP = 0.005
DEFAULT_OUTPUT = 4096
ANTHROPIC_OUTPUT = 1024

# Odd on purpose: a token costs a fraction of a pico-USD, so that rounding shows.
PRICES = {
    "plain": Price("0.150000000007", "0.600000000013", "0.037500000003"),
    "stream": Price("2.5", "10.000000123457"),
    "message": Price("3.0000007", "15", "0.3", "3.75"),
    "flaky": Price("0.123456789123", "0.987654321987"),
    "broken": Price("1.1", "4.4"),
    "embedding": Price("0.020000000007", "0"),
}
FAULTS = [
    "reset_at_event=5;gap=1", "close_at_event=3;gap=1", "reset_at_byte=700", "close_at_byte=1500",
    "drop=reset", "drop=close", "body=garbage", "body=truncated", "usage=none;gap=1;events=20",
    "stall_at_event=4", "error_at_event=4", "garbage_at_event=2", "status=400", "content_length=+7",
]  # fmt: skip


def config(provider: MockProvider, **sections: Any) -> dict[str, Any]:
    """One model per kind of traffic, so that a row's model names its price and its reservation."""
    short = {"idle": "300ms", "first_byte": "2s"}

    def model(name: str, *scripts: str, retries: int = 0, dialect: str = "openai") -> dict[str, Any]:
        made = [make_deployment(provider, script, dialect=dialect) for script in scripts]
        return make_model(name, *made, price=PRICES[name].section(), retries=retries, timeouts=short)

    return make_config(
        model("plain", "latency=uniform:0:30;cached=7"),
        model("stream", "events=30;gap=3"),
        model("message", "latency=10;events=30;gap=3;cached=5;cache_write=3", dialect="anthropic"),
        model("flaky", "status=500", "status=429;retry_after=0", "latency=5", retries=3),
        model("broken", *FAULTS),
        model("embedding", "latency=5"),
        **sections,
    )


def traffic(gateway: Gateway, keys: dict[str, Key], seconds: int) -> list[Generator]:
    """Streamed and not, errors, retries, leaving clients; each kind through a key of its own."""
    unasked = gateway.directory / "unasked.json"
    unasked.write_text(json.dumps(chat("stream", "x" * 900, stream=True)))
    embedding = gateway.directory / "embedding.json"
    embedding.write_text(json.dumps({"model": "embedding", "input": "y" * 500}))
    base = ("--duration", f"{seconds}s", "--seed", str(SEED), "--timeout", "10s")
    leaving = ("--stream", "--model", "stream", "--connections", "3", "--leave")

    def run(name: str, *arguments: str, key: str = "", path: str = "/v1/chat/completions") -> Generator:
        return generator(gateway, keys[key or name], name, *base, *arguments, path=path)

    anthropic = ("--preset", "messages", "--model", "message", "--connections", "2")
    return [
        run("plain", "--model", "plain", "--connections", "4"),
        run("stream", "--body", str(unasked), "--connections", "3"),
        run("message", *anthropic, "--stream", path="/v1/messages"),
        run("message-whole", *anthropic, key="message", path="/v1/messages"),
        run("flaky", "--model", "flaky", "--connections", "3"),
        run("broken", "--model", "broken", "--connections", "3", "--stream"),
        run("broken-whole", "--model", "broken", "--connections", "2", key="broken"),
        run("embedding", "--body", str(embedding), "--connections", "1", path="/v1/embeddings"),
        run("leaving", *leaving, "0.8:7events"),
        run("leaving-early", *leaving, "0.8:40ms", key="leaving"),
    ]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[MockProvider]:
    with MockProvider(tmp_path / "provider", journal=True) as provider:
        yield provider


def mint_all(gateway: Gateway) -> dict[str, Key]:
    return {name: gateway.mint(key_alias=name) for name in (*PRICES, "leaving")}


def quiet(gateway: Gateway, provider: MockProvider) -> None:
    """Waits until nothing is under way: not at the gateway, not at the provider, not on the journal's way to
    disk.
    """
    until(lambda: gateway.metrics()["ailink_requests_in_flight"] == 0, "gateway at rest")
    until(lambda: provider.stats()["in_flight"] == 0, "provider at rest")
    until(lambda: len(provider.journal("received")) == len(provider.journal("end")), "journal complete")


def await_requests(provider: MockProvider, count: int) -> None:
    until(lambda: provider.stats()["requests"] >= count, f"{count} requests", 60)


def spend_of(gateway: Gateway, key: Key) -> int:
    """What the API says a key has spent, pico-USD."""
    response = gateway.http.get("/key/info", params={"key": key.secret}, headers=gateway.admin)
    info = json.loads(response.raise_for_status().text, parse_float=Decimal)["info"]
    return int(Decimal(info["spend"]) * USD)


def reservation(row: Any) -> int:
    """What was set aside for an attempt: the input as estimated and an eighth, all the output allowed."""
    output = ANTHROPIC_OUTPUT if row.operation == "messages" else DEFAULT_OUTPUT
    return PRICES[row.model].cost(input=row.input + row.input // 8, output=output)


def check(
    gateway: Gateway, provider: MockProvider, keys: dict[str, Key], figures: Figures
) -> truth.Comparison:
    """All that must hold of a ledger, once everything has come to rest. Stops the gateway."""
    quiet(gateway, provider)
    ids = {key.id: name for name, key in keys.items()}
    spent = {name: spend_of(gateway, key) for name, key in keys.items()}
    gateway.stop()
    rows = gateway.ledger()
    found = truth.compare(rows, provider.journal())
    sources = Counter(row.source for row in rows)
    figures("attempts", len(found.attempts))
    figures("sources", dict(sources))
    figures(
        "missing / extra / duplicate", f"{len(found.missing)} / {len(found.extra)} / {len(found.duplicates)}"
    )
    given_up = Counter(row.source for row in found.given_up)
    figures("rows of requests given up before the provider read them", dict(given_up))
    assert found.missing == []
    assert found.extra == []
    assert found.duplicates == []
    assert given_up["estimated"] <= GIVEN_UP * len(rows)
    differences = truth.cost_differences(found.attempts.values(), PRICES)
    figures("reported rows with a wrong cost", f"{len(differences)} of {sources['reported']}")
    assert differences == []
    unknown = [row for row in rows if row.source == "unknown"]
    assert [row for row in unknown if row.cost_pico != reservation(row)] == []
    assert truth.rollup_differences(gateway.data / "ledger.db") == []
    sums: Counter[str] = Counter()
    for row in rows:
        sums[ids[row.key or ""]] += row.cost_pico
    assert spent == {name: sums[name] for name in keys}
    return found


def test_kill_9_under_load_loses_and_invents_nothing(
    tmp_path: Path, provider: MockProvider, figures: Figures
) -> None:
    chance = random.Random(SEED)
    with Gateway(tmp_path / "gateway", config(provider)) as gateway, ExitStack() as leaving:
        keys = mint_all(gateway)
        loads = traffic(gateway, keys, seconds=3_600)
        for load in loads:
            leaving.callback(load.leave)
            load.start()
        await_requests(provider, 100)
        began = time.monotonic()
        for number in range(KILLS):
            # The moment of the kill is what the test is about, so it is drawn, not waited for.
            time.sleep(chance.uniform(0.05, 0.7))
            gateway.kill()
            if number % 10 == 9:
                # Once more in the middle of a recovery.
                gateway.child.start()
                time.sleep(chance.uniform(0.05, 0.4))
                gateway.kill()
            gateway.start()
        figures("kills", KILLS + KILLS // 10)
        figures("seconds of kills", round(time.monotonic() - began))
        for load in loads:
            load.leave()
        found = check(gateway, provider, keys, figures)
    unsent = [row for row in found.given_up if row.source == "unknown"]
    assert len(unsent) <= UNSENT_PER_KILL * (KILLS + KILLS // 10)
    models = Counter(row.model for row, _ in found.attempts.values())
    assert set(models) == set(PRICES), f"the load did not mix: {models}"


# How many requests are given up before the provider has read them depends on what else the machine does.
@pytest.mark.alone
def test_sigterm_under_load_loses_nothing(tmp_path: Path, provider: MockProvider, figures: Figures) -> None:
    drain = {"drain": {"timeout": "500ms"}}
    with Gateway(tmp_path / "gateway", config(provider, server=drain)) as gateway, ExitStack() as leaving:
        keys = mint_all(gateway)
        for load in traffic(gateway, keys, seconds=3_600):
            leaving.callback(load.leave)
            load.start()
        for _ in range(3):
            wanted = provider.stats()["requests"] + 200
            await_requests(provider, wanted)
            gateway.stop()
            assert [row for row in gateway.ledger() if row.source == "unknown"] == []
            gateway.start()
        leaving.close()
        check(gateway, provider, keys, figures)


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A file system of this size. Skips the test where it cannot be mounted."""
    directory.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def test_full_disk_refuses_before_anything_is_sent(
    tmp_path: Path, provider: MockProvider, figures: Figures
) -> None:
    with small_disk(tmp_path / "disk", megabytes=8) as disk, ExitStack() as stack:
        small = {"ledger": {"segment_slots": 256, "max_bytes": "1MiB"}}
        settings = config(provider, server=small, data_dir=str(disk / "data"))
        gateway = Gateway(tmp_path / "gateway", settings)
        gateway.data = disk / "data"
        stack.enter_context(gateway)
        keys = mint_all(gateway)

        def ask() -> Any:
            body = chat("plain")
            return gateway.http.post("/v1/chat/completions", headers=keys["plain"].bearer, json=body)

        assert ask().status_code == 200
        ballast = fill(disk)
        answered = refused = 0
        while refused < 50:
            response = ask()
            if response.status_code == 200:
                answered += 1
                assert answered < 5_000, "a full disk is never noticed"
                continue
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (503, "accounting_unavailable"), response.text
            assert int(response.headers["retry-after"]) > 0
            refused += 1
        assert len(provider.journal("received")) == answered + 1, (
            "something was sent that cannot be accounted for"
        )
        ballast.unlink()
        until(lambda: ask().status_code == 200, "recovery once there is space")
        figures("answered on a full disk, from room set aside", answered)
        check(gateway, provider, keys, figures)


@pytest.mark.alone
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_cut_streams_are_estimated_well(
    tmp_path: Path, provider: MockProvider, dialect: str, figures: Figures
) -> None:
    """Clients leave streams of one token an event and of five, after anything from one event to sixty.

    What the provider had sent when it noticed is the truth, so the streams are as fast as fast models are
    (100 and 250 tokens a second), not as fast as a socket.
    """
    scripts = {
        "words": "events=200;gap=10",
        "pieces": "bytes=4000;events=200;gap=20",
        "short": "events=12;gap=10",
    }
    models = [
        make_model(name, make_deployment(provider, script, dialect=dialect), price=PRICES["stream"].section())
        for name, script in scripts.items()
    ]
    path, preset = (
        ("/v1/messages", "messages") if dialect == "anthropic" else ("/v1/chat/completions", "chat")
    )
    with Gateway(tmp_path / "gateway", make_config(*models)) as gateway:
        key = gateway.mint()
        count = sized(40, 200)
        loads = []
        for name in scripts:
            for events in (1, 3, 8) if name == "short" else (1, 20, 60):
                what = ("--stream", "--preset", preset, "--model", name, "--requests", str(count))
                how = ("--connections", "10", "--leave", f"1:{events}events", "--duration", "60s")
                loads.append(generator(gateway, key, f"{name}-{events}", *what, *how, path=path).start())
        # On a machine that is busy with something else a few clients find their stream complete before they
        # leave.
        assert sum(load.report()["left"] for load in loads) > 0.3 * count * len(loads)
        quiet(gateway, provider)
        rows = gateway.stop().ledger()
    found = truth.compare(rows, provider.journal())
    assert (found.missing, found.extra, found.duplicates) == ([], [], [])
    assert {row.source for row in rows if row.outcome == "client_gone"} == {"estimated"}
    pairs = truth.estimates(found.attempts.values())
    for index, name in enumerate(("input", "output")):
        good = sum(pair[index].good for pair in pairs)
        worst = max(abs(pair[index].estimated - pair[index].true) for pair in pairs)
        figures(f"{name} within max(5 %, 32 tokens)", f"{good} of {len(pairs)}, worst off by {worst} tokens")
        assert good >= 0.99 * len(pairs), (
            f"{name}: {[pair[index] for pair in pairs if not pair[index].good][:20]}"
        )
