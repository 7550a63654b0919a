"""What a model can be able to do."""

from typing import Final, Literal, get_args

Capability = Literal["tools", "json_schema", "vision", "audio_input", "video_input", "documents"]
CAPABILITIES: Final[tuple[Capability, ...]] = get_args(Capability)
