"""Bad input: always a 4xx in the error envelope that says what is wrong, never a 5xx of ours."""

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.admin.gateway import Gateway
from tests.unit.shell.conftest import ADMIN

from ailink.shell.decode import BODY_BYTES
from ailink.shell.route import Route
from ailink.shell.table import ROUTES

BAD_BODIES = [
    (b"", "not valid JSON"),
    (b"{", "not valid JSON"),
    (b'{"key": "a",}', "not valid JSON"),
    (b'{"key": "sk-x", "key": "sk-y"}', "`key` is given twice"),
    (b'{"key": "sk-x", "metadata": {"a": 1, "a": 2}}', "`a` is given twice"),
    (b'{"key": "\xff"}', "not valid JSON"),
    (b'{"key": "\\ud800"}', "not valid JSON"),
    (b'{"key": NaN}', "not valid JSON"),
    (b"\xef\xbb\xbf{}", "not valid JSON"),
    (b"[]", "must be a JSON object"),
    (b'"x"', "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deeply nested"),
    (b'{"rpm_limit": 1' + b"0" * 5_000 + b"}", "not valid JSON"),
]


@pytest.mark.parametrize(("body", "text"), BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_bad_bodies(http: httpx.AsyncClient, body: bytes, text: str) -> None:
    response = await http.post("/key/update", content=body, headers=ADMIN)
    assert response.status_code == 400
    error = response.json()["error"]
    assert text in error["message"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_json")


async def test_large_bodies(http: httpx.AsyncClient) -> None:
    async def chunks() -> object:
        for _ in range(BODY_BYTES // 65_536 + 1):
            yield b" " * 65_536

    for content in (b" " * (BODY_BYTES + 1), chunks()):
        response = await http.post("/key/update", content=content, headers=ADMIN)  # type: ignore[arg-type]
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    "query", ["key=%ff", "key=a&key=b", "&".join(f"a{n}=1" for n in range(500)), "key=" + "k" * 300]
)
async def test_bad_queries(http: httpx.AsyncClient, query: str) -> None:
    response = await http.get(f"/key/info?{query}", headers=ADMIN)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_the_credential_in_the_query_is_no_parameter(http: httpx.AsyncClient) -> None:
    presented = await http.get("/v1/spend?key=sk-1", headers={**ADMIN, "x-ailink-key-in": "query"})
    assert presented.status_code == 200
    refused = await http.get("/v1/spend?key=sk-1", headers=ADMIN)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "unknown_parameter", "key")
    assert "did you mean `key_id`?" in error["message"]


async def test_unknown_paths_and_methods(http: httpx.AsyncClient) -> None:
    missing = await http.get("/key/nothing/here", headers=ADMIN)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_url")
    wrong = await http.delete("/key/list", headers=ADMIN)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


async def test_a_failure_of_ours_tells_nothing(
    asgi: httpx.AsyncClient, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.plane.fail = True
    response = await asgi.post("/key/generate", json={}, headers=ADMIN)
    assert response.status_code == 500
    assert "plane" not in response.text
    (record,) = [record for record in caplog.records if record.name == "ailink.shell.app"]
    assert record.fields == {"route": "POST /key/generate", "request_id": "req_7", "key_id": "master"}  # type: ignore[attr-defined]
    assert record.exc_info is not None


async def test_a_database_that_is_gone(asgi: httpx.AsyncClient, gateway: Gateway) -> None:
    await gateway.services.database.execute("DROP TABLE audit")
    response = await asgi.post("/key/generate", json={}, headers=ADMIN)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
    assert gateway.plane.keys == {}


async def test_every_answer_has_security_headers(http: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/docs/docs.js", "/openapi.json", "/nothing", "/key/list", "/key/info"):
        headers = (await http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["server"] == "ailink"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BODIES = [route for route in ROUTES if route.body.__struct_fields__]
FIELDS = sorted({name for route in BODIES for name in (*route.body.__struct_fields__, *route.inert_body)})


@pytest.mark.parametrize("route", BODIES, ids=lambda route: route.path)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4).map(
        lambda value: json.dumps(value).encode()
    )
    | st.binary(max_size=40)
)
async def test_no_body_is_our_failure(route: object, body: bytes, asgi: httpx.AsyncClient) -> None:
    path = route.path.replace("{name}", "absent").replace("{key}", "sk-absent-0123456789")  # type: ignore[attr-defined]
    response = await asgi.request(route.method, path, content=body, headers=ADMIN)  # type: ignore[attr-defined]
    assert response.status_code in (200, 201, 400, 404), response.text
    if not response.is_success:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


QUERIES = [route for route in ROUTES if route.query.__struct_fields__]
PARAMETERS = sorted(
    {name for route in QUERIES for name in (*route.query.__struct_fields__, *route.inert_query)}
)


@pytest.mark.parametrize("route", QUERIES, ids=lambda route: route.path)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(params=st.dictionaries(st.sampled_from(PARAMETERS), st.text(max_size=12), max_size=3))
async def test_no_query_is_our_failure(route: Route, params: dict[str, str], asgi: httpx.AsyncClient) -> None:
    try:
        response = await asgi.request(route.method, route.path, params=params, headers=ADMIN)
    except UnicodeEncodeError:
        return  # a lone surrogate: no client can send it
    assert response.status_code in (200, 400, 404), response.text
