"""The gateway as its users have it: `python -m ailink serve`, asked over HTTP, ended by signals."""

import json
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx
from tests.harness.config import Section, write_config
from tests.harness.ledger import LedgerRow, read_ledger, rollup_pico
from tests.harness.load import UNBOUNDED
from tests.harness.process import Child, free_port
from tests.harness.raw import RawConnection
from tests.harness.until import until

SERIES = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+0-9.eEnaINf]+)$")


class Key(NamedTuple):
    """A minted key."""

    secret: str
    id: str
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


class Gateway:
    """One gateway with its directory. Started and ready inside the `with` block; `config` None is the
    embedded default. Port, keys and data survive a restart.
    """

    def __init__(
        self,
        directory: Path,
        config: Section | str | None = None,
        *,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        uds: Path | None = None,
    ) -> None:
        """`uds`: the file's listener is this Unix socket alone, and `http` uses it."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.file = directory / "ailink.yaml"
        self.data = directory / ".ailink"
        self.uds = uds
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        options = ["-m", "ailink", "serve", *arguments]
        if config is not None:
            write_config(self.file, config)
            options += ["--config", str(self.file)]
        if uds is None:
            options += ["--port", str(self.port)]
        self.child = Child("gateway", options, directory, env or {})
        transport = None if uds is None else httpx.HTTPTransport(uds=str(uds), limits=UNBOUNDED)
        self.http = httpx.Client(base_url=self.url, timeout=30, limits=UNBOUNDED, transport=transport)

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        return self if self.child.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.child.kill()

    def start(self) -> Self:
        """Starts the process and waits until it is ready."""
        self.child.start()
        try:
            self.child.alive_until(self.is_ready, "gateway is ready", 60)
        except BaseException:
            # `with` does not come to its end when it never began.
            self.child.kill()
            raise
        return self

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> Self:
        """Asks it to end and waits until it has; the exit code must be 0."""
        self.child.signal(number)
        code = self.child.wait(seconds)
        assert code == 0, f"exit code {code}\n{self.child.log[-4000:]}"
        return self

    def kill(self) -> Self:
        """`kill -9`."""
        self.child.kill()
        return self

    def restart(self) -> Self:
        """Starts it again; ends it first if it still runs."""
        if self.child.running:
            self.stop()
        return self.start()

    def is_ready(self) -> bool:
        try:
            # httpcore forgets to close a Unix socket that cannot be connected.
            RawConnection(self.port, uds=self.uds).close()
            return self.http.get("/health/ready").status_code == 200
        except (OSError, httpx.TransportError):
            return False

    @property
    def log(self) -> str:
        return self.child.log

    # ── management, through the API ──────────────────────────────────────────────────────────────────────

    @property
    def admin_key(self) -> str:
        """The generated admin key. With `master_key` in the file, that one is it."""
        return (self.data / "admin.key").read_text().strip()

    @property
    def admin(self) -> dict[str, str]:
        """Headers of the administrator."""
        return {"Authorization": f"Bearer {self.admin_key}"}

    def call(self, path: str, body: Any = None, **query: Any) -> Any:
        """A management call as administrator; GET without a body. The answer must be 2xx."""
        if body is None:
            response = self.http.get(path, params=query or None, headers=self.admin)
        else:
            response = self.http.post(path, json=body, params=query or None, headers=self.admin)
        assert response.is_success, f"{path}: {response.status_code} {response.text}"
        return response.json()

    def mint(self, **settings: Any) -> Key:
        """A new virtual key (`models`, `rpm_limit`, `duration`, …)."""
        made = self.call("/key/generate", settings)
        return Key(secret=made["key"], id=made["key_id"], token=made["token"])

    def details(self) -> dict[str, Any]:
        """The `config` part of what /health/ready tells."""
        found: dict[str, Any] = self.http.get("/health/ready").json()["details"]["config"]
        return found

    def reconfigure(self, config: Section | str) -> dict[str, Any]:
        """Replaces the file and waits until it is in force; the new details."""
        before = self.details()["version"]
        write_config(self.file, config)
        until(lambda: (now := self.details())["errors"] or now["version"] > before, "configuration in force")
        details = self.details()
        assert details["errors"] == [], details
        return details

    def metrics(self) -> dict[str, float]:
        """Series by their name with labels, as they stand in the text."""
        text = self.http.get("/metrics", headers=self.admin).raise_for_status().text
        found = (SERIES.match(line) for line in text.splitlines())
        return {f"{row[1]}{{{row[2]}}}" if row[2] else row[1]: float(row[3]) for row in found if row}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of that name that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            value
            for series, value in self.metrics().items()
            if series.split("{")[0] == name and all(label in series for label in wanted)
        )

    # ── money ────────────────────────────────────────────────────────────────────────────────────────────

    def spend_logs(self, **query: Any) -> list[dict[str, Any]]:
        """Rows of the running gateway's ledger through /spend/logs, newest first; amounts as exact text."""
        answer = self.http.get("/spend/logs", params={"limit": 1000, **query}, headers=self.admin)
        assert answer.is_success, answer.text
        rows: list[dict[str, Any]] = json.loads(answer.text, parse_float=str)
        return rows

    def attempts_of(self, request_id: str, count: int = 1) -> list[dict[str, Any]]:
        """The rows of one request in their order, once there are at least `count`."""

        def enough() -> list[dict[str, Any]]:
            rows = self.spend_logs(request_id=request_id)
            return rows if len(rows) >= count else []

        return until(enough, f"{count} rows of {request_id}")

    def ledger(self) -> list[LedgerRow]:
        """All rows, from the file of a stopped (not killed: then restart and stop it first) gateway."""
        assert not self.child.running, "stop the gateway first"
        return read_ledger(self.data / "ledger.db")

    def rollup_pico(self) -> int:
        """Sum of the roll-up of a stopped gateway, pico-USD."""
        assert not self.child.running, "stop the gateway first"
        return rollup_pico(self.data / "ledger.db")
