"""Rows that learned routing lives on: samples of routed requests, and feedback about answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ailink.store.database import Queries


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One routed request: `auto` was asked for, `model` was chosen by `version`."""

    request_id: str
    auto: str
    version: str
    model: str
    vector: str
    dense: str
    at_us: int


class Judged(Sample, frozen=True, kw_only=True):
    """With the mean of what was said about it, from 0 to 1."""

    quality: float | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """`value` and `weight` in thousandths."""

    request_id: str
    key_id: str
    org_id: str | None
    trace_id: str | None
    value: int
    weight: int
    metadata: str
    at_us: int


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Feedback of one version: how much, the mean and the mean of the squares, from 0 to 1."""

    version: str
    count: int
    mean: float
    square: float


_COLUMNS = Sample.__struct_fields__


async def put_samples(queries: Queries, samples: Sequence[Sample]) -> None:
    marks = ", ".join("?" for _ in _COLUMNS)
    await queries.executemany(
        f"INSERT INTO route_sample ({', '.join(_COLUMNS)}) VALUES ({marks})"
        " ON CONFLICT (request_id) DO NOTHING",
        [[getattr(sample, column) for column in _COLUMNS] for sample in samples],
    )


async def forget_samples(queries: Queries, before_us: int) -> int:
    return await queries.execute("DELETE FROM route_sample WHERE at_us < ?", (before_us,))


async def judged(queries: Queries, auto: str, limit: int) -> list[Judged]:
    """The latest samples of a model that there is feedback on."""
    names = ", ".join(f"s.{column}" for column in _COLUMNS)
    rows = await queries.fetch(
        f"SELECT {names}, SUM(f.value * f.weight) AS total, SUM(f.weight) AS weight FROM route_sample s"
        " JOIN feedback f ON f.request_id = s.request_id WHERE s.auto = ?"
        f" GROUP BY {names} ORDER BY s.at_us DESC LIMIT ?",
        (auto, limit),
    )
    return [
        Judged(
            **{column: row[column] for column in _COLUMNS},
            quality=int(row["total"]) / int(row["weight"]) / 1_000 if int(row["weight"]) else None,
        )
        for row in rows
    ]


async def tallies(queries: Queries, auto: str, since_us: int) -> list[Tally]:
    """Feedback per version since a time."""
    rows = await queries.fetch(
        "SELECT s.version, COUNT(*) AS count, SUM(f.value) AS total, SUM(f.value * f.value) AS squares"
        " FROM route_sample s JOIN feedback f ON f.request_id = s.request_id"
        " WHERE s.auto = ? AND s.at_us >= ? GROUP BY s.version",
        (auto, since_us),
    )
    return [
        Tally(
            version=row["version"],
            count=int(row["count"]),
            mean=int(row["total"]) / int(row["count"]) / 1_000,
            square=int(row["squares"]) / int(row["count"]) / 1_000_000,
        )
        for row in rows
    ]


async def put_feedback(queries: Queries, feedback: Feedback) -> None:
    columns = Feedback.__struct_fields__
    marks = ", ".join("?" for _ in columns)
    await queries.execute(
        f"INSERT INTO feedback ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT (request_id, key_id)"
        " DO UPDATE SET value = excluded.value, weight = excluded.weight, metadata = excluded.metadata,"
        " at_us = excluded.at_us",
        [getattr(feedback, column) for column in columns],
    )
