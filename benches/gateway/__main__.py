"""`python -m benches.gateway [--short] [--peers] [--only W1,W3] [--rounds N] [--seconds N]`"""

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benches import peers
from benches.gateway import payload, single
from benches.gateway.bars import BARS, CACHED, GROWN, GUARDED, LIMITED, TRANSLATED, TRANSLATED_BACK, Bar
from benches.gateway.correctness import check
from benches.gateway.load import LoadFailure
from benches.gateway.machine import Unmeasurable, describe, require_measurable
from benches.gateway.mock import Hyper, MockProvider, Static
from benches.gateway.nginx import Canned, Nginx
from benches.gateway.process import StartFailure
from benches.gateway.product import AILink, Variation, require_release_build
from benches.gateway.record import RESULTS, Contender, Record, Run
from benches.gateway.rounds import Plan, WrongAnswers, run_contest
from benches.gateway.system import UPSTREAM_MODEL, Place, System, Upstreams
from benches.gateway.workloads import SCRIPTS, SHORT, Contest, contests

GROWN_MODELS = 500
QUIET_LOAD = 0.7


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benches.gateway", description="Measure the W bars.")
    parser.add_argument("--short", action="store_true", help=f"only {', '.join(SHORT)}, as the gate in CI")
    parser.add_argument("--peers", action="store_true", help="LiteLLM and Portkey take part")
    parser.add_argument("--only", default="", help="workloads, comma-separated, instead of all")
    parser.add_argument("--without", default="", help="systems to leave out, comma-separated")
    parser.add_argument("--rounds", type=int, help="rounds of each contest (7; short: 3)")
    parser.add_argument("--seconds", type=float, help="seconds of each turn (4; short: 2)")
    parser.add_argument("--grown-keys", type=int, default=100_000, help="keys of the grown gateway in W12")
    parser.add_argument("--out", type=Path, help="file for the JSON lines (default: new in benches/results)")
    return parser.parse_args(words)


class Bench:
    """One run: upstreams, systems, contests."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._rounds = options.rounds or (3 if options.short else 7)
        self._seconds = options.seconds or (2.0 if options.short else 4.0)
        now = datetime.now(UTC)
        prefix = "short-" if options.short else ""
        name = f"{prefix}{now:%Y%m%dT%H%M%S}.jsonl"
        self.path: Path = options.out or RESULTS / name
        self.record = Record([], self.path.with_suffix(".part"))
        self.record.add(
            Run(
                **vars(describe()),
                date=f"{now:%Y-%m-%d %H:%M}",
                rounds=self._rounds,
                seconds=self._seconds,
                short=options.short,
                load_average=round(os.getloadavg()[0], 2),
            )
        )
        self._started: dict[str, System] = {}

    def wanted(self) -> list[Contest]:
        """The contests that this run holds."""
        only = self._options.only.split(",") if self._options.only else SHORT if self._options.short else ()
        names = [system.name for system in peers.systems()] if self._options.peers else []
        return [contest for contest in contests(names) if not only or contest.workload in only]

    def _systems(self, chosen: Sequence[Contest]) -> list[System]:
        needed = {entry.system for contest in chosen for entry in contest.entries}
        grown = Variation(name=GROWN, keys=self._options.grown_keys, models=GROWN_MODELS)
        ours: list[System] = [
            *(Nginx(), Hyper(), Static(), AILink()),
            *(AILink(Variation(name=CACHED, cache=True)), AILink(grown)),
            AILink(Variation(name=LIMITED, limited=True)),
            AILink(Variation(name=TRANSLATED, provider="mock_anthropic")),
            AILink(Variation(name=TRANSLATED_BACK, path="/v1/messages")),
            AILink(Variation(name=GUARDED, provider="mock_anthropic", guarded=True)),
        ]
        without = self._options.without.split(",")
        return [s for s in (*ours, *peers.systems()) if s.name in needed and s.name not in without]

    def run(self) -> None:
        """Start everything, check it, measure, stop everything."""
        chosen = self.wanted()
        canned = Canned(self._folder / "canned", payload.canned_reply(UPSTREAM_MODEL))
        try:
            provider = MockProvider(self._folder / "provider")
            try:
                self._measure(chosen, Upstreams(canned=canned.url, mock=provider.url), provider)
            finally:
                for system in self._started.values():
                    system.stop()
                provider.stop()
        finally:
            canned.stop()

    def _measure(self, chosen: Sequence[Contest], upstreams: Upstreams, provider: MockProvider) -> None:
        foreign = frozenset(system.name for system in peers.systems())
        for system in self._systems(chosen):
            self._start(system, upstreams, provider, optional=system.name in foreign)
        plan = Plan(rounds=self._rounds, seconds=self._seconds, folder=self._folder, foreign=foreign)
        for contest in chosen:
            run_contest(contest, self._started, self.record, plan)
        if not self._options.short and "ailink" not in self._options.without.split(","):
            names = {contest.workload for contest in chosen}
            if "W4" in names:
                single.memory(upstreams, SCRIPTS, self._folder, self.record)
            if not self._options.only or "W10" in self._options.only.split(","):
                single.cold_start(upstreams, self._folder, self.record)

    def _start(self, system: System, upstreams: Upstreams, provider: MockProvider, *, optional: bool) -> None:
        place = Place(folder=self._folder / system.name, upstreams=upstreams, scripts=SCRIPTS)
        absent = remark = None
        try:
            system.start(place)
            self._started[system.name] = system
            if not isinstance(system, Static):  # it has one answer only
                check(system, provider)
        except StartFailure as failure:
            if not optional:
                raise
            system.stop()
            absent = str(failure)
        except WrongAnswers as difference:
            if not optional:
                raise
            remark = str(difference)
        contender = Contender(
            name=system.name,
            version=system.version,
            configuration=system.configuration,
            absent=absent,
            remark=remark,
        )
        self.record.add(contender)
        print(
            f"{system.name} {contender.version}: {absent or remark or 'ready'}", file=sys.stderr, flush=True
        )


def verdict(record: Record, bars: Sequence[Bar]) -> bool:
    """Print every bar that was measured; True when all hold (in a short run: within the gate's factor)."""
    short = record.run.short
    holds = True
    for bar in bars:
        spread = bar.measured(record)
        if spread is None:
            continue
        # The gate judges ratios only: a difference in microseconds is the machine's as much as ours.
        passed = spread.median <= bar.allowed(short) or (short and bool(bar.plus))
        holds &= passed
        gate = f" (gate {bar.allowed(short):g})" if short else ""
        name = f"{'ok  ' if passed else 'FAIL'} {bar.workload} {bar.variant}".strip()
        value = f"{spread.median:8.2f} [{spread.low:.2f} … {spread.high:.2f}]"
        print(f"{name:15} {bar.says:50} {value} {bar.limit_text}{gate}")
    return holds


def main(words: Sequence[str] | None = None) -> int:
    """Measure; 1 when a bar does not hold, 2 when nothing can be measured here."""
    options = arguments(words)
    # Thousands of connections on both sides: take what the hard limit gives.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        require_measurable()
        if os.getloadavg()[0] > QUIET_LOAD:
            print(f"warning: load average {os.getloadavg()[0]:.1f}; others use this machine", file=sys.stderr)
        if "ailink" not in options.without.split(","):
            require_release_build()
        with tempfile.TemporaryDirectory(prefix="ailink-bench-") as folder:
            Path(folder).chmod(0o755)  # nginx's worker is another user
            bench = Bench(options, Path(folder))
            bench.run()
            bench.record.finish(bench.path)
    except (Unmeasurable, StartFailure, LoadFailure, WrongAnswers) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 2
    return 0 if verdict(bench.record, BARS) else 1


if __name__ == "__main__":
    sys.exit(main())
