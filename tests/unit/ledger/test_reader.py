"""The reader against the real schema of the ledger."""

import sqlite3
from collections.abc import Iterator

import pytest
from tests.unit.admin.fake_plane import FakePlane

from ailink.ledger.reader import LedgerError, LedgerReader, Totals

DAY_US = 86_400_000_000
START_US = 1_790_000_000_000_000
NAMES = [
    (1, 1, "key_a"),
    (2, 1, "key_b"),
    (3, 3, "gpt-4o"),
    (4, 4, "d1"),
    (5, 5, "2026-09-01"),
    (6, 3, "key_a"),
]


def request_id(number: int) -> bytes:
    return ((START_US + number * 1_000_000) // 1_000 << 80 | number).to_bytes(16, "big")


def insert(
    ledger: sqlite3.Connection, attempt_id: int, number: int, key: int, at_us: int | None = None
) -> None:
    at_us = START_US + number * 1_000_000 if at_us is None else at_us
    values = {
        "attempt_id": attempt_id, "node": 0, "request_id": request_id(number), "org_id": 0, "key_id": key,
        "model_id": 3, "deployment_id": 4, "price_id": 5, "operation": 1, "attempt_no": 1, "flags": 1,
        "source": 0, "status": 200, "class": 0, "input": 10, "output": 5, "cache_read": 1, "cache_write": 2,
        "reasoning": 3, "audio_input": 0, "audio_output": 0, "units": 0, "cost_pico": 1_234_567,
        "at_us": at_us, "duration_us": 9_000, "ttft_us": 2_000, "overhead_us": 80,
    }  # fmt: skip
    marks = ", ".join("?" for _ in values)
    ledger.execute(f"INSERT INTO attempt ({', '.join(values)}) VALUES ({marks})", list(values.values()))


@pytest.fixture
def plane() -> Iterator[FakePlane]:
    made = FakePlane()
    made.ledger.executemany("INSERT INTO dict (id, kind, text) VALUES (?, ?, ?)", NAMES)
    yield made
    made.close()


@pytest.fixture
def filled(plane: FakePlane) -> FakePlane:
    # Three attempts per second, numbers with gaps as after restarts.
    for number in range(300):
        insert(plane.ledger, 64 + number + 4_000_000 * (number // 100), number // 3, 1 + number % 2)
    return plane


async def test_newest(filled: FakePlane) -> None:
    rows = await LedgerReader(filled).newest(3)
    assert [row.attempt_id - 8_000_064 for row in rows] == [299, 298, 297]
    first = rows[0]
    assert (first.key_id, first.model, first.deployment, first.price_version) == (
        "key_b",
        "gpt-4o",
        "d1",
        "2026-09-01",
    )
    assert (first.cost_pico, first.overhead_us, first.request_id) == (1_234_567, 80, request_id(99))


async def test_a_ledger_that_is_behind_still_answers(filled: FakePlane) -> None:
    filled.behind = True
    assert len(await LedgerReader(filled).newest(3)) == 3


async def test_of_holder(filled: FakePlane) -> None:
    reader = LedgerReader(filled)
    assert len(await reader.of_holder("key", "key_a", 1_000)) == 150
    assert [row.attempt_id % 2 for row in await reader.of_holder("key", "key_a", 4)] == [0, 0, 0, 0]
    assert await reader.of_holder("key", "nobody", 10) == []
    assert await reader.of_holder("key", "gpt-4o", 10) == [], "a model of that name is no key"


@pytest.mark.parametrize("number", [0, 1, 33, 50, 98, 99])
async def test_of_request(filled: FakePlane, number: int) -> None:
    reader = LedgerReader(filled)
    rows = await reader.of_request(f"req_{request_id(number).hex()}", 10)
    assert {row.request_id for row in rows} == {request_id(number)}
    assert len(rows) == 3
    assert rows == sorted(rows, key=lambda row: row.attempt_id)
    assert await reader.of_request(request_id(number).hex().upper(), 10) == rows


async def test_a_number_held_back_by_an_idle_thread_is_found(filled: FakePlane) -> None:
    insert(filled.ledger, 1, 500_000, 1)
    (row,) = await LedgerReader(filled).of_request(f"req_{request_id(500_000).hex()}", 10)
    assert row.attempt_id == 1


@pytest.mark.parametrize("name", ["", "req_", "chatcmpl-123", "req_" + "g" * 32, "req_" + "0" * 31])
async def test_what_is_no_request_id(filled: FakePlane, name: str) -> None:
    assert await LedgerReader(filled).of_request(name, 10) == []


async def test_an_empty_ledger(plane: FakePlane) -> None:
    reader = LedgerReader(plane)
    assert await reader.newest(5) == []
    assert await reader.of_holder("key", "key_a", 5) == []
    assert await reader.of_request(f"req_{request_id(1).hex()}", 5) == []
    assert await reader.totals() == Totals(attempts=0, errors=0, input=0, output=0, cost_pico=0)


async def test_totals_are_exact_beyond_64_bits(plane: FakePlane) -> None:
    sums = (2, 1, 10, 5, 0, 0, 0, 0, 0, 0, 10**12, 10**12 - 1)
    rows = [(day, 1, 0, 0, 0, 0, 0, 0, 3, 4, 0, *sums) for day in range(2_000)]
    plane.ledger.executemany(f"INSERT INTO rollup VALUES ({', '.join('?' * 23)})", rows)
    totals = await LedgerReader(plane).totals()
    assert totals == Totals(
        attempts=4_000, errors=2_000, input=20_000, output=10_000, cost_pico=2_000 * (10**24 + 10**12 - 1)
    )


async def test_failures(plane: FakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = LedgerReader(plane)
    plane.fail = True
    with pytest.raises(LedgerError, match="cannot be read"):
        await reader.totals()

    def slow(sql: str, params: bytes, timeout_ms: int) -> bytes:
        raise TimeoutError

    monkeypatch.setattr(plane, "ledger_query", slow)
    with pytest.raises(LedgerError, match="did not answer within 5 s"):
        await reader.totals()
