"""LiteLLM's proxy from PyPI, one worker.

Feature-equal as far as it goes without PostgreSQL, which its virtual keys, budgets and spend logs need:
bearer check against the master key, alias, usage and cost computed per request. Lean: its makers' advice for
production and no key.
"""

import json
from collections.abc import Sequence
from typing import Any

from benches.gateway.machine import GATEWAY_CORE
from benches.gateway.process import Pinned, free_port
from benches.gateway.system import MODEL, UPSTREAM_MODEL, Place, Route, Target
from benches.peers.installation import pip_install

VERSION = "1.106.2"
KEY = "sk-9f2c41d7a8b36e05f1c2d3b4a5968778695a4b3c2d1e0f99"  # of loopback benches only; it refuses weak ones
START_SECONDS = 120.0


class LiteLLM:
    """See `System`."""

    version = VERSION

    def __init__(self, *, lean: bool) -> None:
        self._lean = lean
        self._port = 0
        self._process: Pinned | None = None

    @property
    def name(self) -> str:
        """See `System`."""
        return "litellm-lean" if self._lean else "litellm"

    @property
    def configuration(self) -> str:
        """See `System`."""
        lean = "no key, alias"
        return lean if self._lean else "master key, alias, cost in process; no virtual key, limit or database"

    def start(self, place: Place) -> None:
        """See `System`."""
        folder = pip_install("litellm", f"litellm[proxy]=={VERSION}")
        self._port = free_port()
        place.folder.mkdir(parents=True, exist_ok=True)
        config = place.folder / "config.yaml"
        config.write_text(json.dumps(self._config(place)))
        command = (folder / "litellm", "--config", config, "--port", str(self._port), "--host", "127.0.0.1")
        env = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        if self._lean:
            env["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
        self._process = Pinned(
            (*command, "--num_workers", "1"), core=GATEWAY_CORE, folder=place.folder, name=self.name, env=env
        )
        self._process.wait_for_port(self._port, START_SECONDS)

    def _config(self, place: Place) -> dict[str, Any]:
        models = {MODEL: f"{place.upstreams.canned}/v1"}
        models |= {
            _scripted(name): f"{place.upstreams.mock}/mock:{script}/v1"
            for name, script in place.scripts.items()
        }
        entries = [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{UPSTREAM_MODEL}",
                    "api_base": base,
                    "api_key": "sk-upstream",
                },
            }
            for name, base in models.items()
        ]
        general = {} if self._lean else {"master_key": KEY}
        return {"model_list": entries, "general_settings": general, "litellm_settings": {"telemetry": False}}

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
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        model = _scripted(script) if script else MODEL
        return Target(url=f"http://127.0.0.1:{self._port}/v1/chat/completions", headers=headers, model=model)


def _scripted(script: str) -> str:
    return f"bench-{script}"
