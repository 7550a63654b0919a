"""Files and batches: how much is kept, how often providers are asked, and where clouds read and write."""

from typing import Annotated

from msgspec import Meta

from ailink.config.section import Strict
from ailink.config.units import Duration, Size


class Batches(Strict, frozen=True, kw_only=True):
    poll: Duration = Duration(30_000)
    """How often a provider is asked how far a batch is."""
    lease: Duration = Duration(60_000)
    """For how long a process that is not heard of keeps its batches; then another takes them over."""
    max_file: Size = Size(100 * 1024 * 1024)
    """Longest file that is taken."""
    max_kept: Size = Size(4 * 1024 * 1024 * 1024)
    """Bytes of files that one team, user or key may have."""
    max_open: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Batches that one team, user or key may have under way."""
    keep: Duration = Duration(30 * 24 * 3_600_000)
    """For how long files and batches that have ended are kept."""


class BatchPlace(Strict, frozen=True, kw_only=True):
    """Where a deployment's batches go, as far as its provider's row does not say it."""

    bucket: (
        Annotated[str, Meta(pattern=r"^(s3|gs)://[a-z0-9][a-z0-9._-]{1,221}(/[A-Za-z0-9._/-]*)?$")] | None
    ) = None
    """Bucket and prefix that requests are written to and answers read from: Vertex AI and Bedrock."""
    role: Annotated[str, Meta(pattern=r"^arn:[A-Za-z0-9:/_.@+=,-]+$", max_length=256)] | None = None
    """The role that Bedrock reads and writes the bucket as."""
    url: Annotated[str, Meta(pattern=r"^https?://[^\s{}]+$")] | None = None
    """Base of the jobs' paths; null: the provider's own."""
    store_url: Annotated[str, Meta(pattern=r"^https?://[^\s{}]+$")] | None = None
    """Of the bucket's service; null: the cloud's own."""
