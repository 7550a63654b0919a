"""What stands for the data plane in unit tests: the same promises, kept in dictionaries."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ailink.admin.plane import KeyRow
from ailink.admin.served import ServedDeployment, ServedModel, ServedProvider
from ailink.config.batch_sites import BatchSite
from ailink.config.schema import Config
from ailink.snapshot import model as wire
from ailink.snapshot.policies import Versioned
from ailink.store.config_objects import ObjectChange
from ailink.store.policies import PolicyRecord

LEDGER_SCHEMA = sorted((Path(__file__).parents[3] / "rust" / "core" / "src" / "ledger").glob("*.sql"))


class FakePlane:
    """Keys, credentials, spend and a ledger with the real schema. `fail` makes the next change raise."""

    def __init__(self) -> None:
        self.keys: dict[bytes, KeyRow] = {}
        self.subjects: dict[tuple[str, str], wire.SubjectRow] = {}
        self.credentials: dict[str, bytes] = {}
        self.spent: dict[str, int] = {}
        self.used: dict[str, tuple[int, str | None]] = {}
        self.uses: list[tuple[str, int, str]] = []
        self.health: list[dict[str, Any]] = []
        self.decisions: dict[str, str] = {}
        self.changed: list[str] = []
        self.forgot = 0
        self.fail = False
        self.behind = False
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.ledger = sqlite3.connect(":memory:", check_same_thread=False)
        for migration in LEDGER_SCHEMA:
            self.ledger.executescript(migration.read_text())

    def close(self) -> None:
        self.ledger.close()
        os.close(self.fd)

    def upsert_keys(self, rows: bytes) -> int:
        self._may_fail()
        decoded = msgspec.msgpack.decode(rows, type=list[KeyRow])
        self.keys |= {row.digest: row for row in decoded}
        return len(decoded)

    def remove_keys(self, digests: list[bytes]) -> int:
        self._may_fail()
        return sum(self.keys.pop(digest, None) is not None for digest in digests)

    def apply_subjects(self, upserts: bytes, removals: bytes) -> int:
        self._may_fail()
        rows = msgspec.msgpack.decode(upserts, type=list[wire.SubjectRow])
        self.subjects |= {(row.kind, row.id): row for row in rows}
        for name in msgspec.msgpack.decode(removals, type=list[tuple[str, str]]):
            self.subjects.pop(name, None)
        return len(rows)

    def subject_spend(self, kind: str, ids: list[str]) -> list[int]:
        return [self.spent.get(f"{kind}:{name}", 0) for name in ids]

    def limit_usage(self, subjects: bytes) -> bytes:
        return msgspec.msgpack.encode([[] for _ in msgspec.msgpack.decode(subjects)])

    def cache_report(self) -> bytes:
        names = ("entries", "bytes", "max_bytes", "stored", "refused", "evicted", "in_flight", "lookup_us")
        return msgspec.msgpack.encode(
            dict.fromkeys(names, 0)
            | {"enabled": True, "semantic": None, "redis": None, "objects": None, "rows": []}
        )

    def cache_entry(self, key: str) -> bytes | None:
        return None

    def cache_redis_info(self) -> bytes | None:
        return None

    def cache_purge(self, purge: bytes) -> int:
        return 0

    def vault_forget(self) -> None:
        self.forgot += 1

    def guard_report(self) -> bytes:
        return msgspec.msgpack.encode(([], [], []))

    def policy_report(self) -> bytes:
        return msgspec.msgpack.encode(([], [], []))

    def policy_replay(self, trial: bytes, from_us: int, to_us: int) -> str:
        return "[]"

    def approvals_changed(self, ids: list[str]) -> None:
        self.changed = ids

    def batch_check(self, asked: bytes) -> bytes:
        return msgspec.msgpack.encode({"error": None, "model": "gpt-4o", "deployments": []})

    def batch_hold(self, setting: bytes) -> bytes:
        return msgspec.msgpack.encode({"error": None, "short": False})

    def batch_release(self, id: str) -> None:
        return None

    def batch_requests(self, lines: bytes) -> bytes:
        return msgspec.msgpack.encode({"error": None, "operation": None, "lines": []})

    def batch_settle(self, settling: bytes) -> bytes:
        return msgspec.msgpack.encode({"error": None, "answers": [], "cost": 0, "spent": 0})

    def provider_call(self, asked: bytes) -> bytes:
        raise RuntimeError("no provider here")

    def push_credentials(self, rows: bytes) -> None:
        self._may_fail()
        self.credentials |= msgspec.msgpack.decode(rows, type=dict[str, bytes])

    def spend(self, key_ids: list[str]) -> list[int]:
        return [self.spent.get(key_id, 0) for key_id in key_ids]

    def last_used(self, key_ids: list[str]) -> list[tuple[int, str | None]]:
        return [self.used.get(key_id, (0, None)) for key_id in key_ids]

    def take_key_uses(self) -> list[tuple[str, int, str]]:
        taken, self.uses = self.uses, []
        return taken

    def deployment_health(self) -> bytes:
        return msgspec.msgpack.encode(self.health)

    def explain(self, request_id: str) -> str | None:
        return self.decisions.get(request_id)

    def flush(self, timeout_s: float) -> None:
        if self.behind:
            raise RuntimeError("not in time")

    def ledger_query(self, sql: str, params: bytes, timeout_ms: int) -> bytes:
        self._may_fail()
        rows = self.ledger.execute(sql, msgspec.msgpack.decode(params)).fetchall()
        return msgspec.msgpack.encode([list(row) for row in rows])

    def metrics(self) -> bytes:
        return b"# TYPE ailink_requests_total counter\nailink_requests_total 3\n"

    def event_fd(self) -> int:
        return self.fd

    def take_events(self) -> bytes:
        return msgspec.msgpack.encode([])

    def _may_fail(self) -> None:
        if self.fail:
            self.fail = False
            raise RuntimeError("the plane failed")


class FakeConfig:
    """A configuration in force."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.details: dict[str, Any] = {"version": 3, "errors": []}

    def models(self) -> Sequence[ServedModel]:
        def model(name: str, **price: int) -> ServedModel:
            place = ServedDeployment(
                id=f"d-{name}",
                provider="openai",
                dialect="openai",
                model=f"{name}-2026",
                base_url="http://10.0.0.1/v1",
                **price,
            )
            return ServedModel(name=name, mode="chat", owned_by="openai", created=1, deployments=(place,))

        return [
            model("gpt-4o", input_price=150_000_000_000, output_price=600_000_000_000),
            model("o1"),
            model("claude"),
        ]

    def providers(self) -> Sequence[ServedProvider]:
        return []

    def batch_site(self, deployment: str) -> BatchSite | None:
        return None

    def guardrails(self) -> Sequence[tuple[wire.Guardrail, list[str]]]:
        return []

    def file(self) -> Config:
        return Config()

    def merged(self) -> Config:
        return Config()

    def stored_policies(self) -> Sequence[Versioned]:
        return []

    def groups(self) -> Mapping[str, str]:
        return {}

    async def refresh(
        self,
        policies: Sequence[PolicyRecord] | None = None,
        objects: ObjectChange | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        return None

    def credentials_in_use(self) -> Collection[str]:
        return self.used

    def status(self) -> Mapping[str, Any]:
        return self.details
