"""What the tests of the promises share: the size of a run, the figures it found, a Redis that can fail.

The default run is sized for every commit on two cores. `AILINK_FULL=1` runs the counts that docs/promises.md
states where the default runs fewer. `--figures FILE` keeps them, for scripts that publish them.
"""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness import RedisServer, Relay
from tests.harness.size import FULL

Figures = Callable[[str, object], None]

FIGURE = "figure: "
"""What the names of figures begin with among the properties of a test, which travel with its report."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, help="write the figures of this run here; counts are added up")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """`figures(name, value)` notes what was measured; the run ends with a list of all."""

    def note(name: str, value: object) -> None:
        request.node.user_properties.append((FIGURE + name, str(value)))

    return note


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One of the module's own: it is stopped there."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def relay(redis: RedisServer) -> Iterator[Relay]:
    """The network before it."""
    with Relay(redis.port) as relay:
        yield relay


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    found = [
        (report.location[2], name.removeprefix(FIGURE), value)
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name.startswith(FIGURE) and isinstance(value, str)
    ]
    file: Path | None = config.getoption("--figures", None)
    if file is not None:
        counts: dict[str, int] = {}
        for _, name, value in found:
            counts[name] = counts.get(name, 0) + int(value) if value.isdigit() else 0
        when = datetime.datetime.now(datetime.UTC).date().isoformat()
        failed = len(terminalreporter.stats.get("failed", ()))
        run = {"date": when, "full": FULL, "failed": failed, "figures": counts}
        file.write_text(json.dumps(run, indent=1) + "\n", "utf-8")
    if found:
        terminalreporter.section("figures of the promises")
        for test, name, value in found:
            terminalreporter.write_line(f"{test}: {name} = {value}")
