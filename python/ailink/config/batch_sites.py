"""Where the batches of a deployment go: its provider's row with everything filled in."""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import msgspec

from ailink.config.batches import BatchPlace
from ailink.config.schema import Deployment
from ailink.providers import ProviderRow
from ailink.providers.registry import BatchShape, placeholders


class BatchSite(msgspec.Struct, frozen=True, kw_only=True):
    """`jobs`, `files`: addresses without a slash at their end. `prefix`: what paths of lines begin with."""

    deployment: str
    provider: str
    model: str
    shape: BatchShape
    jobs: str
    files: str
    prefix: str
    publisher: str
    headers: tuple[tuple[str, str], ...] = ()
    bucket: str | None = None
    role: str | None = None


def batch_site(
    deployment: Deployment, row: ProviderRow, base_url: str, values: Mapping[str, str]
) -> BatchSite | None:
    """None where the provider has no batches. Call it with what `place` has found."""
    if row.batches is None:
        return None
    batch = deployment.batch or BatchPlace()
    moved = deployment.base_url is not None

    def address(path: str, given: str | None) -> str:
        if given is not None:
            return given.rstrip("/")
        for name in placeholders(path):
            path = path.replace(f"{{{name}}}", quote(values.get(name, ""), safe=""))
        if not path.startswith("https://"):
            return _joined(base_url, path)
        # A deployment of another host has its own services beside it.
        parts = urlsplit(base_url)
        return f"{parts.scheme}://{parts.netloc}{urlsplit(path).path}" if moved else path

    return BatchSite(
        deployment="",
        provider=row.id,
        model=deployment.model or "",
        shape=row.batches.shape,
        jobs=address(row.batches.jobs, batch.url),
        files=address(row.batches.files, batch.store_url),
        prefix=row.batches.prefix,
        publisher=urlsplit(base_url).path.rsplit("/", 1)[-1],
        headers=tuple({**row.headers, **{k.lower(): v for k, v in deployment.headers.items()}}.items()),
        bucket=batch.bucket,
        role=batch.role,
    )


def _joined(base_url: str, path: str) -> str:
    """`/../` steps out of the base URL's path, as in the paths of operations."""
    parts = urlsplit(base_url)
    prefix = parts.path.rstrip("/")
    while path.startswith("/../"):
        path, prefix = path[len("/..") :], prefix.rpartition("/")[0]
    return f"{parts.scheme}://{parts.netloc}{prefix}{path}".rstrip("/")
