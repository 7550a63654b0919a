"""The product's load generator (`ailink bench`) as a process: cheap enough to share two cores with what it
loads.
"""

import json
import signal
from pathlib import Path
from typing import Any, Self

from tests.harness import Child, Gateway, Key


class Generator:
    """One run. Closed loop with `--connections N`, open loop with `--rate N`; see `ailink bench --help`.

    Its client keeps connections alive and honours `Connection: close`. It never repeats a request by itself,
    so what it counts as an error is a request that failed.
    """

    def __init__(self, directory: Path, name: str, url: str, *arguments: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        options = ["-m", "ailink", "bench", "--url", url, "--warmup", "0", *arguments]
        self.child = Child(name, options, directory, {})

    def start(self) -> Self:
        self.child.start()
        return self

    def report(self, seconds: float = 60.0) -> dict[str, Any]:
        """What it found, once its time is over."""
        code = self.child.wait(seconds)
        assert code == 0, f"{self.child.name}: exit code {code}\n{self.child.log}"
        found: dict[str, Any] = json.loads(self.child.log.splitlines()[-1])
        return found

    def leave(self) -> None:
        """Ends it as a crashed client ends: all its connections close in mid-request."""
        if self.child.running:
            self.child.signal(signal.SIGKILL)
            self.child.wait()


def generator(
    gateway: Gateway, key: Key, name: str, *arguments: str, path: str = "/v1/chat/completions"
) -> Generator:
    """A generator against a gateway with a minted key."""
    return Generator(gateway.directory, name, f"{gateway.url}{path}", "--key", key.secret, *arguments)
