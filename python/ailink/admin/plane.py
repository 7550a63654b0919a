"""The data plane as the shell uses it, and what crosses to it."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec

from ailink.snapshot.model import LimitRule, SubjectKind


class Plane(Protocol):
    """The running data plane. Changes are effective for the next request when a method returns."""

    def upsert_keys(self, rows: bytes) -> int:
        """MessagePack list of `KeyRow`. Raises ValueError for a row it cannot use; none is used then."""

    def remove_keys(self, digests: list[bytes]) -> int:
        """How many of these keys it knew."""

    def apply_subjects(self, upserts: bytes, removals: bytes) -> int:
        """MessagePack lists of `snapshot.model.SubjectRow`, and of kind and id; effective when it returns.
        Raises ValueError for a row it cannot use; none is used then.
        """

    def subject_spend(self, kind: str, ids: list[str]) -> list[int]:
        """What subjects have spent, pico-USD, up to the last settled attempt."""

    def limit_usage(self, subjects: bytes) -> bytes:
        """MessagePack: for each (kind, id) of a list, its limits with what is `used` or reserved of each."""

    def push_credentials(self, rows: bytes) -> None:
        """MessagePack map of slot id to secret."""

    def spend(self, key_ids: list[str]) -> list[int]:
        """What each key has spent, pico-USD, up to the last settled attempt."""

    def last_used(self, key_ids: list[str]) -> list[tuple[int, str | None]]:
        """When each key was used last, µs since 1970, and from which address; 0 and None: not since the
        gateway started.
        """

    def take_key_uses(self) -> list[tuple[str, int, str]]:
        """Id, last use and its address of the keys that were used since this was asked last."""

    def flush(self, timeout_s: float) -> None:
        """Waits until all that was settled so far stands in the ledger; blocks. RuntimeError: not in time."""

    def ledger_query(self, sql: str, params: bytes, timeout_ms: int) -> bytes:
        """Runs one SELECT on the ledger; blocks.

        MessagePack in and out. Raises TimeoutError, RuntimeError.
        """

    def metrics(self) -> bytes:
        """Its series in the Prometheus text format."""

    def deployment_health(self) -> bytes:
        """How each deployment is doing: MessagePack list of maps."""

    def explain(self, request_id: str) -> str | None:
        """The decision about a request as JSON, if it was kept."""

    def cache_report(self) -> bytes:
        """MessagePack of what the cache holds and did."""

    def cache_entry(self, key: str) -> bytes | None:
        """MessagePack of what is known of one entry."""

    def cache_redis_info(self) -> bytes | None:
        """How the second tier does and what Redis says of itself: MessagePack; None without one. Blocks."""

    def cache_purge(self, purge: bytes) -> int:
        """Removes what fits; how many entries went."""

    def guard_report(self) -> bytes:
        """MessagePack: counts per guardrail, latest verdicts, counts of shadow by key."""

    def vault_forget(self) -> None:
        """Values behind tokens are asked for again."""

    def policy_report(self) -> bytes:
        """MessagePack: counts per policy, latest verdicts, counts of shadow by key."""

    def policy_replay(self, trial: bytes, from_us: int, to_us: int) -> str:
        """What a `PolicyTrial` would do with the requests kept from a period: a JSON list."""

    def approvals_changed(self, ids: list[str]) -> None:
        """Whoever waits for these approvals looks at them."""

    def batch_check(self, asked: bytes) -> bytes:
        """Whether a key may ask a model in a batch."""

    def batch_hold(self, setting: bytes) -> bytes:
        """Sets aside what a batch may cost."""

    def batch_release(self, id: str) -> None:
        """Gives it back."""

    def batch_requests(self, lines: bytes) -> bytes:
        """Requests of a batch as a deployment takes them."""

    def batch_settle(self, settling: bytes) -> bytes:
        """Answers of a batch, with rows in the ledger."""

    def provider_call(self, asked: bytes) -> bytes:
        """Asks a provider in the name of a deployment; blocks. RuntimeError: there is no answer."""

    def event_fd(self) -> int:
        """Readable when events wait."""

    def take_events(self) -> bytes:
        """MessagePack list of maps."""


class Endpoint(NamedTuple):
    """One row of the endpoint table: who answers a path, and what it asks of a provider."""

    method: str
    pattern: str
    owner: str
    operation: str


class KeyCache(msgspec.Struct, frozen=True, kw_only=True):
    """What a key and all it belongs to say of the cache; None: nothing. `threshold` in ten-thousandths;
    `controls`: what requests may say, None: all of it.
    """

    mode: Literal["off", "on", "opt_in"] | None = None
    scope: str | None = None
    namespace: str | None = None
    ttl_ms: int | None = None
    store: bool = True
    semantic: Literal["off", "on"] | None = None
    threshold: int | None = None
    controls: list[str] | None = None


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the data plane holds it. `models`, `endpoints` and `ip_allow`: None allows all, empty allows
    nothing.
    """

    digest: bytes
    id: str
    org_id: str | None = None
    alias: str | None = None
    role: str = "key"
    state: str = "active"
    expires_us: int | None = None
    models: list[str] | None = None
    endpoints: list[str] | None = None
    ip_allow: list[str] | None = None
    limits: list[LimitRule] = []
    subjects: list[tuple[SubjectKind, str]] = []
    tags: list[str] = []
    may_tag: bool = False
    guardrails: list[str] = []
    cache: KeyCache | None = None
    stands_for: str | None = None
    """The digest, hexadecimal, of the key that it stands for in sessions and for nothing else."""
