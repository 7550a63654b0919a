"""Rows of a ledger, read from its file.

Only of a process that is not running: a second SQLite library in its directory is harmless, but rows that the
spool still holds would be missed. For a running gateway there is `Gateway.spend_logs`.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from ailink import _core

SOURCES = ("reported", "estimated", "unknown", "reconciled")


class LedgerRow(NamedTuple):
    """One upstream attempt, names in place of numbers. Money in pico-USD, times in µs."""

    attempt_id: int
    request_id: str
    key: str | None
    model: str | None
    deployment: str | None
    price_version: str | None
    operation: str
    attempt_no: int
    flags: int
    source: str
    status: int
    outcome: str
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    audio_input: int
    audio_output: int
    units: int
    cost_pico: int
    at_us: int
    duration_us: int
    ttft_us: int
    overhead_us: int


_SQL = """
    SELECT a.attempt_id, 'req_' || lower(hex(a.request_id)), k.text, m.text, d.text, p.text, a.operation,
        a.attempt_no, a.flags, a.source, a.status, a.class, a.input, a.output, a.cache_read, a.cache_write,
        a.reasoning, a.audio_input, a.audio_output, a.units, a.cost_pico, a.at_us, a.duration_us, a.ttft_us,
        a.overhead_us
    FROM attempt a
    LEFT JOIN dict k ON k.id = a.key_id
    LEFT JOIN dict m ON m.id = a.model_id
    LEFT JOIN dict d ON d.id = a.deployment_id
    LEFT JOIN dict p ON p.id = a.price_id
    ORDER BY a.attempt_id
"""


def read_ledger(file: Path) -> list[LedgerRow]:
    """All rows, in the order of their attempt ids."""
    if not file.exists():
        return []
    operations, outcomes = _core.operations(), _core.outcomes()
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        rows = [LedgerRow(*row) for row in connection.execute(_SQL)]
    return [
        row._replace(
            operation=operations[int(row.operation)],
            source=SOURCES[int(row.source)],
            outcome=outcomes[int(row.outcome)],
        )
        for row in rows
    ]


def rollup_pico(file: Path) -> int:
    """The sum of all cost as the roll-up tells it, in pico-USD."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        usd, pico = connection.execute("SELECT total(cost_usd), total(cost_pico) FROM rollup").fetchone()
    return int(usd) * 10**12 + int(pico)
