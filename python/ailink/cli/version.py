"""`ailink version`."""

import platform

import typer

from ailink import __version__
from ailink.cli import lazy


def version() -> None:
    """Show the versions of AILink, its extension and Python."""
    try:
        core = lazy.core
        extension = f"{core.__version__}, {core.build_profile()} build"
    except ImportError as error:
        extension = f"missing ({error})"
    typer.echo(f"ailink {__version__} (extension {extension}; Python {platform.python_version()})")
