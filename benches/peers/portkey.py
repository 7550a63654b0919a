"""Portkey's open-source gateway from npm: it has no keys, limits or accounting of its own; the provider is
named by header.
"""

from collections.abc import Sequence

from benches.gateway.machine import GATEWAY_CORE
from benches.gateway.process import Pinned, free_port
from benches.gateway.system import UPSTREAM_MODEL, Place, Route, Target, Upstreams
from benches.peers.installation import npm_install

VERSION = "1.15.2"
DEPENDENCIES = {"@portkey-ai/gateway": VERSION, "node": "24"}
# With the newest server that its own range allows (1.19.19), every streamed answer is a 500 ("immutable"
# headers).
OVERRIDES = {"@hono/node-server": "1.13.8"}


class Portkey:
    """See `System`."""

    name = "portkey"
    version = VERSION
    configuration = "provider by header; it has no keys, limits or accounting"

    def __init__(self) -> None:
        self._port = 0
        self._process: Pinned | None = None
        self._upstreams = Upstreams(canned="", mock="")
        self._scripts: dict[str, str] = {}

    def start(self, place: Place) -> None:
        """See `System`."""
        modules = npm_install("portkey", DEPENDENCIES, OVERRIDES)
        self._port = free_port()
        self._upstreams, self._scripts = place.upstreams, dict(place.scripts)
        server = modules / "@portkey-ai/gateway/build/start-server.js"
        env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
        self._process = Pinned(
            [modules / ".bin/node", server, f"--port={self._port}", "--headless"],
            core=GATEWAY_CORE,
            folder=place.folder,
            name=self.name,
            env=env,
        )
        self._process.wait_for_port(self._port)

    def stop(self) -> None:
        """See `System`."""
        if self._process:
            self._process.stop()

    def pids(self) -> Sequence[int]:
        """See `System`."""
        return [self._process.pid] if self._process else []

    def target(self, route: Route, script: str = "") -> Target | None:
        """See `System`."""
        if route not in (Route.CANNED, Route.SCRIPTED):
            return None
        upstream = (
            f"{self._upstreams.mock}/mock:{self._scripts[script]}" if script else self._upstreams.canned
        )
        headers = {
            "Content-Type": "application/json",
            "Authorization": "Bearer sk-upstream",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{upstream}/v1",
        }
        return Target(
            url=f"http://127.0.0.1:{self._port}/v1/chat/completions", headers=headers, model=UPSTREAM_MODEL
        )
