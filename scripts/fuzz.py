"""Fuzz the decoders, each for a while, and keep the figures; needs a nightly compiler and cargo-fuzz.

`python3 scripts/fuzz.py [TARGET …]`: SECONDS each (600), one after the other. What was run is kept in
rust/core/fuzz/results.json, one entry per target, and docs/dialects.md shows it. Inputs that were found worth
keeping stay in rust/core/fuzz/corpus for the next run; one that breaks something is kept in
rust/core/fuzz/artifacts.
"""

import argparse
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "rust/core/fuzz"
RESULTS = FUZZ / "results.json"
PAGE = ROOT / "docs/dialects.md"
BEGIN, END = "<!-- fuzzed: begin -->", "<!-- fuzzed: end -->"
# What each target holds true, in the order of the table.
TARGETS = {
    "chat": "requests, answers and streams of Chat Completions, into every other format and back",
    "responses": "the same of Responses",
    "messages": "the same of Messages",
    "gemini": "the same of generateContent",
    "converse": "the same of Converse",
    "cohere": "the same of Cohere's chat",
    "eventstream": "frames of Amazon's event streams and their checksums, however they are cut",
    "json_scan": "the scanner of bodies agrees with serde_json about what is JSON and what is in it",
    "sse_framer": "events of a stream, however it is cut",
    "multipart": "parts of forms, and other values put in their place",
    "window": "limits: no window of time holds more than it may",
}
EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
COVERAGE = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)")


class Run(TypedDict):
    """One target's last run."""

    date: str
    seconds: int
    executions: int
    edges: int
    corpus: int
    findings: int


def words(seeds: list[bytes]) -> str:
    """A dictionary: names and short texts the seeds hold, so that changed inputs still speak the format."""
    found = {text for seed in seeds for text in re.findall(rb'"[\w.:/-]{1,40}"', seed)}
    return "".join(f'"{text.decode().replace(chr(34), chr(92) + chr(34))}"\n' for text in sorted(found))


def prepare(target: str) -> list[str]:
    """Lay the seeds into the corpus; the arguments that name it and the dictionary."""
    corpus = FUZZ / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    (FUZZ / "artifacts" / target).mkdir(parents=True, exist_ok=True)
    seeds = []
    for path in sorted((FUZZ / "seeds" / target).glob("*")):
        seeds.append(path.read_bytes())
        # A format's target reads first where streams are cut.
        cut = b"\x07" if path.name in ("request", "answer", "stream") and target != "sse_framer" else b""
        (corpus / f"seed-{path.name}").write_bytes(cut + seeds[-1])
    dictionary = corpus.with_suffix(".dict")
    dictionary.write_text(words(seeds))
    return [str(corpus), f"-dict={dictionary}"]


def broken(findings: Path) -> set[Path]:
    """Inputs that broke something; one that was slow while the machine was busy is none."""
    return {path for path in findings.iterdir() if not path.name.startswith("slow-unit-")}


def fuzz(target: str, seconds: int) -> Run:
    """Run one target and read what it says."""
    built = next(FUZZ.glob(f"target/*/release/{target}"))
    findings = FUZZ / "artifacts" / target
    command = [
        str(built),
        *prepare(target),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={findings}/",
        "-print_final_stats=1",
        "-max_len=4096",
        "-timeout=10",
    ]
    known = broken(findings)
    ended = subprocess.run(command, capture_output=True, check=False)
    said = ended.stderr.decode(errors="replace")
    executions, coverage = EXECUTIONS.search(said), COVERAGE.findall(said)
    found = broken(findings) - known
    if ended.returncode or found or executions is None or not coverage:
        print(said[-4000:], file=sys.stderr)
    return Run(
        date=datetime.now(UTC).date().isoformat(),
        seconds=seconds,
        executions=int(executions[1]) if executions else 0,
        edges=int(coverage[-1][0]) if coverage else 0,
        corpus=int(coverage[-1][1]) if coverage else 0,
        findings=max(len(found), int(ended.returncode != 0)),
    )


def render(results: dict[str, Run]) -> str:
    """The table of the page."""
    rows = [
        "| target | what is held true | run | inputs | code reached (edges) | open findings |",
        "|---|---|---|---|---|---|",
    ]
    for target, says in TARGETS.items():
        if (run := results.get(target)) is not None:
            minutes = f"{run['seconds'] / 60:.2g} min, {run['date']}"
            inputs = f"{run['executions']:,}"
            rows.append(
                f"| `{target}` | {says} | {minutes} | {inputs} | {run['edges']:,} | {run['findings']} |"
            )
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=600, help="how long each (600)")
    parser.add_argument("--render", action="store_true", help="write the table only")
    asked = parser.parse_args()
    targets: list[str] = asked.targets or list(TARGETS)
    if unknown := [target for target in targets if target not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}")
    failed = False
    if not asked.render:
        subprocess.run(["cargo", "+nightly", "fuzz", "build", "-s", "none"], cwd=FUZZ.parent, check=True)
        for target in targets:
            run = fuzz(target, asked.seconds)
            failed |= run["findings"] > 0
            print(f"{target}: {json.dumps(run)}", flush=True)
            # Read again: another process may have run other targets.
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            results[target] = run
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    results = json.loads(RESULTS.read_text())
    head, _, rest = PAGE.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{render(results)}\n{END}{tail}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
