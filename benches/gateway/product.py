"""AILink itself, set up as its users do: minted virtual key, alias, rate limit, accounting to SQLite,
metrics.
"""

import http.client
import json
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ailink
from benches.gateway.machine import GATEWAY_CORE
from benches.gateway.process import Pinned, StartFailure, free_port
from benches.gateway.system import MODEL, UPSTREAM_MODEL, Place, Route, Target

MASTER_KEY = "sk-bench-administrator-0123456789abcdef"
COMMAND = (sys.executable, "-m", "ailink")
NEVER_TRIPS = 1_000_000_000  # requests per minute; the window is checked all the same
NEVER_SPENT = 1_000_000  # USD
LEDGER_THREAD = "ailink-ledger"


GUARDRAILS: Sequence[Mapping[str, Any]] = (
    {"name": "personal", "presets": ["pii", "secrets"], "scan": ["output"], "action": "redact"},
)


def require_release_build() -> str:
    """The build profile of the installed extension; raise `StartFailure` for any other than release."""
    code = "import ailink._core as core; print(core.build_profile())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    profile = done.stdout.strip()
    if profile != "release":
        reason = f"is a {profile!r} build" if profile else f"cannot be imported:\n{done.stderr}"
        raise StartFailure(
            f"benches judge the release build only; ailink._core {reason} (make bench builds it)"
        )
    return profile


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How an AILink under test differs from the plain set-up."""

    name: str = "ailink"
    cache: bool = False
    models: int = 0  # further models beside the ones that are used
    keys: int = 0  # further keys beside the ones that are used
    provider: str = "mock"  # whose streams the scripted models are
    path: str = "/v1/chat/completions"  # what clients call
    guarded: bool = False  # guardrails look at what comes out
    limited: bool = False  # five limits and three budgets of key, user and team instead of one limit
    bare: bool = False  # only spawned: start() neither waits nor mints keys


class AILink:
    """The gateway as one pinned process."""

    def __init__(self, variation: Variation | None = None) -> None:
        self._variation = variation or Variation()
        self._port = 0
        self._process: Pinned | None = None
        self._keys: dict[Route, str] = {}

    @property
    def name(self) -> str:
        """See `System`."""
        return self._variation.name

    @property
    def version(self) -> str:
        """The version of the installed package."""
        return ailink.__version__

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def configuration(self) -> str:
        """See `System`."""
        also = {
            "cache": self._variation.cache,
            f"clients of {self._variation.path}, streams of {self._variation.provider}": self._translates,
            "output guardrails": self._variation.guarded,
            "5 limits and 3 budgets": self._variation.limited,
        }
        further = "".join(f", {what}" for what, there in also.items() if there)
        return f"virtual key, alias, rate limit, usage and cost to SQLite, metrics{further}"

    @property
    def _translates(self) -> bool:
        plain = Variation()
        return (self._variation.provider, self._variation.path) != (plain.provider, plain.path)

    def config(self, place: Place) -> dict[str, Any]:
        """The `ailink.yaml` of the set-up (JSON is YAML)."""
        canned = self._model(MODEL, place.upstreams.canned)
        scripted = [
            self._model(
                scripted_model(name), f"{place.upstreams.mock}/mock:{script}", self._variation.provider
            )
            for name, script in place.scripts.items()
        ]
        further = [
            self._model(f"further-{number}", place.upstreams.canned)
            for number in range(self._variation.models)
        ]
        return {
            "server": {"host": "127.0.0.1", "port": self._port},
            "data_dir": str(place.folder / "data"),
            "master_key": MASTER_KEY,
            "models": [canned, *scripted, *further],
            "guardrails": list(GUARDRAILS) if self._variation.guarded else [],
            "cache": {"enabled": self._variation.cache},
            "observe": {"log_level": "warning"},
        }

    def _model(self, name: str, root: str, provider: str = "mock") -> dict[str, Any]:
        base_url = f"{root}/v1" if provider == "mock" else root
        deployment = {"provider": provider, "model": UPSTREAM_MODEL, "base_url": base_url}
        price = {"input_per_million": 0.15, "output_per_million": 0.60}
        guards = [rule["name"] for rule in GUARDRAILS] if self._variation.guarded else []
        return {"name": name, "deployments": [deployment], "price": price, "guardrails": guards}

    def start(self, place: Place) -> None:
        """Come up with an empty data directory and mint the keys over HTTP."""
        self._port = free_port()
        place.folder.mkdir(parents=True, exist_ok=True)
        (place.folder / "ailink.yaml").write_text(json.dumps(self.config(place), indent=1))
        self._launch(place)
        if self._variation.bare:
            return
        self._wait_until_ready()
        self._keys = {
            Route.CANNED: self._mint(
                **(self._limits() if self._variation.limited else {}), rpm_limit=NEVER_TRIPS
            ),
            Route.LIMITED: self._mint(rpm_limit=1),
            Route.STRANGER: "sk-unknown-0123456789abcdef0123456789abcdef",
        }
        if self._variation.keys:
            self.stop()
            multiply_keys(place.folder / "data/ailink.db", self._variation.keys)
            self._launch(place)
            self._wait_until_ready()

    def _launch(self, place: Place) -> None:
        command = (*COMMAND, "serve", "--config", place.folder / "ailink.yaml")
        self._process = Pinned(command, core=GATEWAY_CORE, folder=place.folder, name=self.name)

    def _wait_until_ready(self, seconds: float = 60.0) -> None:
        if self._process:
            self._process.wait_for_port(self._port, seconds)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.call("GET", "/health/ready")[0] == 200:
                return
            time.sleep(0.01)
        raise StartFailure(f"{self.name} is not ready after {seconds:.0f} s:\n{self._tail()}")

    def _tail(self) -> str:
        return self._process.tail() if self._process else ""

    def _limits(self) -> dict[str, object]:
        """Of a team two limits and a budget, of a user a budget, of a key two beside its one and a budget."""
        rates = {"tpm_limit": NEVER_TRIPS, "max_budget": NEVER_SPENT, "budget_duration": "30d"}
        team = self._make("/team/new", "team_id", **rates, rpm_limit=NEVER_TRIPS)
        user = self._make("/user/new", "user_id", max_budget=NEVER_SPENT, auto_create_key=False)
        self._make("/team/member_add", "team_id", team_id=team, member={"user_id": user, "role": "user"})
        return {**rates, "max_parallel_requests": NEVER_TRIPS, "team_id": team, "user_id": user}

    def _mint(self, **fields: object) -> str:
        return self._make("/key/generate", "key", models=[], **fields)

    def _make(self, path: str, named: str, **fields: object) -> str:
        status, body = self.call("POST", path, fields)
        if status != 200:
            raise StartFailure(f"{self.name}: {path} answered {status}: {body!r}")
        made: str = json.loads(body)[named]
        return made

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> tuple[int, bytes]:
        """One request as administrator: status and body of the answer."""
        with closing(self._connect()) as connection:
            return _exchange(connection, method, path, body)

    def stop(self) -> None:
        """See `System`."""
        if self._process:
            self._process.stop()

    def pids(self) -> Sequence[int]:
        """See `System`."""
        return [self._process.pid] if self._process else []

    def target(self, route: Route, script: str = "") -> Target | None:
        """See `System`."""
        if (route is Route.CACHED) != self._variation.cache:
            return None
        if self._translates and route is not Route.SCRIPTED:
            return None
        key = self._keys.get(route, self._keys.get(Route.CANNED, MASTER_KEY))
        return Target(
            url=f"{self.url}{self._variation.path}",
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
            model=scripted_model(script) if script else MODEL,
        )


def multiply_keys(database: Path, count: int) -> None:
    """Write further keys beside the minted ones, straight into a stopped gateway's database.

    Minting 100,000 over HTTP would take longer than all the rest of the bench; nobody uses these, they only
    have to be there when the gateway starts.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("SELECT * FROM virtual_key LIMIT 1").fetchone())
        row |= {"rpm_limit": NEVER_TRIPS}
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        further = (
            row | {"id": f"{number:032x}", "digest": secrets.token_hex(32), "alias": f"further-{number}"}
            for number in range(count)
        )
        connection.executemany(f"INSERT INTO virtual_key ({names}) VALUES ({marks})", further)


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: Mapping[str, object] | None
) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    return response.status, response.read()


def scripted_model(script: str) -> str:
    """The model name under which AILink routes to the mock with a script."""
    return f"bench-{script}"
