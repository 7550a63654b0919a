"""Write the measured tables into docs/performance.md and README.md, between markers; nothing there is typed
by hand.

`python -m benches.render [RESULT.jsonl]` (default: the newest full run in benches/results)
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benches import peers
from benches.gateway.bars import BARS, FIGURES, UNITS, Bar
from benches.gateway.record import RESULTS, Contender, Record, Spread

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/performance.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
# Rows of the table of systems, in the order a reader compares them.
COMPARED = (("W1", "", "1 KiB chat"), ("W2", "", "16 KiB chat"), ("W3", "", "stream, per event"))


def number(value: float) -> str:
    """Three significant digits, thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bar_rows(record: Record) -> Iterator[str]:
    """One row per bar."""
    yield "| | what | measured (median, quartiles) | bar | |"
    yield "|---|---|---|---|---|"
    for bar in BARS:
        spread = bar.measured(record)
        name = f"{bar.workload} {bar.variant}".strip()
        if spread is None:
            yield f"| {name} | {bar.says} | not measured in this run | {bar.limit_text} | |"
            continue
        mark = "holds" if spread.median <= bar.limit else "**missed**"
        yield f"| {name} | {bar.says} | {measured(bar, spread)} | {bar.limit_text} | {mark} |"


def measured(bar: Bar, spread: Spread) -> str:
    """The figure with its unit and quartiles."""
    unit = f" × {bar.times}" if bar.times else f" {UNITS.get(bar.metric, '')}".rstrip()
    sign = "+" if bar.plus and spread.median >= 0 else ""
    if bar.metric in FIGURES:
        return f"{number(spread.median)}{unit}"
    digits = ".2f" if bar.times or bar.metric == "cpu" else ".0f"
    return f"{sign}{spread.median:{digits}}{unit} ({spread.low:{digits}} … {spread.high:{digits}})"


def system_rows(record: Record) -> Iterator[str]:
    """One row per system: CPU per request or event, ratio to nginx in the same rounds, rate, what is switched
    on.
    """
    heads = [f"{what}: CPU" for _, _, what in COMPARED]
    blank = [""] * (len(heads) + 1)
    yield f"| system | {' | '.join(heads)} | requests/s per core | configuration |"
    yield "|---|" + "---:|" * (len(heads) + 1) + "---|"
    for contender in record.contenders:
        if contender.absent:
            yield row(f"{contender.name} {contender.version}", *blank, "could not run here")
            continue
        cells = [cpu_cell(record, workload, variant, contender.name) for workload, variant, _ in COMPARED]
        if not any(cells):
            continue
        rate = record.spread("W1", "", contender.name, "rate")
        speed = number(rate.median) if rate else ""
        configuration = remarked(contender)
        yield row(f"{contender.name} {contender.version}", *cells, speed, configuration)
    for name, claim in peers.PUBLISHED_ONLY.items():
        yield row(name, *blank, f"published only: {claim}")


def row(*cells: str) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"


def cpu_cell(record: Record, workload: str, variant: str, system: str) -> str:
    """`20.1 µs (1.75 ×)`; empty where the system did not take part."""
    spread = record.spread(workload, variant, system, "cpu")
    ratio = record.ratio(workload, variant, system, "nginx", "cpu")
    if spread is None or ratio is None:
        return ""
    return f"{number(spread.median)} µs ({number(ratio.median)} ×)"


def remarked(contender: Contender) -> str:
    """The configuration, and in what the system's answers differ."""
    if contender.remark is None:
        return contender.configuration
    return f"{contender.configuration} (its answers differ: {contender.remark.splitlines()[0][:100]})"


def caption(record: Record) -> str:
    """Where, when and how."""
    run = record.run
    drifting = {
        f"{bar.workload} {bar.variant}".strip(): record.drifting_rounds(bar.workload, bar.variant)
        for bar in BARS
    }
    drift = ", ".join(
        f"{name} (rounds {', '.join(map(str, found))})" for name, found in drifting.items() if found
    )
    commit = f"`{run.commit}`{' with local changes' if run.dirty else ''}"
    text = [
        f"Measured {run.date} UTC at commit {commit} on {run.cpu}, {run.cores} cores, Linux {run.kernel};",
        f"{run.rounds} interleaved rounds of {run.seconds:g} s; gateway and load on a core each.",
        "Ratios are medians of per-round ratios.",
    ]
    if drift:
        text.append(f"Rounds in which nginx itself was more than 10 % off its median: {drift}.")
    return " ".join(text)


def render(record: Record) -> str:
    """The text between the markers."""
    parts = [
        caption(record),
        "",
        *bar_rows(record),
        "",
        "### Systems in the same rounds",
        "",
        *system_rows(record),
    ]
    return "\n".join(parts)


def summary(record: Record) -> str:
    """The one table of the README: every system's cost in the same rounds."""
    heads = " | ".join(what for _, _, what in COMPARED)
    rows = [f"| CPU time | {heads} | requests/s per core |", "|---|" + "---:|" * (len(COMPARED) + 1)]
    for contender in record.contenders:
        cells = [cpu_cell(record, workload, variant, contender.name) for workload, variant, _ in COMPARED]
        rate = record.spread("W1", "", contender.name, "rate")
        if any(cells):
            speed = number(rate.median) if rate else ""
            rows.append(row(f"{contender.name} {contender.version}", *cells, speed))
    note = f"In brackets: times nginx in the same rounds. {record.run.cpu}, {record.run.date[:10]}."
    return "\n".join([*rows, "", note])


def place(page: Path, text: str) -> None:
    """Put the text between the page's markers; a page without them gets them at its end."""
    before = page.read_text() if page.exists() else f"# {page.stem.title()}\n"
    if BEGIN not in before:
        before = f"{before.rstrip()}\n\n{BEGIN}\n{END}\n"
    head, _, rest = before.partition(BEGIN)
    page.parent.mkdir(exist_ok=True)
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def newest() -> Path | None:
    """The newest full run."""
    found = sorted(path for path in RESULTS.glob("*.jsonl") if not path.name.startswith("short-"))
    return found[-1] if found else None


def main(words: Sequence[str] | None = None) -> int:
    """Render both pages from a file of results."""
    parser = argparse.ArgumentParser(prog="python -m benches.render")
    parser.add_argument(
        "result", type=Path, nargs="?", help="a file of benches/results (default: the newest)"
    )
    path = parser.parse_args(words).result or newest()
    if path is None:
        print("no full run in benches/results yet: make bench", file=sys.stderr)
        return 0
    record = Record.read(path)
    place(PAGE, render(record))
    if README.exists() and BEGIN in README.read_text():
        place(README, summary(record))
    print(f"rendered from {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
