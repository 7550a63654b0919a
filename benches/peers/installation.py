"""Where peers are installed: `benches/.cache`, once, in pinned versions."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benches.gateway.process import StartFailure

CACHE = Path(__file__).resolve().parents[1] / ".cache"
TIMEOUT_SECONDS = 900


def pip_install(name: str, requirement: str) -> Path:
    """A virtual environment for one peer; returns its `bin` folder."""
    folder = CACHE / name
    _once(
        folder,
        requirement,
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", requirement],
    )
    return folder / "bin"


def npm_install(name: str, dependencies: Mapping[str, str], overrides: Mapping[str, str]) -> Path:
    """A node project for one peer; returns its `node_modules` folder."""
    npm = shutil.which("npm")
    if npm is None:
        raise StartFailure(f"{name} needs npm, which is not installed")
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    project = json.dumps({"private": True, "dependencies": dict(dependencies), "overrides": dict(overrides)})
    (folder / "package.json").write_text(project)
    _once(folder, project, [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)])
    return folder / "node_modules"


def _once(folder: Path, requirement: str, *commands: Sequence[str]) -> None:
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == requirement:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise StartFailure(f"{requirement}: not installed after {TIMEOUT_SECONDS} s") from None
        if done.returncode != 0:
            raise StartFailure(f"{requirement} cannot be installed:\n{(done.stderr or done.stdout)[-2000:]}")
    stamp.write_text(requirement)
