"""`python -m benches.day [--short]`: start AILink with the mock provider, let locust's users live a day,
judge.

The users are in `benches/locustfile.py`. Gateway and provider share core 0 and 1 with everything, as on a
small server: this bench is about behaviour and the gateway's own overhead under mixed use, not about
throughput.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benches.gateway.machine import Unmeasurable, require_measurable
from benches.gateway.mock import MockProvider
from benches.gateway.process import StartFailure
from benches.gateway.product import MASTER_KEY, AILink, require_release_build
from benches.gateway.system import MODEL, Place, Upstreams

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
USERS = 40


def locust(url: str, seconds: int) -> int:
    """Run locust headless on the load core; its exit code."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", url]
    command += ["--users", str(USERS), "--spawn-rate", "20", "--run-time", f"{seconds}s", "--only-summary"]
    environment = {**os.environ, "AILINK_MASTER_KEY": MASTER_KEY, "AILINK_BENCH_MODEL": MODEL}
    root = LOCUSTFILE.parent.parent
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    return subprocess.run(["taskset", "--cpu-list", "1", *command], env=environment, check=False).returncode


def main(words: Sequence[str] | None = None) -> int:
    """0 when all answers were right and the overhead stays below its bar."""
    parser = argparse.ArgumentParser(prog="python -m benches.day")
    parser.add_argument("--short", action="store_true", help="20 seconds instead of 120")
    options = parser.parse_args(words)
    try:
        require_measurable()
        require_release_build()
        with tempfile.TemporaryDirectory(prefix="ailink-day-") as name:
            folder = Path(name)
            provider = MockProvider(folder / "provider")
            system = AILink()
            try:
                upstreams = Upstreams(canned=provider.url, mock=provider.url)
                system.start(Place(folder=folder / "ailink", upstreams=upstreams, scripts={}))
                return locust(system.url, 20 if options.short else 120)
            finally:
                system.stop()
                provider.stop()
    except (Unmeasurable, StartFailure) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
