"""Names with a `*`: models made when somebody asks, prices of known ones, servers asked what they serve."""

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model, until
from tests.harness.tenants import ask


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    url = f"{provider.url}/v1"
    openai = {"provider": "openai", "base_url": url, "api_key": "sk-upstream"}
    azure = {"provider": "azure", "base_url": provider.url, "api_key": "sk-upstream"}
    config = make_config(
        make_model("openai/*", openai, guardrails=["words"], aliases=[]),
        make_model("openai/ft-*", {**openai, "model": "ft:*:me"}),
        make_model("openai/gpt-4o", make_deployment(provider, model="plain")),
        make_model("*-paths", azure),
        make_model("claude-*", make_deployment(provider, "text=always the same", model="one")),
        make_model("m", make_deployment(provider, "status=500"), fallbacks=["openai/gpt-4o-mini"]),
        guardrails=[{"name": "words", "action": "block", "words": ["forbidden"]}],
        limits=[{"on": "model:openai/*", "requests": 5000}],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def test_what_the_star_stands_for_is_the_providers_name(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint(models=["openai/*", "claude-*"]).secret
    for asked, got in [
        ("openai/gpt-4.1", "gpt-4.1"),
        ("openai/ft-x", "ft:x:me"),
        ("openai/gpt-4o", "plain"),
        ("openai/nobody-knows/this one", "nobody-knows/this one"),
        ("claude-anything", "one"),
    ]:
        answer = ask(gateway, key, asked)
        assert answer.status_code == 200, answer.text
        assert provider.requests()[-1].json()["model"].partition("?")[0] == got
        assert answer.headers["x-ailink-model"] == asked
    assert ask(gateway, key, "openai/").status_code == 404
    assert ask(gateway, key, "gemini/x").status_code == 404
    assert ask(gateway, gateway.mint(models=["claude-*"]).secret, "openai/gpt-4.1").status_code in {403, 404}


def test_a_path_has_the_name_escaped(gateway: Gateway, provider: MockProvider) -> None:
    # The mock does not know the path; what it was asked is what matters.
    ask(gateway, gateway.mint().secret, "a b/c-paths")
    assert "/openai/deployments/a%20b%2Fc/" in provider.requests()[-1].path


def test_known_models_have_their_prices_and_unknown_ones_none(gateway: Gateway) -> None:
    key = gateway.mint().secret
    for name, priced in [("openai/gpt-4o-mini", True), ("openai/of-tomorrow", False)]:
        answer = ask(gateway, key, name)
        (row,) = gateway.attempts_of(answer.headers["x-request-id"])
        usage = answer.json()["usage"]
        # OpenAI's price page: 0.15 and 0.60 US dollars per million tokens.
        cost = Decimal(usage["prompt_tokens"]) * 15 / 10**8 + Decimal(usage["completion_tokens"]) * 6 / 10**7
        assert Decimal(row["spend"]) == (cost if priced else 0)
        assert row["model_group"] == name


def test_the_list_tells_what_is_known_and_the_key_may_use(gateway: Gateway) -> None:
    key = gateway.mint(models=["openai/gpt-4*"]).secret
    found = gateway.http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).json()["data"]
    names = [row["id"] for row in found]
    assert "openai/gpt-4o-mini" in names
    assert names == sorted(set(names))
    assert all(name.startswith("openai/gpt-4") for name in names), names
    mini = next(row for row in found if row["id"] == "openai/gpt-4o-mini")
    assert (mini["owned_by"], mini["mode"]) == ("openai", "chat")
    assert {"tools", "vision"} & set(mini["capabilities"])
    assert mini["context_window"] == 128_000
    typo = ask(gateway, key, "openai/gpt-4o-minni")
    assert typo.status_code == 200, "a name that nobody knows is the provider's to judge"
    (row,) = [row for row in gateway.call("/model/info")["data"] if row["model_name"] == "claude-*"]
    assert row["litellm_params"]["model"] == "mock/one?text=always the same"


def test_guardrails_and_fallbacks_reach_behind_it(gateway: Gateway) -> None:
    key = gateway.mint().secret
    blocked = gateway.http.post(
        "/v1/chat/completions",
        json=chat("openai/gpt-4.1-mini", "this is forbidden"),
        headers={"authorization": f"Bearer {key}"},
    )
    assert blocked.json()["error"]["code"] == "content_policy_violation"
    answer = ask(gateway, key, "m")
    assert (answer.status_code, answer.headers["x-ailink-model"]) == (200, "openai/gpt-4o-mini")


def test_callers_cannot_fill_the_memory_with_names(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {gateway.mint().secret}"}
    statuses = [
        gateway.http.post("/v1/chat/completions", json=chat(f"openai/invented-{number}"), headers=headers)
        for number in range(1100)
    ]
    refused = [answer for answer in statuses if answer.status_code != 200]
    assert refused
    assert all("too many unknown names" in answer.text for answer in refused)
    assert ask(gateway, gateway.mint().secret, "openai/gpt-5-mini").status_code == 200, "known ones have room"


class Server:
    """A server of models that says what it serves; `names` may change."""

    def __init__(self) -> None:
        self.names: list[str] | None = ["qwen3", "nomic-embed-text"]
        self.asked: list[str] = []
        self.headers: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.headers.append(self.headers.get("authorization"))
                rows = [{"id": name, "object": "model", "max_model_len": 4096} for name in outer.names or ()]
                self.say(500 if outer.names is None else 200, {"object": "list", "data": rows})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append(body["model"])
                message = {"role": "assistant", "content": "hi"}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                self.say(200, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

            def say(self, status: int, body: Any) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    both = Server(), Server()
    yield both
    for server in both:
        server.close()


def test_servers_are_asked_what_they_serve(servers: tuple[Server, Server], tmp_path: Path) -> None:
    first, second = servers
    second.names = ["qwen3", "llama"]

    def at(server: Server, **more: Any) -> dict[str, Any]:
        place = {"provider": "vllm", "base_url": server.url, "discover": True, "discover_every": "100ms"}
        return {**place, **more}

    config = make_config(make_model("local/*", at(first, api_key="sk-server-0123"), at(second)))
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint().secret
        headers = {"authorization": f"Bearer {key}"}

        def listed() -> dict[str, Any]:
            rows = gateway.http.get("/v1/models", headers=headers).json()["data"]
            return {row["id"]: row for row in rows}

        assert set(listed()) == {"local/qwen3", "local/llama", "local/nomic-embed-text"}
        assert listed()["local/qwen3"]["context_window"] == 4096
        assert listed()["local/nomic-embed-text"]["mode"] == "embedding"
        assert "Bearer sk-server-0123" in first.headers
        assert set(second.headers) == {None}
        for _ in range(4):
            assert ask(gateway, key, "local/llama").status_code == 200
        assert (first.asked, set(second.asked)) == ([], {"llama"}), "only who has it is asked"
        assert ask(gateway, key, "local/mistral").status_code == 404
        first.names = ["qwen3", "mistral"]
        until(lambda: set(listed()) == {"local/qwen3", "local/mistral", "local/llama"}, "the new list")
        assert ask(gateway, key, "local/mistral").status_code == 200
        first.names = None
        until(lambda: "what" in gateway.log and "serves is not known" in gateway.log, "a warning")
        assert ask(gateway, key, "local/mistral").status_code == 200, "what it answered last holds"


def test_what_has_ended_is_replaced(provider: MockProvider, tmp_path: Path) -> None:
    facts = {"old": {"ends": "2020-01-01"}, "late": {"ends": "2999-01-01"}}
    head = dict.fromkeys(
        ("version", "date", "source", "source_file", "source_sha256", "licence", "unit"), "t"
    )
    (tmp_path / "prices.json").write_text(json.dumps({**head, "models": {"openai": facts}}))
    openai = {"provider": "openai", "base_url": f"{provider.url}/v1", "api_key": "none"}
    config = make_config(
        make_model("old", {**openai, "model": "old"}, replacement="new"),
        make_model("late", {**openai, "model": "late"}, replacement="new"),
        make_model("new", {**openai, "model": "new"}),
        prices=[str(tmp_path / "prices.json")],
    )
    with Gateway(tmp_path / "gateway", config) as gateway:
        key = gateway.mint().secret
        assert ask(gateway, key, "old").headers["x-ailink-model"] == "new"
        assert ask(gateway, key, "late").headers["x-ailink-model"] == "late"
        assert ask(gateway, gateway.mint(models=["old"]).secret, "old").headers["x-ailink-model"] == "old"
        told = gateway.call("/global/models/ending")["data"]
        assert [(one["model"], one["replacement"]) for one in told] == [("old", "new")]
