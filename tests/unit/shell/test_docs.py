"""The API description and its page: true to the tables, valid, and without a foreign byte."""

import re
from html.parser import HTMLParser

import httpx
import pytest
from tests.unit.admin.gateway import Gateway

from ailink import _core
from ailink.shell.table import ROUTES


async def test_the_description_is_valid(asgi: httpx.AsyncClient) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    response = await asgi.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    description = response.json()
    assert description["openapi"] == "3.1.0"
    validator.validate(description)


async def test_the_description_has_every_path(asgi: httpx.AsyncClient) -> None:
    paths = (await asgi.get("/openapi.json")).json()["paths"]
    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    plane = {(method, pattern) for method, pattern, owner, _ in _core.endpoints() if owner != "shell"}
    assert told == plane | {(route.method, route.path) for route in ROUTES}
    ids = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    for path, methods in paths.items():
        for operation in methods.values():
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


async def test_the_description_tells_limits_and_names(asgi: httpx.AsyncClient) -> None:
    schemas = (await asgi.get("/openapi.json")).json()["components"]["schemas"]
    rpm = schemas["GenerateKey"]["properties"]["rpm_limit"]
    assert rpm["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 1_000_000_000}
    assert schemas["GenerateKey"]["additionalProperties"] is False
    assert schemas["KeyInfo"]["properties"]["spend"]["type"] == "number"


def test_the_front_forwards_every_route() -> None:
    forwarded = [(method, pattern) for method, pattern, owner, _ in _core.endpoints() if owner == "shell"]
    for route in ROUTES:
        fits = [
            pattern
            for method, pattern in forwarded
            if method == route.method
            and re.fullmatch(re.escape(pattern).replace(r"\{rest\}", ".+"), route.path)
        ]
        assert fits, f"{route.method} {route.path}"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style") and data.strip():
            self.inline.append(data)


async def test_the_page_works_offline_and_under_its_policy(http: httpx.AsyncClient, gateway: Gateway) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "connect-src 'self'" in policy
    links = Links()
    links.feed(page.text)
    assert links.inline == []
    assert {"/docs/docs.css", "/docs/docs.js", "/openapi.json"} == set(links.found)
    for link in links.found:
        loaded = await http.get(link)
        assert loaded.status_code == 200
        assert "http://" not in loaded.text.replace("http://json-schema.org", "")
        assert "https://" not in loaded.text
    script = (await http.get("/docs/docs.js")).text
    assert "innerHTML" not in script
    assert "localStorage" not in script


@pytest.mark.parametrize("name", ["table.py", "docs.html", "..%2ftable.py", "%2e%2e", "docs.js.map"])
async def test_only_the_pages_own_files_are_served(http: httpx.AsyncClient, name: str) -> None:
    assert (await http.get(f"/docs/{name}")).status_code == 404
