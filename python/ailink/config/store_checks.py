"""Where rows are kept and what stands between several nodes: what is wrong with the addresses."""

from collections.abc import Iterator
from typing import Final

from ailink.config.problems import Path
from ailink.config.schema import Config

KEEP_LEAST = 2 * 86_400_000
REDIS_SCHEMES: Final = (
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)


def problems(config: Config) -> Iterator[tuple[Path, str]]:
    """Place and text of each."""
    scheme, found, name = config.database_url.partition("://")
    if scheme in ("postgresql", "postgres"):
        if not name or name.startswith("/"):
            yield ("database_url",), "expected `postgresql://USER:PASSWORD@HOST/DATABASE`"
    elif scheme != "sqlite":
        shown = f"`{scheme}://`" if found else "this"
        text = f"{shown} is no database of ours; use `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`"
        yield ("database_url",), text
    elif not name.startswith("/") or len(name) < 2 or "?" in name:
        yield ("database_url",), "expected `sqlite:///FILE`, relative to `data_dir`, or `sqlite:////FILE`"
    keep = config.server.ledger.keep
    if keep is not None and int(keep) < KEEP_LEAST:
        yield ("server", "ledger", "keep"), "must be 2d or more: today's and yesterday's attempts are needed"
    if not 1_000 <= int(config.batches.lease) <= 3_600_000:
        yield ("batches", "lease"), "must be from 1 s to 1 h"
    if config.redis_url is None:
        return
    if config.redis_url.reveal().partition("://")[0] not in REDIS_SCHEMES:
        yield ("redis_url",), f"expected one of {', '.join(f'`{one}://`' for one in REDIS_SCHEMES)}"
    if scheme == "sqlite":
        yield ("redis_url",), "several nodes need one database: set `database_url` to a PostgreSQL"
    if config.server.node == 0:
        yield ("server", "node"), "several nodes need a number each: 1, 2, …"
    if not 1_000 <= int(config.coordination.lease) <= 86_400_000:
        yield ("coordination", "lease"), "must be from 1 s to 24 h"
    if not 1 <= int(config.coordination.timeout) <= 10_000:
        yield ("coordination", "timeout"), "must be from 1 ms to 10 s"
