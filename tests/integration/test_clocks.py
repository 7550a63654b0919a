"""A wall clock that is put: nothing is spent twice, and nothing is shut for longer than it says."""

import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until

CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
HOUR = 3_600
# The wall clock of a process, off by the seconds that stand in a file: callers of libc come through here.
CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *off;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_OFF");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *at = mmap(0, sizeof *off, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (at != MAP_FAILED) off = at;
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    int failed = (int)syscall(SYS_clock_gettime, clock, out);
    if (!failed && off && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) out->tv_sec += *off;
    return failed;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""

Put = Callable[[int], None]


@pytest.fixture
def clock(tmp_path: Path) -> tuple[Put, dict[str, str]]:
    """Puts the clock of who is started with these variables, so many seconds off what was right."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library, off = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "off"
    source.write_text(CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    # Ten minutes past an hour, so that none ends on the way.
    right = 600 - int(time.time()) % HOUR
    off.write_bytes(struct.pack("q", right))

    def put(seconds: int) -> None:
        with off.open("r+b") as file:
            file.write(struct.pack("q", right + seconds))

    return put, {"LD_PRELOAD": str(library), "CLOCK_OFF": str(off)}


@pytest.fixture
def gateway(provider: MockProvider, clock: tuple[Put, dict[str, str]], tmp_path: Path) -> Iterator[Gateway]:
    names = ["hourly", "ever", "sliding", "queued", "free"]
    config = make_config(
        *(make_model(name, make_deployment(provider), price=CENT) for name in names),
        limits=[
            {"on": "model:sliding", "requests": 3, "per": "1h"},
            {"on": "model:queued", "requests": 1, "per": "1s", "on_exhausted": {"queue": "20s"}},
        ],
        budgets={
            "rules": [
                {"on": "model:hourly", "usd": 0.03, "per": "hour"},
                {"on": "model:ever", "usd": 0.03, "per": "lifetime"},
            ]
        },
    )
    with Gateway(tmp_path / "gateway", config, env=clock[1]) as running:
        yield running


def told(gateway: Gateway, key: Key, model: str, count: int = 1) -> list[int]:
    answers = [
        gateway.http.post("/v1/chat/completions", json=chat(model), headers=key.bearer) for _ in range(count)
    ]
    return [answer.status_code for answer in answers]


def test_an_hour_forth_and_back(gateway: Gateway, clock: tuple[Put, dict[str, str]]) -> None:
    put, _ = clock
    key, short = gateway.mint(), gateway.mint(duration="30m")
    assert told(gateway, key, "sliding", 4) == [200] * 3 + [429]
    assert told(gateway, key, "ever", 4) == [200] * 3 + [422]
    asked = 6
    for off, alive in ((HOUR, False), (0, True), (-HOUR, True), (0, True), (-3 * HOUR, True), (0, True)):
        put(off)
        # Windows go by another clock, what lasts for ever by none.
        assert told(gateway, key, "sliding") == [429], off
        assert told(gateway, key, "ever") == [422], off
        # Who waits does not wait an hour.
        assert told(gateway, key, "queued", 2) == [200] * 2, off
        # A key ends by the clock as it is.
        assert told(gateway, short, "free") == [200 if alive else 401], off
        assert told(gateway, gateway.mint(duration="30m"), "free") == [200], off
        asked += 3 + alive
    whole = {"from": "2020-01-01", "to": "2099-01-01"}
    until(lambda: gateway.call("/v1/spend", **whole)["total"]["requests"] == asked, "all is recorded", 20)
    # What was used before is learned anew, whenever it was.
    gateway.restart()
    assert told(gateway, key, "ever") == [422]
    assert told(gateway, key, "sliding") == [429]


def test_a_clock_that_was_far_ahead(gateway: Gateway, clock: tuple[Put, dict[str, str]]) -> None:
    put, _ = clock
    key = gateway.mint()
    assert told(gateway, key, "hourly", 2) == [200] * 2
    put(HOUR)
    # The next hour has a budget of its own, which is not there twice when the clock goes back.
    assert told(gateway, key, "hourly", 4) == [200] * 3 + [422]
    put(0)
    assert told(gateway, key, "hourly") == [422]
    put(370 * 24 * HOUR)
    assert told(gateway, key, "hourly", 4) == [200] * 3 + [422]
    put(0)
    # Right again: it is shut for this hour, not for a year.
    refused = gateway.http.post("/v1/chat/completions", json=chat("hourly"), headers=key.bearer)
    assert refused.status_code == 422
    assert int(refused.headers["retry-after"]) <= HOUR
