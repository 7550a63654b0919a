"""`ailink rekey`: another encryption key for everything that the database keeps sealed."""

from typing import Annotated

import typer

from ailink.cli import lazy, source
from ailink.cli.source import ConfigOption

Variable = Annotated[
    str | None,
    typer.Option(
        "--new-key-env",
        help="Environment variable with the new key (`openssl rand -base64 32`). Without it, the file of the "
        "data directory gets a new one.",
    ),
]


def rekey(config: ConfigOption = None, new_key_env: Variable = None) -> None:
    """Seal what is stored under another encryption key. Every gateway must be stopped."""
    loaded = source.load_or_exit(config)
    try:
        done = lazy.rekeying.run(loaded.config, new_key_env)
    except lazy.rekeying.RekeyError as error:
        raise source.fail(str(error)) from None
    typer.echo(
        f"sealed anew: {done.credentials} provider keys, all values behind tokens, all secrets of the API"
    )
    typer.echo(
        f"the new key is in {done.file}"
        if done.file
        else f"start every gateway with encryption_key as in {new_key_env}"
    )
