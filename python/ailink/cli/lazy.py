"""The modules a command needs beyond typer, imported when the command first names them.

`ailink --help` and `ailink version` must not pay for the event loop, YAML, SQLite and the extension. This is
the only place where something is imported by a name in a string; the type checker sees the real modules.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ailink import _core as core
    from ailink import serve
    from ailink.cli import client, doctor_checks, migration, rekeying, render
    from ailink.config import data_dir, loader, policy_files, problems
    from ailink.ledger import bills
    from ailink.moving import offline as moving
    from ailink.pricing import files as price_files
    from ailink.providers import discovery, registry
    from ailink.routers import data as router_data
    from ailink.routers import evaluation as router_evaluation
    from ailink.routers import plot as router_plot
    from ailink.routers import shelf as router_shelf
    from ailink.routers import training as router_training
    from ailink.semantic import evaluation as semantic

_MODULES: Final = {
    "bills": "ailink.ledger.bills",
    "client": "ailink.cli.client",
    "core": "ailink._core",
    "data_dir": "ailink.config.data_dir",
    "discovery": "ailink.providers.discovery",
    "doctor_checks": "ailink.cli.doctor_checks",
    "loader": "ailink.config.loader",
    "migration": "ailink.cli.migration",
    "moving": "ailink.moving.offline",
    "policy_files": "ailink.config.policy_files",
    "price_files": "ailink.pricing.files",
    "problems": "ailink.config.problems",
    "registry": "ailink.providers.registry",
    "rekeying": "ailink.cli.rekeying",
    "render": "ailink.cli.render",
    "router_data": "ailink.routers.data",
    "router_evaluation": "ailink.routers.evaluation",
    "router_plot": "ailink.routers.plot",
    "router_shelf": "ailink.routers.shelf",
    "router_training": "ailink.routers.training",
    "semantic": "ailink.semantic.evaluation",
    "serve": "ailink.serve",
}

__all__ = [
    "bills",
    "client",
    "core",
    "data_dir",
    "discovery",
    "doctor_checks",
    "loader",
    "migration",
    "moving",
    "policy_files",
    "price_files",
    "problems",
    "registry",
    "rekeying",
    "render",
    "router_data",
    "router_evaluation",
    "router_plot",
    "router_shelf",
    "router_training",
    "semantic",
    "serve",
]


def __getattr__(name: str) -> ModuleType:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"{__name__} has no module {name!r}")
    return importlib.import_module(module)
