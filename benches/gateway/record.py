"""Results as JSON lines, and the statistics made of them: medians of per-round ratios with their
quartiles.
"""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

RESULTS = Path(__file__).resolve().parents[1] / "results"
DRIFT = 0.10  # a round in which nginx is this far from its own median is flagged


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="kind"):
    """Head of a file: when, where and with which settings."""

    date: str
    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    commit: str
    dirty: bool
    rounds: int
    seconds: float
    short: bool
    load_average: float


class Contender(msgspec.Struct, frozen=True, kw_only=True, tag="system", tag_field="kind"):
    """A system that took part, or why it could not; `remark`: in what its answers differ."""

    name: str
    version: str
    configuration: str
    absent: str | None = None
    remark: str | None = None


class Cell(msgspec.Struct, frozen=True, kw_only=True, tag="cell", tag_field="kind"):
    """One system under one load in one round. CPU in nanoseconds, for all `units` (requests or events)
    together.
    """

    workload: str
    variant: str
    system: str
    round: int
    units: int
    seconds: float
    cpu_ns: int
    ledger_ns: int
    resident_kib: int
    p50_us: float
    p99_us: float
    added_p50_us: float | None
    added_p99_us: float | None
    unexpected: int
    generator_busy: float
    stolen: float

    def metric(self, name: str) -> float | None:
        """A figure by name: `cpu` and `cpu_without_ledger` in µs per unit, or any field."""
        if name == "cpu":
            return self.cpu_ns / self.units / 1000 if self.units else None
        if name == "cpu_without_ledger":
            return (self.cpu_ns - self.ledger_ns) / self.units / 1000 if self.units else None
        if name == "rate":
            return self.units / self.seconds
        value: float | None = getattr(self, name)
        return value


class Figure(msgspec.Struct, frozen=True, kw_only=True, tag="figure", tag_field="kind"):
    """A single measurement that needs no rounds: `name` says what and in which unit."""

    workload: str
    system: str
    name: str
    value: float


Line = Run | Contender | Cell | Figure


class Spread(msgspec.Struct, frozen=True):
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


class Record:
    """One run's lines; each is appended to its file when it is known."""

    def __init__(self, lines: Iterable[Line], path: Path | None = None) -> None:
        self.lines = list(lines)
        self._path = path

    @classmethod
    def read(cls, path: Path) -> "Record":
        """A file of JSON lines."""
        decoder = msgspec.json.Decoder(Line)
        return cls([decoder.decode(line) for line in path.read_bytes().splitlines()], path)

    def add(self, line: Line) -> None:
        """Append a line, to the file at once."""
        self.lines.append(line)
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")

    def finish(self, path: Path) -> None:
        """Give a run that went to its end its proper name: what was broken off never counts as a result."""
        if self._path:
            self._path.rename(path)
            self._path = path

    @property
    def run(self) -> Run:
        """The head."""
        return next(line for line in self.lines if isinstance(line, Run))

    @property
    def contenders(self) -> list[Contender]:
        """Who took part."""
        return [line for line in self.lines if isinstance(line, Contender)]

    def cells(self, workload: str, variant: str, system: str) -> list[Cell]:
        """All rounds of a system in a contest, in order."""
        wanted = (workload, variant, system)
        found = (line for line in self.lines if isinstance(line, Cell))
        return [cell for cell in found if (cell.workload, cell.variant, cell.system) == wanted]

    def figure(self, workload: str, system: str, name: str) -> float | None:
        """The last single measurement of that name."""
        found = (line for line in self.lines if isinstance(line, Figure))
        values = [f.value for f in found if (f.workload, f.system, f.name) == (workload, system, name)]
        return values[-1] if values else None

    def spread(self, workload: str, variant: str, system: str, metric: str) -> Spread | None:
        """The system's own figure over the rounds."""
        values = [cell.metric(metric) for cell in self.cells(workload, variant, system)]
        known = [value for value in values if value is not None]
        return Spread.of(known) if known else None

    def ratio(self, workload: str, variant: str, system: str, against: str, metric: str) -> Spread | None:
        """The system's figure over the yardstick's, round by round. The yardstick counts with all its CPU."""
        yardstick_metric = "cpu" if metric.startswith("cpu") else metric
        yardstick = {
            cell.round: cell.metric(yardstick_metric) for cell in self.cells(workload, variant, against)
        }
        ratios = []
        for cell in self.cells(workload, variant, system):
            value, base = cell.metric(metric), yardstick.get(cell.round)
            if value is not None and base:
                ratios.append(value / base)
        return Spread.of(ratios) if ratios else None

    def excess(self, workload: str, variant: str, system: str, against: str, metric: str) -> Spread | None:
        """The system's figure less the yardstick's, round by round."""
        yardstick = {cell.round: cell.metric(metric) for cell in self.cells(workload, variant, against)}
        values = []
        for cell in self.cells(workload, variant, system):
            value, base = cell.metric(metric), yardstick.get(cell.round)
            if value is not None and base is not None:
                values.append(value - base)
        return Spread.of(values) if values else None

    def drifting_rounds(self, workload: str, variant: str) -> list[int]:
        """The rounds in which nginx itself was off, so that a reader may distrust them."""
        cells = self.cells(workload, variant, "nginx")
        figures = {cell.round: cell.metric("cpu") for cell in cells}
        known = [value for value in figures.values() if value]
        if not known:
            return []
        median = statistics.median(known)
        return [number for number, value in figures.items() if value and abs(value / median - 1) > DRIFT]
