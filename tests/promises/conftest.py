"""What the tests of the promises share: the size of a run, and the figures it found.

The default run is sized for every commit on two cores. `AILINK_FULL=1` runs the counts that docs/promises.md
states where the default runs fewer.
"""

from collections.abc import Callable

import pytest

Figures = Callable[[str, object], None]

_found = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_found] = []


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """`figures(name, value)` notes what was measured; the run ends with a list of all."""

    def note(name: str, value: object) -> None:
        request.config.stash[_found].append((request.node.name, name, str(value)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash[_found]
    if found:
        terminalreporter.section("figures of the promises")
        for test, name, value in found:
            terminalreporter.write_line(f"{test}: {name} = {value}")
