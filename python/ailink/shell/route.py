"""A route: method, path, policy, schemas, handler. One without a policy cannot be made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import msgspec

from ailink.admin.call import Call, Nothing
from ailink.admin.litellm_fields import Inert
from ailink.admin.services import Services
from ailink.shell.policy import Policy

NO_FIELDS: Inert = MappingProxyType({})
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not JSON of a schema. `policy` is the Content-Security-Policy of a page."""

    body: bytes
    media_type: str
    policy: str | None = None


B = TypeVar("B")
Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the route table. `path` has `{name}` for a captured segment."""

    method: Method
    path: str
    policy: Policy
    summary: str
    tag: str
    handler: Callable[[Services, Call[Any, Any]], Awaitable[Any]]
    body: type[msgspec.Struct]
    query: type[msgspec.Struct]
    response: Any
    inert_body: Inert
    inert_query: Inert
    body_optional: bool
    status: int

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Policy):
            raise TypeError(f"route {self.method} {self.path} has no policy")
        if not self.path.startswith("/"):
            raise ValueError(f"route {self.path!r} must begin with /")


def route(  # noqa: PLR0913 - one argument per property of a route; all but five have a default
    method: Method,
    path: str,
    policy: Policy,
    handler: Callable[[Services, Call[B, Q]], Awaitable[R]],
    summary: str,
    *,
    tag: str,
    response: Any = Content,
    body: type[B] = Nothing,  # type: ignore[assignment]  # B is Nothing where no body is declared
    query: type[Q] = Nothing,  # type: ignore[assignment]
    inert_body: Inert = NO_FIELDS,
    inert_query: Inert = NO_FIELDS,
    body_optional: bool = False,
    status: int = 200,
) -> Route:
    """Makes a route whose handler takes exactly the declared body and query.

    `inert_body`, `inert_query`: fields accepted only with a value that asks for nothing (see
    `admin/litellm_fields.py`). `body_optional`: an empty body stands for `{}`.
    """
    return Route(
        method=method,
        path=path,
        policy=policy,
        summary=summary,
        tag=tag,
        handler=handler,
        body=body,  # type: ignore[arg-type]
        query=query,  # type: ignore[arg-type]
        response=response,
        inert_body=inert_body,
        inert_query=inert_query,
        body_optional=body_optional,
        status=status,
    )
