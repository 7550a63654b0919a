"""What a cache would have saved, against an obvious twin that walks through time moment by moment."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.admin.fake_plane import FakePlane

from ailink.ledger.reader import LedgerReader
from ailink.ledger.savings import SCOPES, Asked, Past, read, simulate, total

NAMES = {1: "k1", 2: "k2", 3: "k3", 11: "ann", 12: "bob", 21: "red", 31: "acme", 32: ""}


def asked(at_us: int, took: int, question: int, key: int, whole: bool = True, cost: int = 5) -> Asked:
    return Asked(
        question=question,
        key=key,
        user={1: 11, 2: 11, 3: 0}[key],
        team={1: 21, 2: 0, 3: 21}[key],
        organization={1: 31, 2: 31, 3: 32}[key],
        model=0,
        operation=1,
        input=3,
        output=2,
        cost_pico=cost,
        began_us=at_us,
        ended_us=at_us + took,
        kept_us=at_us + took if whole else None,
    )


OWNERS: dict[str, dict[int, str]] = {
    "key": {1: "k1", 2: "k2", 3: "k3"},
    "user": {1: "ann", 2: "ann", 3: "k3"},
    "team": {1: "red", 2: "k2", 3: "red"},
    "organization": {1: "acme", 2: "acme", 3: "k3"},
    "shared": {1: "", 2: "", 3: ""},
}


def twin(requests: list[Asked], scope: str, ttl_us: int) -> set[int]:
    """The places of the hits: for each request all that was asked before it is gone through anew."""
    hits: set[int] = set()
    leads: set[int] = set()
    for place, one in enumerate(requests):

        def same(other: Asked, one: Asked = one) -> bool:
            owners = OWNERS[scope]
            return owners[other.key] == owners[one.key] and other.question // 2 == one.question // 2

        earlier = [number for number in range(place) if same(requests[number]) and number not in hits]
        come = [requests[number].kept_us or 0 for number in earlier]
        come = [kept for kept in come if kept and kept <= one.began_us]
        flying = [
            number for number in earlier if number in leads and requests[number].ended_us > one.began_us
        ]
        if one.question % 2:
            continue
        if come and one.began_us < max(come) + ttl_us:
            hits.add(place)
        elif flying:
            if requests[flying[-1]].kept_us is not None:
                hits.add(place)
        else:
            leads.add(place)
    return hits


requests_ = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(1, 15),
        st.sampled_from([2, 3, 4]),
        st.sampled_from([1, 2, 3]),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(requests_, st.sampled_from(SCOPES), st.integers(1, 30))
def test_the_same_as_step_by_step(rows: list[Any], scope: Any, ttl_us: int) -> None:
    requests = sorted((asked(*row) for row in rows), key=lambda one: one.began_us)
    past = Past(attempts=0, requests=0, cost_pico=0, asked=requests, names=NAMES, complete=True)
    hits = twin(requests, scope, ttl_us)
    found = simulate(past, scope, ttl_us, lambda one: NAMES[one.key])
    for number in (1, 2, 3):
        of_key = [place for place, one in enumerate(requests) if one.key == number]
        if of_key:
            line = found[NAMES[number]]
            assert (line.requests, line.hits) == (len(of_key), len(hits & set(of_key)))
            assert (line.cost_pico, line.input, line.output) == (5 * line.hits, 3 * line.hits, 2 * line.hits)
    assert total(found.values()).hits == len(hits)


def test_what_is_there_is_not_waited_for() -> None:
    requests = [asked(0, 10, 2, 1), asked(4, 8, 2, 1), asked(20, 7, 2, 1), asked(30, 7, 2, 1)]
    past = Past(attempts=0, requests=0, cost_pico=0, asked=requests, names=NAMES, complete=True)
    found = simulate(past, "key", 15)[""]
    # The second waits 6 of its 8 µs, the third not at all; the fourth comes too late.
    assert (found.hits, found.micros) == (2, 2 + 7)


@pytest.fixture
def plane():
    made = FakePlane()
    for number, name in NAMES.items():
        made.ledger.execute(
            "INSERT INTO dict VALUES (?, ?, ?)", (number, {0: 1, 1: 7, 2: 6}.get(number // 10, 2), name)
        )
    yield made
    made.close()


def row(plane: FakePlane, number: int, request: int, question: int, at_us: int, **more: int) -> None:
    columns: dict[str, Any] = dict.fromkeys(
        (
            "node", "org_id", "model_id", "deployment_id", "price_id", "operation", "attempt_no", "flags",
            "source", "class", "input", "output", "cache_read", "cache_write", "reasoning", "audio_input",
            "audio_output", "units", "ttft_us", "overhead_us",
        ),
        0,
    )  # fmt: skip
    columns |= {
        "attempt_id": number,
        "request_id": request.to_bytes(16),
        "question": question,
        "at_us": at_us,
    }
    columns |= {"key_id": 1, "status": 200, "cost_pico": 10**12, "duration_us": 5} | more
    marks = ", ".join("?" * len(columns))
    plane.ledger.execute(
        f"INSERT INTO attempt ({', '.join(columns)}) VALUES ({marks})", list(columns.values())
    )


def test_the_ledger_is_read(plane: FakePlane) -> None:
    row(plane, 1, 1, 4, 100, status=500, **{"class": 3})
    row(plane, 2, 1, 4, 110)
    row(plane, 3, 2, 4, 200)
    row(plane, 4, 3, 5, 210, duration_us=1)
    row(plane, 5, 4, 8, 300)
    row(plane, 6, 5, 0, 400)
    row(plane, 7, 6, 4, 999)
    past = asyncio.run(read(LedgerReader(plane), 0, 900))
    assert (past.attempts, past.requests, past.cost_pico) == (5, 4, 5 * 10**12)
    assert [(one.question, one.began_us, one.kept_us, one.cost_pico) for one in past.asked] == [
        (4, 100, 115, 2 * 10**12),
        (4, 200, 205, 10**12),
        (5, 210, 211, 10**12),
    ]
    assert (past.names[1], past.complete) == ("k1", True)
    assert simulate(past, "key", 1_000)[""].hits == 1
