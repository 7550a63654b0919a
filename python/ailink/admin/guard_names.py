"""Guardrails that keys, teams, users, projects and organizations are given by name."""

from __future__ import annotations

from ailink.admin.errors import bad_request
from ailink.admin.served import ConfigView
from ailink.admin.setting_fields import HolderFields
from ailink.config.problems import did_you_mean


def check_names(config: ConfigView, body: object) -> None:
    """Raises `ApiError` (400) for a name that is not configured: a key that needs it could not be used."""
    if not isinstance(body, HolderFields) or not body.guardrails:
        return
    names = [rule.name for rule, _ in config.guardrails()]
    for place, name in enumerate(body.guardrails):
        if name not in names:
            hint = did_you_mean(name, names)
            raise bad_request(f"there is no guardrail '{name}'{hint}", param=f"guardrails[{place}]")
