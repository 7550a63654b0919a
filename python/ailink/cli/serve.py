"""`ailink serve`: runs the gateway."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ailink import __version__
from ailink.cli import lazy, source
from ailink.cli.source import ConfigOption

if TYPE_CHECKING:
    from ailink.serve import Started

Host = Annotated[
    str | None,
    typer.Option(
        envvar="AILINK_HOST", help="Address to listen on, instead of `server.host`.", show_default=False
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        envvar="AILINK_PORT",
        min=0,
        max=65535,
        help="Port to listen on, instead of `server.port`; 0 for any free one.",
        show_default=False,
    ),
]


def serve(config: ConfigOption = None, host: Host = None, port: Port = None) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    SIGHUP reads configuration and certificates again; SIGUSR2 restarts without losing a connection.
    """
    overrides = lazy.loader.Overrides(host=host or None, port=port)
    file = source.chosen(config)
    options = lazy.serve.ServeOptions(
        file=None if file is None else file.absolute(),
        directory=Path.cwd(),
        overrides=overrides,
        started=announce,
    )
    try:
        code = lazy.serve.serve(options)
    except lazy.problems.ConfigError as error:
        source.report(error.problems)
        raise typer.Exit(1) from None
    except lazy.serve.StartError as error:
        raise source.fail(str(error)) from None
    raise typer.Exit(code)


def announce(started: "Started") -> None:
    """What a newcomer needs next: the address, the admin key, a call that works as pasted."""
    typer.echo(banner(started, os.environ.get("AILINK_MASTER_KEY")))


def banner(started: "Started", master_key_variable: str | None) -> str:
    """The text of `announce`. It names the place of the admin key, never the key."""
    config = started.config
    key_file = Path(config.data_dir) / lazy.data_dir.ADMIN_KEY_FILE
    if config.master_key is None:
        where, bearer = str(key_file), f"$(cat {shlex.quote(str(key_file))})"
    elif master_key_variable == config.master_key.reveal():
        where, bearer = "$AILINK_MASTER_KEY", "$AILINK_MASTER_KEY"
    else:
        where, bearer = "master_key of the configuration", "YOUR_MASTER_KEY"
    url, options = _address(started)
    names = ", ".join(model.name for model in config.models[:8]) or "none yet: add some to the configuration"
    if len(config.models) > 8:
        names += f" and {len(config.models) - 8} more"
    body = '{"model": "%s", "messages": [{"role": "user", "content": "Hello!"}]}'
    model = config.models[0].name if config.models else "MODEL"
    return "\n".join(
        [
            f"AILink {__version__} is ready after {started.seconds:.2f} s",
            "",
            f"  URL        {url}",
            f"  Admin key  {where}",
            f"  Models     {names}",
            f"  Docs       {url}/docs",
            "",
            "  Try it:",
            f"  curl {options}{url}/v1/chat/completions -H 'Content-Type: application/json' \\",
            f'    -H "Authorization: Bearer {bearer}" \\',
            f"    -d {shlex.quote(body % model)}",
            "",
        ]
    )


def _address(started: "Started") -> tuple[str, str]:
    """(URL, curl options to reach it from here)."""
    server = started.config.server
    scheme = "https" if server.tls is not None else "http"
    if server.port is None:
        return f"{scheme}://localhost", f"--unix-socket {shlex.quote(server.uds or '')} "
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}:{started.port}", ""
