"""The `ailink` command. Nothing imports this package."""

from ailink.cli.app import main

__all__ = ["main"]
