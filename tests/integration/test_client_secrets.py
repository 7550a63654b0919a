"""Keys for a while: made with a virtual key, good for realtime sessions with one model and nothing else."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

PRICE = {"input_per_million": 4, "output_per_million": 16}
CREATE = json.dumps({"type": "response.create"})


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(script: str = "") -> Any:
        return make_deployment(provider, script, model="up-rt", price=PRICE)

    config = make_config(
        make_model("rt", at("events=3;usage=100:40"), aliases=["short"]),
        make_model("other", at()),
        make_model("guarded", at(), guardrails=["words"]),
        guardrails=[{"name": "words", "words": ["forbidden"]}],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def made(gateway: Gateway, key: Key, model: str = "rt", **more: Any) -> httpx.Response:
    body = {"session": {"type": "realtime", "model": model}, **more}
    return gateway.http.post("/v1/realtime/client_secrets", json=body, headers=key.bearer)


def dial(gateway: Gateway, value: str, model: str = "rt") -> connect:
    return connect(
        f"ws://127.0.0.1:{gateway.port}/v1/realtime?model={model}",
        subprotocols=[Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{value}")],
        compression=None,
    )


async def answered(gateway: Gateway, value: str) -> None:
    async with dial(gateway, value) as socket:
        await socket.send(CREATE)
        while json.loads(await asyncio.wait_for(socket.recv(), 10))["type"] != "response.done":
            pass


async def refused(gateway: Gateway, value: str, model: str = "rt") -> int:
    with pytest.raises(InvalidStatus) as status:
        async with dial(gateway, value, model):
            pass
    return status.value.response.status_code


async def test_sessions_are_counted_on_the_key_that_asked(gateway: Gateway) -> None:
    key = gateway.mint(models=["rt", "other"])
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret) as client:
        secret = await asyncio.to_thread(
            client.realtime.client_secrets.create,
            session={"type": "realtime", "model": "short"},
            expires_after={"anchor": "created_at", "seconds": 60},
        )
    assert secret.value.startswith("ek_")
    await answered(gateway, secret.value)
    rows = until(lambda: gateway.spend_logs(api_key=key.token), "a row")
    assert (rows[0]["prompt_tokens"], rows[0]["completion_tokens"]) == (100, 40)
    spent = (100 * 4 + 40 * 16) / 10**6
    info = gateway.call("/key/info", key=key.secret)["info"]
    assert info["spend"] == pytest.approx(spent)
    # Nothing but sessions with this model.
    bearer = {"Authorization": f"Bearer {secret.value}"}
    assert await refused(gateway, secret.value, "other") == 403
    chat = gateway.http.post("/v1/chat/completions", json={"model": "rt", "messages": []}, headers=bearer)
    assert chat.status_code == 403
    for path in ("/key/info", "/v1/files", "/v1/batches"):
        assert gateway.http.get(path, headers=bearer).status_code == 401
    again = gateway.http.post(
        "/v1/realtime/client_secrets", json={"session": {"model": "rt"}}, headers=bearer
    )
    assert again.status_code == 401


async def test_it_ends_with_its_key(gateway: Gateway) -> None:
    key = gateway.mint()
    value = made(gateway, key).json()["value"]
    await answered(gateway, value)
    gateway.call("/key/block", {"key": key.token})
    assert await refused(gateway, value) in (401, 403)
    gateway.call("/key/unblock", {"key": key.token})
    await answered(gateway, value)
    gateway.call("/key/delete", {"keys": [key.token]})
    assert await refused(gateway, value) == 401


async def test_its_budget_is_the_keys(gateway: Gateway) -> None:
    key = gateway.mint(max_budget=0.0001)
    value = made(gateway, key).json()["value"]
    await answered(gateway, value)
    assert await refused(gateway, value) == 422


async def test_it_survives_a_restart(gateway: Gateway) -> None:
    value = made(gateway, gateway.mint()).json()["value"]
    await asyncio.to_thread(gateway.restart)
    await answered(gateway, value)


def test_the_older_form(gateway: Gateway) -> None:
    key = gateway.mint()
    answer = gateway.http.post("/v1/realtime/sessions", json={"model": "rt"}, headers=key.bearer).json()
    assert (answer["object"], answer["model"]) == ("realtime.session", "rt")
    assert answer["client_secret"]["value"].startswith("ek_")


def test_what_cannot_be_is_refused(gateway: Gateway) -> None:
    key = gateway.mint(models=["rt", "guarded"])
    cases: list[tuple[httpx.Response, int, str | None]] = [
        (made(gateway, key, "nothing"), 404, "model_not_found"),
        (made(gateway, key, "other"), 403, None),
        (made(gateway, key, "guarded"), 400, None),
        (made(gateway, key, expires_after={"seconds": 5}), 400, "invalid_parameter"),
        (made(gateway, key, expires_after={"anchor": "later"}), 400, "invalid_parameter"),
        (gateway.http.post("/v1/realtime/client_secrets", json={}, headers=key.bearer), 400, None),
        (gateway.http.post("/v1/realtime/client_secrets", json={"session": {"model": "rt"}}), 401, None),
        (
            gateway.http.post(
                "/v1/realtime/client_secrets",
                json={"session": {"model": "rt", "instructions": "sing"}},
                headers=key.bearer,
            ),
            400,
            "unknown_parameter",
        ),
        (
            gateway.http.post(
                "/v1/realtime/client_secrets", json={"session": {"model": "rt"}}, headers=gateway.admin
            ),
            400,
            "virtual_key_needed",
        ),
    ]
    for answer, status, code in cases:
        assert answer.status_code == status, answer.text
        assert code is None or answer.json()["error"]["code"] == code
