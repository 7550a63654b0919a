from typing import Any

import pytest

from ailink.admin.call import Call, Nothing
from ailink.admin.services import Services
from ailink.shell.policy import Policy
from ailink.shell.route import Content, route
from ailink.shell.table import ROUTES


async def handler(services: Services, call: Call[Nothing, Nothing]) -> Content:
    return Content(body=b"", media_type="text/plain")


def test_a_route_without_a_policy_cannot_be_made() -> None:
    make: Any = route
    with pytest.raises(TypeError):
        make("GET", "/x", handler=handler, summary="x", tag="x")
    for policy in (None, "admin", "PUBLIC"):
        with pytest.raises(TypeError, match="route GET /x has no policy"):
            make("GET", "/x", policy, handler, "x", tag="x")


def test_a_path_begins_with_a_slash() -> None:
    with pytest.raises(ValueError, match="must begin with /"):
        route("GET", "x", Policy.PUBLIC, handler, "x", tag="x")


def test_no_route_stands_twice() -> None:
    assert len({(found.method, found.path) for found in ROUTES}) == len(ROUTES)


def test_every_route_says_what_it_is_for() -> None:
    for found in ROUTES:
        assert found.summary
        assert found.tag
