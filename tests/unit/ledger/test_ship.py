"""Rows on their way from a node's ledger to PostgreSQL, against a model: whichever step a node dies at, every
attempt is there exactly once in the end, and the sums are those of the rows.
"""

import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.harness.size import sized

from ailink import store
from ailink.ledger.ship import Shipper
from ailink.store import migrate

SCHEMA = Path(__file__).parents[3] / "rust/core/src/ledger"
DAY_US = 86_400_000_000
# 2026-01-30: months change within the rows.
FROM_US = 20_483 * DAY_US
PICO = 10**12


class Death(BaseException):
    """The process ends here."""


class Node:
    """A node's `ledger.db`, which lives longer than its processes."""

    def __init__(self, file: Path, number: int, dice: random.Random) -> None:
        self.number = number
        self._dice = dice
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        for migration in sorted(SCHEMA.glob("0*.sql")):
            self._db.executescript(migration.read_text())
        # Numbers of names differ from node to node.
        for at in range(4):
            for kind in (1, 2, 3):
                row = (1_000 * kind + 10 * number + at, kind, f"{kind}:{at}")
                self._db.execute("INSERT INTO dict VALUES (?, ?, ?)", row)
        self.rows: dict[int, tuple[int, str, int]] = {}
        """Attempt → time, key, cost."""
        self.said: list[tuple[int, str]] = []
        """Verdicts: time, rule."""

    def spend(self, count: int) -> None:
        for _ in range(count):
            # Streams end out of order, blocks of numbers lie apart.
            number = self._dice.choice([1, 2, 70_000, 200_000]) + self._dice.randrange(60_000)
            if number in self.rows:
                continue
            at, cost = self._dice.randrange(4), self._dice.randrange(-PICO, 3 * PICO)
            at_us = FROM_US + self._dice.randrange(4 * DAY_US)
            names = {
                "key_id": 1_000 + 10 * self.number + at, "org_id": 2_000 + 10 * self.number,
                "model_id": 3_000 + 10 * self.number + at,
            }  # fmt: skip
            row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | names | {"attempt_id": number, "at_us": at_us}
            row |= {"request_id": number.to_bytes(16), "cost_pico": cost, "input": 7, "node": self.number}
            row["status"] = 500 if at == 3 else 200
            self._db.execute(
                f"INSERT INTO attempt ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                list(row.values()),
            )
            self.rows[number] = (at_us, f"1:{at}", cost)
            if at == 0:
                verdict = (at_us, number.to_bytes(16), f"rule {number}")
                self._db.execute(
                    "INSERT INTO verdict (at_us, request_id, policy, rule, label, action, shadow, side, "
                    "place, matches, model, key) VALUES (?, ?, 1, ?, '', '', 0, '', '', 1, '', '')",
                    verdict,
                )
                self.said.append((at_us, verdict[2]))

    def line(self, number: int, request_id: bytes, flags: int = 16) -> None:
        """A row of a line of a batch."""
        row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | {"attempt_id": number, "at_us": FROM_US + number}
        row |= {"key_id": 1_000 + 10 * self.number, "org_id": 0, "model_id": 0, "request_id": request_id}
        row |= {"cost_pico": 5, "input": 7, "status": 200, "flags": flags, "node": self.number}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self._db.execute(f"INSERT INTO attempt ({names}) VALUES ({marks})", list(row.values()))

    def flush(self, timeout_s: float) -> None:
        pass

    def ledger_query(self, sql: str, params: bytes, timeout_ms: int) -> bytes:
        rows = self._db.execute(sql, msgspec.msgpack.decode(params)).fetchall()
        return msgspec.msgpack.encode([list(row) for row in rows])


COLUMNS = (
    "deployment_id", "price_id", "operation", "attempt_no", "flags", "source", "class", "output",
    "cache_read", "cache_write", "reasoning", "audio_input", "audio_output", "units", "duration_us",
    "ttft_us", "overhead_us",
)  # fmt: skip


class Mortal:
    """The database as a process sees it that dies before its `last` step: a statement, a commit, the end."""

    def __init__(self, database: Any, last: int) -> None:
        self._database = database
        self._left = last

    @property
    def survived(self) -> bool:
        return self._left > 0

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Death

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        self.step()
        found: list[Any] = await self._database.fetch(sql, params)
        return found

    @asynccontextmanager
    async def connection(self, begin: str, seconds: float | None = None) -> AsyncIterator[Any]:
        self.step()
        async with self._database.connection(begin, seconds) as connection:
            yield _Steps(connection, self.step)
            # Before the commit, and after it: its answer is lost.
            self.step()
        self.step()


class _Steps:
    def __init__(self, connection: Any, step: Callable[[], None]) -> None:
        self._connection = connection
        self._step = step

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        act = getattr(self._connection, name)

        async def after_a_step(*arguments: Any, **named: Any) -> Any:
            self._step()
            return await act(*arguments, **named)

        return after_a_step


async def _send(node: Node, database: Any, last: int) -> bool:
    """A process of the node sends what it has; false: it died."""
    mortal = Mortal(database, last)
    try:
        await Shipper(node, mortal, node.number).once()
    except Death:
        return False
    return True


async def _agrees(database: Any, nodes: Sequence[Node]) -> None:
    found = await database.fetch_rows(
        "SELECT a.node, a.attempt_id, a.at_us, d.text, a.cost_pico "
        "FROM attempt a JOIN dict d ON d.id = a.key_id"
    )
    wanted = [(node.number, at, *row) for node in nodes for at, row in node.rows.items()]
    assert Counter(found) == Counter(wanted)
    said = await database.fetch_rows("SELECT node, at_us, rule FROM verdict ORDER BY node, number")
    assert said == [(node.number, *row) for node in nodes for row in node.said]
    sums: dict[tuple[int, str], list[int]] = {}
    for at_us, key, cost in (row for node in nodes for row in node.rows.values()):
        one = sums.setdefault((at_us // DAY_US, key), [0, 0, 0])
        one[0] += 1
        one[1] += key == "1:3"
        one[2] += cost
    rolled = await database.fetch_rows(
        "SELECT r.day, d.text, sum(r.requests), sum(r.errors), sum(r.cost_usd), sum(r.cost_pico), "
        "sum(r.input) FROM rollup r JOIN dict d ON d.id = r.key_id GROUP BY 1, 2"
    )
    assert {
        (day, key): [int(count), int(errors), int(Decimal(usd) * PICO + pico)]
        for day, key, count, errors, usd, pico, _ in rolled
    } == sums
    assert all(row[6] == 7 * row[2] for row in rolled)


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Any]:
    opened = await store.open(database_url, tmp_path)
    await migrate.apply(opened)
    yield opened
    await opened.close()


async def test_a_death_at_every_step_loses_and_invents_nothing(database: Any, tmp_path: Path) -> None:
    node = Node(tmp_path / "ledger.db", 1, random.Random(1))
    last = 0
    while True:
        last += 1
        node.spend(3)
        if await _send(node, database, last):
            break
        # What the next process does not send either stays where it is.
        if last % 3 == 0:
            await _send(node, database, 10_000)
            await _agrees(database, [node])
    assert last > 15
    await _agrees(database, [node])


@pytest.mark.parametrize("seed", range(sized(2, 50)))
async def test_histories_of_two_nodes(database: Any, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    nodes = [Node(tmp_path / f"{number}.db", number, dice) for number in (1, 2)]
    deaths = 0
    for _ in range(16):
        node = dice.choice(nodes)
        node.spend(dice.randrange(20))
        deaths += not await _send(node, database, dice.randrange(1, 60))
    assert deaths > 0
    for node in nodes:
        assert await _send(node, database, 10_000)
    await _agrees(database, nodes)


async def test_a_line_that_two_nodes_settled_counts_once(database: Any, tmp_path: Path) -> None:
    """Whichever rows arrive first, however often they are sent; what is no batch's is never taken for one."""
    dice = random.Random(7)
    first, second = (Node(tmp_path / f"{number}.db", number, dice) for number in (1, 2))
    lines = [number.to_bytes(16) for number in range(1, 9)]
    for number, request_id in enumerate(lines[:5], 1):
        first.line(number, request_id)
    # The second node took over, and did not know of the last two.
    for number, request_id in enumerate(lines[3:], 1):
        second.line(number, request_id)
    # Attempts of one request that fell back are several, on whichever node.
    for node in (first, second):
        for number in (20, 21):
            node.line(number, bytes(15) + b"\xff", flags=0)
    assert await _send(second, database, 10_000)
    last = 1
    while not await _send(first, database, last):
        last += 1
    assert last > 5

    async def found() -> list[tuple[int, bytes]]:
        rows = await database.fetch_rows("SELECT node, request_id FROM attempt ORDER BY request_id, node")
        return [(int(node), bytes(request_id)) for node, request_id in rows]

    wanted = [(1, one) for one in lines[:3]] + [(2, one) for one in lines[3:]]
    others = [(node, bytes(15) + b"\xff") for node in (1, 1, 2, 2)]
    assert await found() == wanted + others
    sent = "SELECT node, sum(rows_sent) FROM ledger_sent GROUP BY node ORDER BY node"
    assert [(int(a), int(b)) for a, b in await database.fetch_rows(sent)] == [(1, 7), (2, 7)]
    # A row in the same block of numbers brings all of them again.
    first.line(30, bytes(14) + b"\x01\x00")
    for node in (first, second, first):
        assert await _send(node, database, 10_000)
    assert sorted(await found()) == sorted([*wanted, *others, (1, bytes(14) + b"\x01\x00")])
    assert [(int(a), int(b)) for a, b in await database.fetch_rows(sent)] == [(1, 8), (2, 7)]
    summed = await database.fetch_rows("SELECT sum(requests), sum(cost_pico) FROM rollup")
    assert [int(value) for value in summed[0]] == [13, 65]
