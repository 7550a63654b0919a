"""Configurations from text, and what they are compiled with."""

import pytest
from hypothesis import settings

from ailink import pricing
from ailink.config import loader
from ailink.providers import Registry
from ailink.snapshot.compile import Inputs, compile_snapshot

# How long an example takes is judged in benches.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="package")
def inputs():
    return Inputs(registry=Registry.builtin(), catalogue=pricing.load(), env={})


@pytest.fixture
def config(tmp_path, inputs):
    """Loads a configuration from text."""

    def config(text, env=None):
        file = tmp_path / "ailink.yaml"
        file.write_text(text)
        return loader.load(file, inputs.registry, env or {}).config

    return config


@pytest.fixture
def compiled(config, inputs):
    """Compiles a configuration from text."""

    def compiled(text, env=None, **changes):
        given = (
            {name: getattr(inputs, name) for name in inputs.__struct_fields__} | {"env": env or {}} | changes
        )
        return compile_snapshot(config(text, env), Inputs(**given), 1_700_000_000)

    return compiled
