"""The provider's journal against the gateway's ledger.

The mock provider syncs one line per request it has received whole before it answers, in a process that no
test kills: it is the truth about what was asked of the provider and what that used. Money is recomputed here
with fractions, from the journal's figures and the price, in no way that the product shares.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from tests.harness import LedgerRow

USD = 10**12


class Price(NamedTuple):
    """USD per million tokens, as text."""

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None

    def section(self) -> dict[str, float]:
        """As the configuration has it."""
        named = {f"{name}_per_million": value for name, value in self._asdict().items() if value is not None}
        return {name: float(value) for name, value in named.items()}

    def cost(self, *, input: int = 0, output: int = 0, cache_read: int = 0, cache_write: int = 0) -> int:
        """Pico-USD, rounded half to even, once."""
        per_million = [
            (input, self.input),
            (output, self.output),
            (cache_read, self.cache_read or self.input),
            (cache_write, self.cache_write or self.input),
        ]
        return round(sum(tokens * Fraction(price) for tokens, price in per_million) * USD / 1_000_000)


class Truth(NamedTuple):
    """One attempt in the journal. `end` is None while the provider still answers it."""

    received: dict[str, Any]
    end: dict[str, Any] | None

    @property
    def tokens(self) -> dict[str, int]:
        """What a provider bills, each token once. OpenAI counts cached ones in its input, Anthropic not."""
        assert self.end is not None, f"still being answered: {self.received}"
        end = self.end
        anthropic = self.received["path"].endswith("/messages")
        cached = end["cached"]
        return {
            "input": end["usage_in"] if anthropic else end["usage_in"] - cached,
            "output": end["usage_out"],
            "cache_read": cached,
            "cache_write": end["cache_write"],
        }


class Comparison(NamedTuple):
    """What does not fit. All empty: the ledger tells exactly what the provider saw."""

    missing: list[dict[str, Any]]
    """Received by the provider, not in the ledger."""
    extra: list[LedgerRow]
    """In the ledger, never received by the provider, and not among the following."""
    duplicates: list[object]
    """Attempts that stand twice in the ledger or reached the provider twice."""
    given_up: list[LedgerRow]
    """Rows of requests that were given up before the provider had read them, so that it never knew: the
    process died between its intent and the last byte (`unknown`), or the client left right after the request
    was written (`client_gone`, nothing answered). The gateway cannot know that the provider did not read, and
    counts them.
    """
    attempts: dict[int, tuple[LedgerRow, Truth]]
    """Those that are on both sides, by attempt id."""


def compare(rows: Iterable[LedgerRow], journal: Iterable[dict[str, Any]]) -> Comparison:
    """Matches every attempt of the ledger with the provider's journal."""
    rows = list(rows)
    received: dict[int, dict[str, Any]] = {}
    ends: dict[int, dict[str, Any]] = {}
    duplicates: list[object] = []
    for line in journal:
        if line["attempt"] is None:
            continue
        into = received if line["at"] == "received" else ends
        attempt = int(line["attempt"])
        if attempt in into:
            duplicates.append(line)
        into[attempt] = line
    duplicates += [
        row for row, count in Counter((r.request_id, r.attempt_no) for r in rows).items() if count > 1
    ]
    by_id = {row.attempt_id: row for row in rows}
    without = [row for row in rows if row.attempt_id not in received]
    given_up = [
        row
        for row in without
        if row.source == "unknown" or (row.outcome == "client_gone" and row.status == 0)
    ]
    return Comparison(
        missing=[line for attempt, line in received.items() if attempt not in by_id],
        extra=[row for row in without if row not in given_up],
        duplicates=duplicates,
        given_up=given_up,
        attempts={
            attempt: (by_id[attempt], Truth(line, ends.get(attempt)))
            for attempt, line in received.items()
            if attempt in by_id
        },
    )


def cost_differences(attempts: Iterable[tuple[LedgerRow, Truth]], prices: Mapping[str, Price]) -> list[str]:
    """Reported rows whose tokens or cost differ from the provider's usage × price. `prices`: by model."""
    wrong = []
    for row, truth in attempts:
        if row.source != "reported":
            continue
        refused = row.status >= 400
        tokens = dict.fromkeys(truth.tokens, 0) if refused else truth.tokens
        found = {name: getattr(row, name) for name in tokens}
        cost = 0 if refused else prices[row.model or ""].cost(**tokens)
        if found != tokens or row.cost_pico != cost:
            wrong.append(f"{row} != {tokens}, {cost} pico-USD")
    return wrong


class Estimate(NamedTuple):
    """Tokens of one attempt whose usage nobody told: the gateway's and the provider's count."""

    estimated: int
    true: int

    @property
    def good(self) -> bool:
        """Within max(5 %, 32 tokens)."""
        return abs(self.estimated - self.true) <= max(0.05 * self.true, 32)


def estimates(attempts: Iterable[tuple[LedgerRow, Truth]]) -> list[tuple[Estimate, Estimate]]:
    """(input, output) of estimated attempts that a provider answered."""
    found = []
    for row, truth in attempts:
        if row.source == "estimated" and truth.end is not None:
            tokens = truth.tokens
            own_input = row.input + row.cache_read + row.cache_write
            true_input = tokens["input"] + tokens["cache_read"] + tokens["cache_write"]
            found.append((Estimate(own_input, true_input), Estimate(row.output, tokens["output"])))
    return found


_SUMMED = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "reasoning",
    "audio_input",
    "audio_output",
    "units",
)


def rollup_differences(ledger: Path) -> list[str]:
    """Groups of the roll-up that are not the sum of their rows, which are summed here, not by SQL."""
    sums: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0] * (len(_SUMMED) + 2))
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        columns = ", ".join(_SUMMED)
        owners = "key_id, org_id, team_id, user_id, project_id, customer_id, tags_id"
        group = f"{owners}, model_id, deployment_id, source"
        depth = group.count(",") + 2
        rows = connection.execute(f"SELECT at_us, {group}, cost_pico, {columns} FROM attempt")
        for at_us, *rest in rows:
            names, counts = rest[: depth - 1], rest[depth - 1 :]
            sums_of = sums[at_us // 86_400_000_000, *names]
            for index, value in enumerate((1, *counts)):
                sums_of[index] += value
        rolled = {
            tuple(row[:depth]): [row[depth], row[depth + 1] * USD + row[depth + 2], *row[depth + 3 :]]
            for row in connection.execute(
                f"SELECT day, {group}, requests, cost_usd, cost_pico, {columns} FROM rollup"
            )
        }
    return [
        f"{group}: rows {sums.get(group)}, roll-up {rolled.get(group)}"
        for group in sums.keys() | rolled.keys()
        if sums.get(group) != rolled.get(group)
    ]
