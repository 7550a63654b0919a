"""`ailink init`: writes a first configuration file."""

from pathlib import Path
from typing import Annotated, Final

import typer

from ailink.cli import source

TEMPLATE: Final = """\
# AILink configuration. Check it with `ailink check`, run it with `ailink serve`.
# ${VAR} and ${VAR:-default} are filled in from the environment. A running gateway takes over changes at once.

server:
  host: 127.0.0.1            # another address needs a master_key of your own, or TLS
  port: 4000
  # tls: {cert_file: server.crt, key_file: server.key}
  # trusted_proxies: [10.0.0.0/8]
  # keepalive_comment: 15s   # SSE comments while a provider is silent
  # drain: {timeout: 10m}

# data_dir: .ailink          # databases, spool, generated keys

# The administrator's key; without one a random key is made in data_dir/admin.key.
# master_key: ${AILINK_MASTER_KEY}

# 32 random bytes in base64 that encrypt provider keys at rest; without them a key is made in data_dir.
# encryption_key: ${AILINK_ENCRYPTION_KEY}

# Providers of the catalogue need no entry; their API keys are found in OPENAI_API_KEY and the like.
# providers:
#   openai: {api_key: "${OPENAI_API_KEY}"}
#   local: {dialect: openai_chat, base_url: "http://127.0.0.1:9000/v1", api_key: none}

models:
  # What clients ask for, and where it is had.
  - name: mock               # answers without any provider
    deployments:
      - provider: mock

  # - name: gpt-4o-mini
  #   deployments:
  #     - {provider: openai, model: gpt-4o-mini, weight: 2}
  #     - {provider: local, model: gpt-4o-mini}
  #   price: {input_per_million: 0.15, output_per_million: 0.60}   # overrides the catalogue
  #   fallbacks: [mock]
  #   timeouts: {connect: 5s, first_byte: 60s, idle: 60s, total: 600s}
  #   retries: 2

# cache: {enabled: true, max_bytes: 64MiB, ttl: 5m}
# observe: {log_level: info, log_format: text}   # otlp: {endpoint: "http://localhost:4318"} for traces
"""

File = Annotated[Path, typer.Argument(help="File to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


def init(file: File = Path(source.DEFAULT_FILE), force: Force = False) -> None:
    """Write a commented configuration file."""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as handle:
            handle.write(TEMPLATE)
    except FileExistsError:
        raise source.fail(f"{file} exists; --force replaces it") from None
    except OSError as error:
        raise source.fail(f"cannot write {file}: {error.strerror}") from None
    typer.echo(
        f"{file} is written. Next: ailink serve" + ("" if str(file) == source.DEFAULT_FILE else f" -c {file}")
    )
