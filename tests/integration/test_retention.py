"""Old attempts are removed and their sums stay, on one node and over all."""

import sqlite3
import time
from pathlib import Path

from tests.harness import (
    Gateway,
    MockProvider,
    PostgresServer,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)

CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}
DAY_US = 86_400_000_000


def test_old_attempts_go_and_sums_stay(provider: MockProvider, tmp_path: Path) -> None:
    kept = make_config(
        make_model("m", make_deployment(provider), price=CENT), server={"ledger": {"keep": "30d"}}
    )
    with Gateway(tmp_path, kept) as gateway:
        key = gateway.mint()
        for _ in range(4):
            answer = gateway.http.post("/v1/chat/completions", json=chat("m"), headers=key.bearer)
            assert answer.status_code == 200
        gateway.stop()
        # Three of them, and their sums, were long ago.
        with sqlite3.connect(gateway.data / "ledger.db") as ledger:
            numbers = [row[0] for row in ledger.execute("SELECT attempt_id FROM attempt ORDER BY attempt_id")]
            ledger.execute(
                "UPDATE attempt SET at_us = at_us - ? WHERE attempt_id < ?", (40 * DAY_US, numbers[3])
            )
        gateway.start()
        until(lambda: len(gateway.call("/spend/logs")) == 1, "old attempts are removed")
        assert gateway.call("/global/spend")["spend"] == 0.04
        assert gateway.call("/v1/spend")["total"]["requests"] == 4
        # Numbers go on.
        gateway.http.post("/v1/chat/completions", json=chat("m"), headers=key.bearer)
        logs = until(lambda: (found := gateway.call("/spend/logs")) and len(found) == 2 and found)
        assert int(logs[0]["attempt_id"]) > numbers[3]


def test_old_months_are_dropped_from_the_ledger_of_all(
    provider: MockProvider, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    database = postgres_server.make_database()
    config = make_config(make_model("m", make_deployment(provider), price=CENT))
    config |= {"database_url": postgres_server.url(database)}
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        gateway.http.post("/v1/chat/completions", json=chat("m"), headers=key.bearer)
        until(lambda: gateway.call("/global/spend")["api_requests"] == 1, "the attempt is there")
        # A month of another node, and one that is too young by a day.
        old, young = "202401", time.strftime("%Y%m", time.gmtime(time.time() - 31 * 86_400))
        for at, name in enumerate((old, young)):
            begin, end = 10**15 * at, 10**15 * at + 1
            made = f"CREATE TABLE IF NOT EXISTS attempt_{name} PARTITION OF attempt"
            postgres_server.run(f"{made} FOR VALUES FROM ({begin}) TO ({end})", database)
        gateway.stop()
    config["server"] = {**config.get("server", {}), "ledger": {"keep": "60d"}}
    with Gateway(tmp_path, config) as gateway:

        def months() -> list[str]:
            sql = "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'attempt'::regclass"
            return postgres_server.run(sql, database).split()

        until(lambda: f"attempt_{old}" not in months(), "the old month is gone", 20)
        assert f"attempt_{young}" in months()
        assert gateway.call("/global/spend")["api_requests"] == 1
