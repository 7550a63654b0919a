"""What a deployment cannot do: by its own section, for certain, or by the catalogue, which may miss some."""

from ailink.config.capability import CAPABILITIES
from ailink.config.schema import Deployment
from ailink.pricing import Model as Facts

_TAKES = {"vision": "image", "audio_input": "audio", "video_input": "video"}


def certain(deployment: Deployment) -> list[str]:
    """What its section leaves out."""
    own = deployment.capabilities
    return [] if own is None else [name for name in CAPABILITIES if name not in own]


def doubtful(deployment: Deployment, facts: Facts | None) -> list[str]:
    """What the catalogue does not name, where it names anything."""
    if deployment.capabilities is not None or facts is None or not facts.can:
        return []
    known = {*facts.can, *(name for name, kind in _TAKES.items() if kind in facts.takes)}
    return [name for name in CAPABILITIES if name not in known]
