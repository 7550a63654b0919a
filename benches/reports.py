"""How long a report takes over a ledger of many rows in PostgreSQL, asked over HTTP of a running gateway.

    python -m benches.reports --rows 50000000

Rows are generated inside the database and summed by the statement that nodes sum with; the answer is compared
with a sum over all rows. Reports do not use the indices by request and by key, so they are left out here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from tests.harness.config import make_config, make_deployment, make_model
from tests.harness.gateway import Gateway
from tests.harness.servers import PostgresServer

from ailink.ledger.ship import month, month_of, summed

TEAMS, KEYS, MODELS, DEPLOYMENTS = 200, 5_000, 40, 80
WANTED = "model-7"
CHUNK = 500_000
WRITERS = 2
# Nothing of it is to survive: pages are written once, without a log ahead of them.
SERVER = (
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=4GB",
    "shared_buffers=256MB",
    "autovacuum=off",
)

# A key belongs to one team and uses three models, each at two deployments.
ROWS = """
    INSERT INTO attempt (at_us, node, attempt_id, request_id, org_id, key_id, model_id, deployment_id,
        price_id, operation, attempt_no, flags, source, status, class, input, output, cache_read,
        cache_write, reasoning, audio_input, audio_output, units, cost_pico, duration_us, ttft_us,
        overhead_us, team_id, user_id, project_id, customer_id, tags_id)
    SELECT {begin} + (n::numeric * {span} / {rows})::bigint, 1, n, decode(md5(n::text), 'hex'), 0, keys.id,
        models.id, deployments.id, 0, 1, 1, 0, 0, CASE WHEN n % 97 = 0 THEN 500 ELSE 200 END, 0,
        100 + n % 1000, n % 500,
        0, 0, 0, 0, 0, 0, 1000000 + (n * 7919) % 100000000007,
        1000, 100, 10, teams.id, 0, 0, 0, 0
    FROM generate_series({first}::bigint, {last}::bigint) AS n
    JOIN names AS keys ON keys.kind = 1 AND keys.number = (n * 31) % {keys}
    JOIN names AS teams ON teams.kind = 6 AND teams.number = keys.number % {teams}
    JOIN names AS models ON models.kind = 3 AND models.number = (keys.number + n % 3) % {models}
    JOIN names AS deployments ON deployments.kind = 4
        AND deployments.number = models.number * 2 + (n / 3) % 2
"""


class Found(NamedTuple):
    rows: int
    sums: int
    seconds: list[float]
    exact: bool


def measure(rows: int, rounds: int = 5) -> Found:
    """Fills a database of its own with `rows` attempts of this month, and asks."""
    with tempfile.TemporaryDirectory() as directory, PostgresServer(*SERVER) as server:
        url = server.url(server.make_database())
        model = make_model("m", make_deployment("http://127.0.0.1:9"))
        with Gateway(Path(directory), make_config(model, database_url=url)) as gateway:
            sums = asyncio.run(_fill(url, rows))
            seconds, answer = [], {}
            for _ in range(rounds):
                began = time.perf_counter()
                answer = _ask(gateway)
                seconds.append(time.perf_counter() - began)
            truth = asyncio.run(_truth(url))
    found = {line["group"]["team"]: Decimal(str(line["spend"])) for line in answer["data"]}
    return Found(rows, sums, seconds, found == truth)


def _ask(gateway: Gateway) -> dict[str, Any]:
    query = {"group_by": "team", "model": WANTED}
    response = httpx.get(f"{gateway.url}/v1/spend", params=query, headers=gateway.admin, timeout=60)
    response.raise_for_status()
    answer: dict[str, Any] = json.loads(response.text, parse_float=Decimal)
    return answer


async def _fill(url: str, rows: int) -> int:
    asyncpg: Any = __import__("asyncpg")
    connection = await asyncpg.connect(url)
    try:
        this = month_of(int(datetime.now(UTC).timestamp()) * 1_000_000)
        begin, end = month(this), month(this + 1)
        name = f"attempt_{this // 12:04d}{this % 12 + 1:02d}"
        partition = (
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF attempt FOR VALUES FROM ({begin}) TO ({end})"
        )
        await connection.execute(partition)
        await connection.execute("CREATE TABLE names (kind bigint, number bigint, id bigint)")
        for kind, word, count in (
            (1, "key", KEYS),
            (6, "team", TEAMS),
            (3, "model", MODELS),
            (4, "d", DEPLOYMENTS),
        ):
            await connection.execute(
                f"""
                WITH made AS (
                    INSERT INTO dict (kind, text)
                    SELECT {kind}, '{word}-' || n FROM generate_series(0, {count - 1}) n RETURNING id, text
                ) INSERT INTO names SELECT {kind}, split_part(text, '-', 2)::bigint, id FROM made
                """
            )
        await connection.execute("ANALYZE names")
        await connection.execute("DROP INDEX attempt_request; DROP INDEX attempt_key")
        await connection.execute(f"ALTER TABLE {name} SET UNLOGGED")
        place = {"begin": begin, "span": end - begin, "rows": rows}
        parts = iter(range(0, rows, CHUNK))
        await asyncio.gather(*(_write(url, place, parts) for _ in range(WRITERS)))
        await connection.execute("SET work_mem = '512MB'")
        await connection.execute(summed("attempt"))
        await connection.execute("ANALYZE rollup")
        sums: int = await connection.fetchval("SELECT count(*) FROM rollup")
        return sums
    finally:
        await connection.close()


async def _write(url: str, place: dict[str, int], parts: Iterator[int]) -> None:
    """Takes part after part until there are none."""
    asyncpg: Any = __import__("asyncpg")
    connection = await asyncpg.connect(url)
    sizes = {"keys": KEYS, "teams": TEAMS, "models": MODELS}
    try:
        for first in parts:
            last = min(first + CHUNK, place["rows"]) - 1
            await connection.execute(ROWS.format(**place, **sizes, first=first, last=last))
    finally:
        await connection.close()


async def _truth(url: str) -> dict[str, Decimal]:
    """The same question asked of the attempts themselves."""
    asyncpg: Any = __import__("asyncpg")
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT t.text AS team, sum(a.cost_pico::numeric) AS pico FROM attempt a "
            "JOIN dict t ON t.id = a.team_id JOIN dict m ON m.id = a.model_id WHERE m.text = $1 GROUP BY 1",
            WANTED,
        )
        return {row["team"]: Decimal(row["pico"]) / 10**12 for row in rows}
    finally:
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    found = measure(parser.parse_args().rows)
    best, worst = min(found.seconds), max(found.seconds)
    told = f"{found.rows:,} attempts, {found.sums:,} sums per day: {best:.3f} to {worst:.3f} s"
    print(f"{told}, exact: {found.exact}")
    sys.exit(0 if found.exact else 1)


if __name__ == "__main__":
    main()
