"""Reports against an obvious twin that adds up the rows one by one."""

import asyncio
import random
from collections import Counter

import msgspec
import pytest
from tests.unit.admin.fake_plane import FakePlane

from ailink.ledger.reader import LedgerReader
from ailink.ledger.report import COLUMNS, DAY_US, Question, ask, forecast

NAMES = {
    "organization": ["acme"], "team": ["red", "blue"], "user": ["ann", "bob"], "project": ["p"],
    "key": ["k1", "k2", "k3"], "model": ["gpt-4o", "claude"], "deployment": ["d1", "d2"],
    "customer": ["c1", "c2"], "tag": ['["a"]', '["a","b"]'],
}  # fmt: skip
FIRST = 20_000


@pytest.fixture(scope="module")
def rows():
    """Attempts of five days, each with its names."""
    dice = random.Random(4)
    made = []
    for number in range(1, 400):
        names = {kind: dice.choice([*choices, None]) for kind, choices in NAMES.items()}
        at_us = FIRST * DAY_US + number * 5 * DAY_US // 400
        made.append({"id": number, "at_us": at_us, "cost": dice.randrange(10**15), "names": names})
    return made


@pytest.fixture(scope="module")
def reader(rows):
    plane = FakePlane()
    ids = {}
    for kind, choices in NAMES.items():
        for name in choices:
            ids[kind, name] = len(ids) + 1
            plane.ledger.execute("INSERT INTO dict VALUES (?, ?, ?)", (len(ids), COLUMNS[kind][1], name))
    for row in rows:
        columns = {COLUMNS[kind][0]: ids.get((kind, name), 0) for kind, name in row["names"].items()}
        counts = {
            "input": 10, "output": 5, "cache_read": 1, "cache_write": 2, "reasoning": 0, "audio_input": 0,
            "audio_output": 0, "units": 1, "source": 0,
        }  # fmt: skip
        attempt = columns | counts | {
            "attempt_id": row["id"], "node": 0, "request_id": b"", "price_id": 0, "operation": 1,
            "attempt_no": 1,
            "flags": 0, "status": 200, "class": 0, "cost_pico": row["cost"], "at_us": row["at_us"],
            "duration_us": 1, "ttft_us": 1, "overhead_us": 1,
        }  # fmt: skip
        day = columns | counts | {
            "day": row["at_us"] // DAY_US, "requests": 1, "errors": 0, "cost_usd": row["cost"] // 10**12,
            "cost_pico": row["cost"] % 10**12,
        }  # fmt: skip
        insert(plane, "attempt", attempt, "")
        sums = ("requests", "errors", "input", "output", "cache_read", "cache_write", "units")
        adds = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
        carry = (
            "cost_usd = cost_usd + excluded.cost_usd + (cost_pico + excluded.cost_pico) / 1000000000000, "
            "cost_pico = (cost_pico + excluded.cost_pico) % 1000000000000"
        )
        insert(plane, "rollup", day, f"ON CONFLICT DO UPDATE SET {adds}, {carry}")
    yield LedgerReader(plane)
    plane.close()


def insert(plane, table, values, conflict):
    marks = ", ".join("?" for _ in values)
    plane.ledger.execute(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks}) {conflict}", list(values.values())
    )


def names_of(row, dimension):
    name = row["names"].get(dimension)
    if dimension == "day":
        return [row["at_us"] // DAY_US]
    return msgspec.json.decode(name) if dimension == "tag" and name else [name]


RANGES = [
    (FIRST * DAY_US, (FIRST + 5) * DAY_US),
    ((FIRST + 1) * DAY_US, (FIRST + 3) * DAY_US),
    (FIRST * DAY_US + 12_345, (FIRST + 2) * DAY_US + 67_890),
    (FIRST * DAY_US + DAY_US // 3, FIRST * DAY_US + DAY_US // 2),
    ((FIRST + 9) * DAY_US, (FIRST + 9) * DAY_US),
]


@pytest.mark.parametrize(("start", "end"), RANGES)
@pytest.mark.parametrize(
    ("group_by", "filters"),
    [
        ((), {}),
        (("team",), {"model": "gpt-4o"}),
        (("day", "team"), {}),
        (("tag",), {}),
        (("tag",), {"tag": "b"}),
        (("key", "customer", "model"), {"organization": "acme"}),
        (("user",), {"project": ""}),
        (("deployment",), {"team": "nobody"}),
    ],
)
def test_a_report_is_the_sum_of_the_rows(reader, rows, start, end, group_by, filters):
    question = Question(start_us=start, end_us=end, group_by=group_by, filters=filters)
    report = asyncio.run(ask(reader, question))

    def wanted(row):
        return start <= row["at_us"] < end and all(
            (name or None) in names_of(row, kind) for kind, name in filters.items()
        )

    chosen = [row for row in rows if wanted(row)]
    assert report.total.cost_pico == sum(row["cost"] for row in chosen)
    assert report.total.requests == len(chosen)
    assert report.total.input == 10 * len(chosen)
    twin: Counter[tuple] = Counter()
    for row in chosen if group_by else ():
        groups = [()]
        for dimension in group_by:
            each = names_of(row, dimension)
            if dimension == "tag" and "tag" in filters:
                each = [filters["tag"]]
            groups = [(*group, name) for group in groups for name in each]
        for group in groups:
            twin[group] += row["cost"]
    assert {line.names: line.amounts.cost_pico for line in report.lines} == dict(twin)


def test_a_forecast_goes_on_as_lately(reader, rows):
    # The last moment of the second day: nothing that is counted is still to come.
    begin, now = FIRST * DAY_US, (FIRST + 2) * DAY_US - 1
    question = Question(start_us=begin, end_us=begin + 10 * DAY_US)
    spent = sum(row["cost"] for row in rows)
    lately = sum(row["cost"] for row in rows if row["at_us"] <= now)
    left, seen = 8 * DAY_US + 1, 2 * DAY_US - 1
    assert asyncio.run(forecast(reader, question, now)) == spent + lately * left // seen
    assert asyncio.run(forecast(reader, question, begin + 10 * DAY_US)) == spent
