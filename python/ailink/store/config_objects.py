"""What was configured through the API beside the file: deployments of models, providers, limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ailink.store.rows import Record, Rows

Kind = Literal["model", "provider", "limit"]


class ConfigObject(Record, frozen=True, kw_only=True):
    """`sealed`: what is secret of it, a JSON object bound to this row. `public_only`: connections go to
    public addresses alone.
    """

    kind: Kind
    name: str
    body: dict[str, Any]
    sealed: str | None = None
    public_only: bool = False
    blocked: bool = False


class ObjectChange(msgspec.Struct, frozen=True, kw_only=True):
    """All rows as they are to be, of which `id` changes."""

    rows: Sequence[ConfigObject]
    id: str


config_objects = Rows("config_object", ConfigObject)


def provider_id(name: str) -> str:
    return f"provider:{name}"


def limit_id(name: str) -> str:
    return f"limit:{name}"
