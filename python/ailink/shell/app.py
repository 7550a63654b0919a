"""The shell as an ASGI application: the route table behind one edge that decodes, checks, calls, encodes and
counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from ailink.admin.call import Call, Caller, Nothing, Upload
from ailink.admin.errors import ApiError
from ailink.admin.guard_names import check_names
from ailink.admin.services import Services
from ailink.identity.actor import Actor, actor_of_key
from ailink.observe.metrics import UNMATCHED
from ailink.shell.decode import BODY_BYTES, decode_body, decode_query, read_body
from ailink.shell.encode import answer, refusal
from ailink.shell.headers import SecurityHeaders
from ailink.shell.internal import internal_routes
from ailink.shell.policy import Policy, caller_of, permit
from ailink.shell.repeats import Repeats
from ailink.shell.route import Route
from ailink.shell.slack import SLACK, slack_endpoint
from ailink.shell.table import ROUTES
from ailink.store.database import DatabaseError

log = logging.getLogger(__name__)

# What a client sees of a failure of ours; the log has the rest, under the same request id.
INTERNAL = ApiError(
    500, "The gateway failed to answer this request.", type="api_error", code="internal_error"
)
STORE_DOWN = ApiError(
    503, "The gateway's database is not available.", type="api_error", code="database_unavailable"
)
# Where the front looked for the caller's key, if in no header.
KEY_IN = "x-ailink-key-in"
# What stands around a file in a form.
FORM_BYTES = 64 * 1024
# Nobody reads this answer.
CLIENT_GONE = 499


def create_app(services: Services) -> ASGIApp:
    """The application that the front forwards to."""
    repeats = Repeats(services.database, services.keyring, services.keys.now_us)
    starlette = Starlette(
        routes=[
            StarletteRoute(route.path, _endpoint(route, services, repeats), methods=[route.method])
            for route in ROUTES
        ]
        + internal_routes(services)
        + [StarletteRoute(SLACK, slack_endpoint(services), methods=["POST"])],
        exception_handlers={HTTPException: _unmatched(services)},
    )
    return SecurityHeaders(starlette)


def _endpoint(route: Route, services: Services, repeats: Repeats) -> Callable[[Request], Awaitable[Response]]:
    public = route.policy is Policy.METRICS and services.metrics_public
    policy = Policy.PUBLIC if public else route.policy

    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        caller = caller_of(request.headers)
        try:
            # Before the body is read: who may not call does not get to send.
            if policy is not Policy.PUBLIC:
                caller = await _admitted(policy, route, caller, services)
            response = await _answer(route, request, caller, services, repeats)
        except ApiError as error:
            response = refusal(error.status, error.envelope)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        except DatabaseError as error:
            _report(route, caller, error)
            response = refusal(STORE_DOWN.status, STORE_DOWN.envelope)
        except Exception as error:  # noqa: BLE001 - the edge of the shell: nothing may end without an answer
            _report(route, caller, error)
            response = refusal(INTERNAL.status, INTERNAL.envelope)
        services.metrics.request(
            route.method, route.path, response.status_code, time.perf_counter() - started
        )
        return response

    return endpoint


async def _admitted(policy: Policy, route: Route, caller: Caller, services: Services) -> Caller:
    """The caller with what he may do. Raises `ApiError` (401, 403)."""
    allowed: Sequence[str] = ()
    if caller.role == "key":
        record = await services.keys.by_id(caller.key_id)
        actor = Actor(key_id=caller.key_id)
        if record is not None:
            actor, allowed = await actor_of_key(services.database, record), record.routes
        caller = msgspec.structs.replace(caller, actor=actor)
    permit(policy, caller, route.method, route.path, allowed)
    return caller


async def _answer(
    route: Route, request: Request, caller: Caller, services: Services, repeats: Repeats
) -> Response:
    # `?key=` is one of the forms in which a caller presents a key; where he did otherwise, it is a parameter.
    presented = request.headers.get(KEY_IN) == "query"
    query = decode_query(request.url.query, route.query, route.inert_query, credential=presented)
    most = (
        BODY_BYTES if route.body is not Upload else FORM_BYTES + int(services.config.file().batches.max_file)
    )
    raw = b"" if route.body is Nothing else await read_body(request, most)
    body: object = Nothing()
    if route.body is Upload:
        body = Upload(content_type=request.headers.get("content-type", ""), content=raw)
    elif route.body is not Nothing:
        body = decode_body(raw or b"{}" if route.body_optional else raw, route.body, route.inert_body)
        check_names(services.config, body)

    async def work(caller: Caller) -> Response:
        call = Call(caller=caller, body=body, query=query, path=request.path_params)
        return answer(await route.handler(services, call), route.status)

    return await repeats.run(request, caller, raw, work)


def _report(route: Route, caller: Caller, error: Exception) -> None:
    fields = {
        "route": f"{route.method} {route.path}",
        "request_id": caller.request_id,
        "key_id": caller.key_id,
    }
    log.error("%s %s failed: %s", route.method, route.path, error, exc_info=error, extra={"fields": fields})


def _unmatched(services: Services) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
        wrong_method = status == HTTPStatus.METHOD_NOT_ALLOWED
        text = "is not allowed here" if wrong_method else "is not a path of this gateway"
        subject = request.method if wrong_method else request.url.path
        refused = ApiError(
            status,
            f"{subject} {text}.",
            type="invalid_request_error",
            code="method_not_allowed" if wrong_method else "unknown_url",
        )
        services.metrics.request(request.method, UNMATCHED, status, 0.0)
        response = refusal(refused.status, refused.envelope)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    return handle
