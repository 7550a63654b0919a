"""What `ailink-mock` gives: the mock provider as upstream, the bare hyper proxy and the static server as
yardsticks.
"""

import http.client
import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benches.gateway.machine import GATEWAY_CORE, LOAD_CORE, ROOT
from benches.gateway.process import Pinned, StartFailure, free_port
from benches.gateway.system import Place, Route, Target

# The release build of this tree, or what the variable names.
BINARY = Path(os.environ.get("AILINK_MOCK", ROOT / "target/release/ailink-mock"))
# As large as AILink's own refusals.
REFUSAL_BYTES = 220


def start(
    subcommand: str, arguments: Sequence[str], *, core: int, folder: Path, name: str
) -> tuple[Pinned, int]:
    """Start a server of `ailink-mock` and wait until it listens; returns it with its port."""
    if not BINARY.exists():
        raise StartFailure(f"{BINARY} is missing: cargo build --release --package ailink-mock")
    port = free_port()
    process = Pinned(
        [BINARY, subcommand, "--port", str(port), *arguments], core=core, folder=folder, name=name
    )
    process.wait_for_port(port)
    return process, port


class MockProvider:
    """The scripted upstream, on the load core."""

    def __init__(self, folder: Path) -> None:
        self._process, self._port = start("provider", [], core=LOAD_CORE, folder=folder, name="provider")

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def last_request(self) -> dict[str, Any]:
        """The newest request it saw, with how it ended."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        connection.request("GET", "/mock/requests?last=1")
        seen: list[dict[str, Any]] = json.loads(connection.getresponse().read())["requests"]
        connection.close()
        return seen[-1] if seen else {}

    def stop(self) -> None:
        """End it."""
        self._process.stop()


class _MockSystem:
    """What the yardsticks made of `ailink-mock` have in common."""

    name = ""

    def __init__(self) -> None:
        self._processes: dict[str, tuple[Pinned, int]] = {}

    @property
    def version(self) -> str:
        """Of hyper, as Cargo.lock says."""
        packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
        return next((str(p["version"]) for p in packages if p["name"] == "hyper"), "")

    def stop(self) -> None:
        """See `System`."""
        for process, _ in self._processes.values():
            process.stop()

    def pids(self) -> Sequence[int]:
        """See `System`."""
        return [process.pid for process, _ in self._processes.values()]

    def _target(self, process: str, path: str) -> Target | None:
        if process not in self._processes:
            return None
        headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
        return Target(url=f"http://127.0.0.1:{self._processes[process][1]}{path}", headers=headers)


class Hyper(_MockSystem):
    """The bare hyper proxy: what the same libraries cost without a gateway's work."""

    name = "hyper"
    configuration = "bare hyper proxy, one thread, pooled upstream connections, bodies passed through"

    def start(self, place: Place) -> None:
        """One process per upstream; the idle one costs nothing."""
        self._scripts = place.scripts
        for upstream, url in (("canned", place.upstreams.canned), ("mock", place.upstreams.mock)):
            self._processes[upstream] = start(
                "proxy", ["--upstream", url], core=GATEWAY_CORE, folder=place.folder, name=f"hyper-{upstream}"
            )

    def target(self, route: Route, script: str = "") -> Target | None:
        """See `System`."""
        if route is Route.CANNED:
            return self._target("canned", "/v1/chat/completions")
        if route is Route.SCRIPTED:
            return self._target("mock", f"/mock:{self._scripts[script]}/v1/chat/completions")
        return None


class Static(_MockSystem):
    """A hyper server that reads the request and refuses: the floor for answers without an upstream."""

    name = "static"
    configuration = "hyper server with a fixed answer"

    def start(self, place: Place) -> None:
        """One process per refusal."""
        for route, status in ((Route.LIMITED, 429), (Route.STRANGER, 401)):
            arguments = ["--status", str(status), "--bytes", str(REFUSAL_BYTES)]
            name = f"static-{status}"
            self._processes[route.name] = start(
                "static", arguments, core=GATEWAY_CORE, folder=place.folder, name=name
            )

    def target(self, route: Route, script: str = "") -> Target | None:
        """See `System`."""
        del script
        return self._target(route.name, "/v1/chat/completions")
