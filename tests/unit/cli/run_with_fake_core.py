"""The `ailink` command with the stand-in for its extension."""

import sys

from tests.unit.cli import fake_core

import ailink

sys.modules["ailink._core"] = fake_core
ailink._core = fake_core

from ailink.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
