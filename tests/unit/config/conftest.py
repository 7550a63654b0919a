"""Configuration files on disk."""

from pathlib import Path

import pytest
from hypothesis import settings

from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.providers import Registry

# How long an example takes is judged in benches.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="package")
def registry():
    return Registry.builtin()


@pytest.fixture
def write(tmp_path):
    """Writes a file and returns its path."""

    def write(text, name="ailink.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def load(write, registry):
    """Writes and loads a file."""

    def load(text, env=None, name="ailink.yaml"):
        return loader.load(write(text, name), registry, env or {})

    return load


@pytest.fixture
def problems(load):
    """Writes and loads a file that must be refused; `line:column path: message` of every error."""

    def problems(text, env=None, name="ailink.yaml"):
        with pytest.raises(ConfigError) as caught:
            load(text, env, name)
        return [
            f"{problem.place.line}:{problem.place.column} {problem.path}: {problem.message}"
            for problem in caught.value.problems
            if problem.severity == "error"
        ]

    return problems
