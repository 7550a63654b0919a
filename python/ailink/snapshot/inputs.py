"""What a configuration is compiled with, gathered from the files and rows that it names."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ailink import pricing
from ailink.config.schema import Config, routers_of
from ailink.pricing import files as price_files
from ailink.pricing.files import PriceFileError
from ailink.providers import Registry
from ailink.providers.discovery import Found
from ailink.routers.shelf import ShelfError, in_force
from ailink.snapshot.compile import CompileError, Inputs
from ailink.store import credentials, groups
from ailink.store.database import Database


async def gather(
    config: Config,
    registry: Registry,
    database: Database,
    plugin_socket: Path,
    switched: Mapping[str, str] | None = None,
    discovered: Mapping[str, tuple[Found, ...]] | None = None,
) -> Inputs:
    """`switched`: groups of deployments, by model; None: as they stand in the database. `discovered`: what
    servers answered that were asked what they serve.

    Raises CompileError and DatabaseError.
    """
    switched = await groups.active(database) if switched is None else switched
    stored = [record.name for record in await credentials.everything(database)]
    files = [Path(file) for file in config.prices]
    try:
        overlays = await asyncio.to_thread(lambda: tuple(map(price_files.read, files)))
        routers = await asyncio.to_thread(in_force, config.data_dir, routers_of(config))
    except (PriceFileError, ShelfError) as error:
        raise CompileError(str(error)) from error
    return Inputs(
        registry=registry,
        catalogue=pricing.load(),
        overlays=overlays,
        routers=routers,
        groups=switched,
        env=dict(os.environ),
        stored=stored,
        plugin_socket=str(plugin_socket),
        discovered=discovered or {},
        today=datetime.now(UTC).date().isoformat(),
    )
