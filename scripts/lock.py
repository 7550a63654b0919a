#!/usr/bin/env python3
"""Resolve everything this project installs to exact versions and write `constraints.txt`.

Usage: python3 scripts/lock.py      (`make lock`)

A throw-away virtual environment receives the newest versions that pyproject.toml allows; what it holds then
is the lock. No hashes and no index addresses are written: the file works with any mirror.
"""

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Exact versions of all that `make setup` installs; written by scripts/lock.py (`make lock`).\n"


def locked(python: Path) -> list[str]:
    """What `pip freeze` tells of the environment, sorted, without the tools Python itself brought along."""
    command = [str(python), "-m", "pip", "freeze", "--all", "--exclude", "setuptools", "--exclude", "wheel"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(out.split(), key=lambda line: line.partition("==")[0].casefold())


def main() -> None:
    """Install into a temporary environment, then write the lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        install = [str(python), "-m", "pip", "install", "--quiet", "--upgrade"]
        subprocess.run([*install, "pip"], check=True)
        subprocess.run([*install, *requirements, "--group", "dev"], check=True, cwd=ROOT)
        lines = locked(python)
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(lines) + "\n")
    print(f"constraints.txt: {len(lines)} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
