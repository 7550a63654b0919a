"""The statistics that tables and gates are made of."""

from pathlib import Path

import pytest

from benches.gateway.bars import BARS, Bar
from benches.gateway.record import Cell, Figure, Line, Record, Run, Spread
from benches.render import render

RUN = Run(
    date="2026-01-31 12:00",
    cpu="some processor",
    cores=2,
    memory_gib=8.0,
    kernel="6.1",
    commit="abc",
    dirty=False,
    rounds=3,
    seconds=4.0,
    short=False,
    load_average=0.1,
)


def cell(system: str, number: int, cpu_us: float, ledger_us: float = 0.0, added: float | None = None) -> Cell:
    units = 1000
    return Cell(
        workload="W1",
        variant="",
        system=system,
        round=number,
        units=units,
        seconds=2.0,
        cpu_ns=int(cpu_us * units * 1000),
        ledger_ns=int(ledger_us * units * 1000),
        resident_kib=1,
        p50_us=1.0,
        p99_us=2.0,
        added_p50_us=added,
        added_p99_us=added,
        unexpected=0,
        generator_busy=0.5,
        stolen=0.0,
    )


def record(*lines: Line) -> Record:
    return Record([RUN, *lines])


def test_a_ratio_is_the_median_of_ratios_within_rounds() -> None:
    # Round 2 is slow for both: a ratio of medians over all rounds would be off, that of rounds is not.
    nginx = [cell("nginx", 1, 10), cell("nginx", 2, 20), cell("nginx", 3, 10)]
    ours = [cell("ailink", 1, 18), cell("ailink", 2, 36), cell("ailink", 3, 19)]
    ratio = record(*nginx, *ours).ratio("W1", "", "ailink", "nginx", "cpu")
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((1.8, 1.8, 1.85))


def test_the_ledger_is_taken_from_the_product_only() -> None:
    lines = [cell("hyper", 1, 10), cell("ailink", 1, 15, ledger_us=2)]
    ratio = record(*lines).ratio("W1", "", "ailink", "hyper", "cpu_without_ledger")
    assert ratio is not None
    assert ratio.median == pytest.approx(1.3)


def test_an_excess_is_a_difference_within_rounds() -> None:
    lines = [cell("nginx", 1, 1, added=100), cell("ailink", 1, 1, added=140)]
    excess = record(*lines).excess("W1", "", "ailink", "nginx", "added_p99_us")
    assert excess == Spread(40, 40, 40)


def test_rounds_without_the_yardstick_do_not_count() -> None:
    assert record(cell("ailink", 1, 18)).ratio("W1", "", "ailink", "nginx", "cpu") is None
    assert record().spread("W1", "", "ailink", "cpu") is None


def test_rounds_in_which_nginx_drifts_are_told() -> None:
    lines = [cell("nginx", 1, 10), cell("nginx", 2, 10.5), cell("nginx", 3, 13)]
    assert record(*lines).drifting_rounds("W1", "") == [3]


def test_a_short_run_allows_more() -> None:
    bar = Bar("W1", "", "CPU", "cpu", 2.0, times="nginx")
    assert bar.allowed(short=False) == 2.0
    assert bar.allowed(short=True) == 3.0


def test_lines_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    written = Record([], path)
    lines: list[Line] = [
        RUN,
        cell("nginx", 1, 10),
        Figure(workload="W10", system="ailink", name="cold_start_s", value=0.4),
    ]
    for line in lines:
        written.add(line)
    assert Record.read(path).lines == lines
    assert Record.read(path).figure("W10", "ailink", "cold_start_s") == 0.4


def test_the_page_names_every_bar_and_what_is_missing() -> None:
    page = render(record(cell("nginx", 1, 10), cell("hyper", 1, 14), cell("ailink", 1, 19, ledger_us=1)))
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    rows = [line for line in page.splitlines() if line.startswith("| W")]
    assert len(rows) == len(BARS)
    assert "1.90 × nginx" in rows[0]
    assert rows[0].endswith("holds |")
    assert "not measured" in rows[-1]
