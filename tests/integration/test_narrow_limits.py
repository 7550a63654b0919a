"""Limits of addresses, sessions and pairs, and limits that are made through the API."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until

CENT = {"per_request": 0.01, "input_per_million": 0, "output_per_million": 0}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        make_model("m", make_deployment(provider)),
        make_model("own", make_deployment(provider)),
        make_model("ip", make_deployment(provider)),
        make_model("talk", make_deployment(provider, "usage=10:20"), price=CENT),
        make_model("pair", make_deployment(provider, id="one")),
        make_model(
            "two",
            make_deployment(provider, id="first"),
            make_deployment(provider, id="second", dialect="anthropic"),
        ),
        limits=[
            {"on": "model:ip", "each": "ip", "requests": 2, "per": "1h", "name": "two an hour"},
            {"on": "model:talk", "each": "session", "tokens": 100, "per": "1h"},
            {"on": "deployment:one", "each": "key", "requests": 1, "per": "1h"},
        ],
        budgets={"rules": [{"on": "global", "each": "user", "usd": 0.02, "per": "day"}]},
        server={"threads": 2, "trusted_proxies": ["127.0.0.1"]},
    )
    with Gateway(tmp_path_factory.mktemp("narrow"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = chat(model, max_tokens=20)
    return gateway.http.post("/v1/chat/completions", json=body, headers={**key.bearer, **names})


def text(response: httpx.Response) -> str:
    message: str = response.json()["error"]["message"]
    return message


def test_each_address_has_its_own_limit(gateway: Gateway, key: Key) -> None:
    for address in ("203.0.113.7", "203.0.113.8", "203.0.113.7"):
        assert ask(gateway, key, "ip", x_forwarded_for=address).status_code == 200
    refused = ask(gateway, key, "ip", x_forwarded_for="203.0.113.7")
    assert refused.status_code == 429
    for part in ("address '203.0.113.7' with the model 'ip'", "2 requests per hour", "two an hour"):
        assert part in text(refused)
    assert int(refused.headers["retry-after"]) > 3_000
    # Another key does not help; another network of IPv6 does, another address in it does not.
    assert ask(gateway, gateway.mint(), "ip", x_forwarded_for="203.0.113.7").status_code == 429
    codes = [
        ask(gateway, key, "ip", x_forwarded_for=address).status_code
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")
    ]
    assert codes == [200, 200, 429, 200]


def test_each_session_has_its_own_limit(gateway: Gateway, key: Key) -> None:
    # 30 tokens are used each time.
    for _ in range(3):
        assert ask(gateway, key, "talk", x_session_id="a").status_code == 200
    refused = until(
        lambda: (found := ask(gateway, key, "talk", x_session_id="a")).status_code == 429 and found
    )
    assert "session 'a' with the model 'talk'" in text(refused)
    assert ask(gateway, key, "talk", x_session_id="b").status_code == 200
    # Who names no session has none to use up; a session is a caller's own.
    assert ask(gateway, key, "talk").status_code == 200
    assert ask(gateway, gateway.mint(), "talk", x_session_id="a").status_code == 200


def test_each_key_has_its_own_limit_at_a_deployment(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, "pair").status_code == 200
    refused = ask(gateway, key, "pair")
    assert refused.status_code == 429
    assert "with the deployment 'one'" in text(refused)
    assert ask(gateway, gateway.mint(), "pair").status_code == 200


def test_each_user_has_his_own_budget(gateway: Gateway) -> None:
    users = [gateway.call("/user/new", {"user_id": name, "auto_create_key": False}) for name in ("u1", "u2")]
    first, other = (gateway.mint(user_id=user["user_id"]) for user in users)
    assert [ask(gateway, first, "talk").status_code for _ in range(3)] == [200, 200, 422]
    assert ask(gateway, other, "talk").status_code == 200


def test_a_key_is_limited_at_one_provider(gateway: Gateway, provider: MockProvider) -> None:
    """Key and provider: what has no room there goes to another."""
    key = gateway.mint(limits=[{"requests": 2, "per": "1h", "providers": ["mock"], "name": "few there"}])
    info = gateway.call("/key/info", key=key.secret)["info"]["limits"]
    assert info == [{"requests": 2, "per": "1h", "providers": ["mock"], "name": "few there"}]
    places = [ask(gateway, key, "two").headers["x-ailink-provider"] for _ in range(6)]
    assert places.count("mock") <= 2
    assert len(places) == 6
    # The only place of this model has no room left.
    refused = [ask(gateway, key, "m").status_code for _ in range(3)][-1]
    assert refused == 429


def test_holders_take_further_limits(gateway: Gateway) -> None:
    team = gateway.call("/team/new", {"team_alias": "crew"})["team_id"]
    key = gateway.mint(team_id=team)
    limits = [
        {"requests": 1, "per": "1h", "endpoints": ["chat"], "each": "key"},
        {"usd": 0.05, "per": "month", "models": ["talk"], "alert_at": [50]},
    ]
    gateway.call("/team/update", {"team_id": team, "limits": limits})
    assert gateway.call("/team/info", team_id=team)["team_info"]["limits"] == [
        {"requests": 1, "per": "1h", "endpoints": ["chat"], "each": "key"},
        {"usd": "0.05", "models": ["talk"], "alert_at": [50]},
    ]
    assert [ask(gateway, key, "m").status_code for _ in range(2)] == [200, 429]
    assert ask(gateway, gateway.mint(team_id=team), "m").status_code == 200
    embedded = gateway.http.post("/v1/embeddings", json={"model": "m", "input": "x"}, headers=key.bearer)
    assert embedded.status_code == 200
    gateway.call("/team/update", {"team_id": team, "limits": None})
    assert ask(gateway, key, "m").status_code == 200


@pytest.mark.parametrize(
    ("limit", "param"),
    [
        ({"per": "1m"}, "limits[0]"),
        ({"requests": 1, "per": "fortnight"}, "limits[0].per"),
        ({"usd": 1, "per": "lifetime", "each": "ip"}, "limits[0].per"),
        ({"usd": 1, "endpoints": ["chat"]}, "limits[0].endpoints"),
        ({"requests": 1, "endpoints": ["chatt"]}, "limits[0].endpoints[0]"),
        ({"requests": 1, "providers": ["x"], "on_exhausted": {"queue": "1s"}}, "limits[0].on_exhausted"),
        ({"requests": 1, "keep": {"high": 60, "normal": 60}}, "limits[0].keep"),
        ({"requests": 1, "usd": 1}, "limits[0].requests"),
    ],
)
def test_what_cannot_be_a_limit_is_told(gateway: Gateway, limit: dict[str, Any], param: str) -> None:
    body = {"limits": [limit]}
    refused = gateway.http.post("/key/generate", json=body, headers=gateway.admin)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == param


def test_limits_of_the_gateway_are_made_through_the_api(gateway: Gateway, key: Key) -> None:
    def call(method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return gateway.http.request(method, path, json=body, headers={**gateway.admin, **headers})

    made = call("POST", "/v1/limits", {"id": "few", "on": "model:own", "requests": 2, "per": "1h"})
    assert made.status_code == 201, made.text
    assert made.json()["limit"] == {"requests": 2, "per": "1h"}
    assert call("POST", "/v1/limits", {"id": "few", "requests": 2}).status_code == 409
    assert [ask(gateway, key, "own").status_code for _ in range(3)] == [200, 200, 429]
    one = call("GET", "/v1/limits/few")
    assert one.json()["used"] == {"requests": 2}
    assert one.headers["etag"] == '"1"'
    listed = {view["id"]: view for view in call("GET", "/v1/limits").json()["data"]}
    assert listed["few"]["source"] == "api"
    assert listed["limits[0]"]["source"] == "file"
    assert listed["limits[0]"]["limit"]["each"] == "ip"

    # Waiting instead of a refusal; what was used goes on to count.
    wider = {"limit": {"requests": 3, "per": "1h", "on_exhausted": {"queue": "1s"}, "keep": {"high": 10}}}
    assert call("PATCH", "/v1/limits/few", wider, **{"if-match": '"9"'}).status_code == 412
    changed = call("PATCH", "/v1/limits/few", wider)
    assert changed.json()["limit"] == wider["limit"]
    assert changed.json()["used"] == {"requests": 2}
    assert [ask(gateway, key, "own").status_code for _ in range(2)] == [200, 429]

    # It stands after a restart, with what was used.
    gateway.restart()
    assert ask(gateway, key, "own").status_code == 429
    assert call("DELETE", "/v1/limits/few").json()["id"] == "few"
    assert ask(gateway, key, "own").status_code == 200
    assert call("GET", "/v1/limits/few").status_code == 404
    for body, param in (
        ({"on": "model:typo", "requests": 1}, "on"),
        ({"on": "team:x", "requests": 1}, "on"),
        ({"on": "global"}, None),
        ({"requests": 1, "per": "0s"}, "per"),
        ({"on": "endpoint:chat", "usd": 1, "per": "day"}, "on"),
        ({"endpoints": ["chat"], "usd": 1, "per": "day"}, "endpoints"),
    ):
        refused = call("POST", "/v1/limits", body)
        assert refused.status_code == 400, refused.text
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == (param, "invalid_request"), body
    assert gateway.http.get("/v1/limits", headers=key.bearer).status_code == 403
