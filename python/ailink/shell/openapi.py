"""The OpenAPI 3.1 description, made from the route table and the data plane's endpoint table, so that it
cannot lag behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ailink.admin.call import Upload
from ailink.admin.errors import ErrorEnvelope
from ailink.admin.key_access import HEALTH
from ailink.admin.plane import Endpoint
from ailink.shell.encode import amount_schema
from ailink.shell.policy import Policy
from ailink.shell.route import Content, Route

REF = "#/components/schemas/{name}"
CAPTURED = re.compile(r"\{([a-z_]+)\}")
MULTIPART = frozenset({"images_edits", "images_variations", "audio_transcriptions", "audio_translations"})
MODEL_TAG = "Model endpoints"

Schema = dict[str, Any]


def render(routes: Sequence[Route], endpoints: Iterable[Endpoint], version: str) -> bytes:
    """The description as JSON."""
    types = [ErrorEnvelope, *_types(routes)]
    schemas, components = msgspec.json.schema_components(types, schema_hook=amount_schema, ref_template=REF)
    known = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known)
    for endpoint in endpoints:
        if endpoint.owner != "shell":
            paths.setdefault(endpoint.pattern, {})[endpoint.method.lower()] = _plane_operation(endpoint)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "AILink", "version": version, "description": "One gateway to every model."},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "key": {"type": "http", "scheme": "bearer", "description": "A key: `sk-…`."}
                },
            },
        }
    )


def _types(routes: Iterable[Route]) -> list[Any]:
    return [
        kind
        for route in routes
        for kind in (route.body, route.query, route.response)
        if kind is not Content and kind is not Upload
    ]


def _operation(route: Route, known: dict[int, Schema]) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(route.method, route.path),
        "summary": route.summary,
        "description": _description(route),
        "tags": [route.tag],
        "parameters": [*_path_parameters(route.path), *_query_parameters(route)],
        "responses": {
            str(route.status): {"description": "Done.", "content": _content(route, known)},
            "default": {"description": "Refused.", "content": _json(known[id(ErrorEnvelope)])},
        },
        "security": [{}] if route.policy is Policy.PUBLIC else [{"key": []}],
    }
    if route.body is Upload:
        operation["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": {"type": "object"}}},
        }
    elif route.body.__struct_fields__:
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": _json(known[id(route.body)]),
        }
    return operation


def _description(route: Route) -> str:
    doc = (route.handler.__doc__ or "").strip()
    return f"{doc}\n\n{route.policy.text}".strip()


def _content(route: Route, known: dict[int, Schema]) -> Schema:
    return {"*/*": {}} if route.response is Content else _json(known[id(route.response)])


def _path_parameters(path: str) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in CAPTURED.findall(path)
    ]


def _query_parameters(route: Route) -> list[Schema]:
    if not route.query.__struct_fields__:
        return []
    # Each parameter carries its own schema: OpenAPI has no query object.
    (_,), components = msgspec.json.schema_components(
        [route.query], schema_hook=amount_schema, ref_template=REF
    )
    properties = components[route.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in properties.items()
    ]


def _plane_operation(endpoint: Endpoint) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(endpoint.method, endpoint.pattern),
        "summary": endpoint.operation.replace("_", " ").capitalize(),
        "tags": [MODEL_TAG],
        "parameters": _path_parameters(endpoint.pattern),
        "responses": {
            "200": {"description": "The provider's answer."},
            "default": {"description": "Refused."},
        },
        "security": [{}] if endpoint.operation == HEALTH else [{"key": []}],
    }
    if endpoint.method == "POST":
        media_type = "multipart/form-data" if endpoint.operation in MULTIPART else "application/json"
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": {"type": "object"}}}}
    return operation


def _operation_id(method: str, path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"{method} {path}".lower()).strip("_") or "root"


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
