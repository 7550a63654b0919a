"""The landing page, the offline documentation page, and `/metrics`."""

from __future__ import annotations

import asyncio
from importlib import resources

import msgspec

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import not_found
from ailink.admin.services import Services
from ailink.observe.metrics import CONTENT_TYPE
from ailink.shell.route import Content

# Own files only: no inline script or style, no other origin, not even for the requests of the try-it form.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


class Landing(msgspec.Struct, frozen=True, kw_only=True):
    """What this server is, for a person or program that lands on it."""

    name: str
    version: str
    docs: str
    openapi: str
    health: str


async def landing(services: Services, call: Call[Nothing, Nothing]) -> Landing:
    return Landing(
        name="AILink", version=services.version, docs="/docs", openapi="/openapi.json", health="/health/ready"
    )


async def docs(services: Services, call: Call[Nothing, Nothing]) -> Content:
    return _page("docs.html")


async def docs_file(services: Services, call: Call[Nothing, Nothing]) -> Content:
    name = call.path["name"]
    if name not in ("docs.css", "docs.js"):
        raise not_found("no such file")
    return _page(name)


async def metrics(services: Services, call: Call[Nothing, Nothing]) -> Content:
    # Merging the counters of all I/O threads is work for a thread, not for the loop.
    plane = await asyncio.to_thread(services.plane.metrics)
    return Content(body=plane + services.metrics.render(), media_type=CONTENT_TYPE)


def _page(name: str) -> Content:
    file = resources.files("ailink.shell") / "static" / name
    return Content(
        body=file.read_bytes(), media_type=MEDIA_TYPES[name[name.rindex(".") :]], policy=PAGE_POLICY
    )
