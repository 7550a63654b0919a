"""A model that stands for others: by rules, by a trained router, tried on a part, taken back when worse."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    router_set,
    until,
)

EASY = "Translate 'good morning' to French."
HARD = (
    "Prove that the algorithm for sorting terminates after n^3 steps. Derive its complexity, state each "
    "theorem that is used and justify the optimal strategy step by step."
)


def config_of(provider: MockProvider) -> dict[str, Any]:
    models = [
        make_model(
            name,
            make_deployment(
                provider, model=name, price={"input_per_million": price, "output_per_million": price}
            ),
        )
        for name, price in (("small", 1), ("medium", 5), ("large", 25))
    ]
    ladder = list(router_set.MODELS)
    return make_config(
        *models,
        {"name": "auto", "auto": {"models": ladder}},
        {"name": "steps", "auto": {"models": ["small", "large"], "thresholds": [99]}},
        {"name": "learned", "auto": {"models": ladder, "router": "learned", "record": 100}},
    )


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), config_of(provider)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str, **headers: str) -> httpx.Response:
    answer = gateway.http.post(
        "/v1/chat/completions",
        json=chat(model, text),
        headers={**key.bearer, "x-ailink-explain": "1", **headers},
    )
    assert answer.status_code == 200, answer.text
    return answer


def cli(gateway: Gateway, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ailink", "router", *arguments, "--config", str(gateway.file)],
        capture_output=True, text=True, timeout=180, check=False, cwd=gateway.directory,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_rules_send_easy_prompts_to_the_small_model(gateway: Gateway, key: Key) -> None:
    easy, hard = ask(gateway, key, "auto", EASY), ask(gateway, key, "auto", HARD)
    assert easy.headers["x-ailink-model"] == "small"
    assert hard.headers["x-ailink-model"] == "large"
    choice = json.loads(hard.headers["x-ailink-decision"])["choices"][0]
    assert (choice["model"], choice["strategy"], choice["then"]) == ("auto", "auto", "large")
    assert choice["why"]["router"] == "complexity"
    assert choice["why"]["complexity"] > 0.67
    assert ask(gateway, key, "steps", EASY).headers["x-ailink-model"] == "small"
    # The same in other formats.
    content = [{"type": "text", "text": HARD}]
    body = {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    answer = gateway.http.post("/v1/messages", json=body, headers=key.bearer)
    assert answer.headers["x-ailink-model"] == "large"


def test_a_key_gets_what_it_may_use(gateway: Gateway) -> None:
    narrow = gateway.mint(models=["auto", "medium"])
    assert ask(gateway, narrow, "auto", HARD).headers["x-ailink-model"] == "medium"
    none = gateway.mint(models=["auto"])
    answer = gateway.http.post("/v1/chat/completions", json=chat("auto", HARD), headers=none.bearer)
    assert answer.status_code == 403
    assert "may use none of the models" in answer.json()["error"]["message"]


def test_feedback_is_for_ones_own_requests(gateway: Gateway, key: Key) -> None:
    request_id = ask(gateway, key, "learned", EASY).headers["x-ailink-request-id"]

    def give(who: Key, **body: Any) -> httpx.Response:
        return gateway.http.post("/v1/feedback", json=body, headers=who.bearer)

    def known() -> bool:
        return give(key, request_id=request_id, value=10).status_code == 200

    until(known, "the request is in the ledger")
    assert give(key, trace_id=request_id, score=0.5).json()["feedback_ids"] == [request_id]
    assert give(gateway.mint(), request_id=request_id, value=1).status_code == 404
    assert give(key, request_id="req_" + "0" * 32, value=1).status_code == 404
    assert give(key, request_id=request_id).status_code == 400
    assert give(key, request_id=request_id, value=11).status_code == 400
    assert give(key, value=1).status_code == 400

    def sample() -> list[dict[str, Any]]:
        rows = gateway.call("/routing/samples", model="learned")["data"]
        return [row for row in rows if row["request_id"] == request_id]

    [row] = until(sample, "the sample is written")
    assert (row["quality"], row["model"], row["version"]) == (0.5, "small", "rules")
    assert row["cost"] > 0


def test_train_promote_try_and_take_back(gateway: Gateway, key: Key, tmp_path: Path) -> None:
    # Enough neighbours to be asked off the threads that carry requests.
    file = router_set.write(tmp_path / "set.jsonl", 1_400)
    for kind in ("knn", "svm"):
        told = json.loads(cli_json(gateway, "train", "learned", "--kind", kind, "--data", str(file)))
        assert told["quality"] >= 0.95, told
        assert told["cost"] <= (0.5 if kind == "knn" else 0.6), told
    cli(gateway, "promote", "learned", "v0001", "--data", str(file))

    def version(text: str = EASY, **headers: str) -> str:
        answer = ask(gateway, key, "learned", text, **headers)
        return str(json.loads(answer.headers["x-ailink-decision"])["choices"][0]["why"]["version"])

    until(lambda: version() == "v0001", "the promoted router is in force")
    assert ask(gateway, key, "learned", EASY).headers["x-ailink-model"] == "small"
    assert ask(gateway, key, "learned", HARD).headers["x-ailink-model"] == "large"
    # Tried on a part of the callers, who stay with it.
    cli(gateway, "promote", "learned", "v0002", "--data", str(file), "--percent", "40")
    until(lambda: "v0002" in {version() for _ in range(10)}, "the candidate is tried")
    of = {
        session: {version(**{"x-ailink-session-id": session}) for _ in range(3)}
        for session in map(str, range(20))
    }
    assert all(len(versions) == 1 for versions in of.values())
    assert len({next(iter(versions)) for versions in of.values()}) == 2
    # Its answers are worse, says the feedback: it is taken back.
    counts: Counter[str] = Counter()
    # Enough for training, of which a part is held back.
    while min(counts["v0001"], counts["v0002"]) < 25 or counts.total() < 80:
        answer = ask(gateway, key, "learned", EASY if counts.total() % 2 else HARD)
        chosen = json.loads(answer.headers["x-ailink-decision"])["choices"][0]["why"]["version"]
        counts[chosen] += 1
        body = {
            "request_id": answer.headers["x-ailink-request-id"],
            "score": 0.9 if chosen == "v0001" else 0.2,
        }
        until(
            lambda body=body: (
                gateway.http.post("/v1/feedback", json=body, headers=key.bearer).status_code == 200
            )
        )
    state = gateway.data / "routers" / "learned" / "state.json"
    until(lambda: "was taken back: feedback" in state.read_text(), "the candidate is taken back", 40)
    until(lambda: {version() for _ in range(12)} == {"v0001"}, "the incumbent serves all")
    # What was noted and judged trains a router too; notes are written a little later.
    until(lambda: judged(gateway) >= 70, "the samples are written")
    cli(gateway, "train", "learned", "--kind", "thompson", "--from-gateway", "learned", "--url", gateway.url,
        "--key", gateway.admin_key)  # fmt: skip
    assert "v0003" in cli(gateway, "list", "learned")
    cli(gateway, "rollback", "learned")
    until(lambda: version() == "rules", "the rules are back")


def judged(gateway: Gateway) -> int:
    rows = gateway.call("/routing/samples", model="learned", limit=1_000)["data"]
    return sum(row["quality"] is not None for row in rows)


def cli_json(gateway: Gateway, *arguments: str) -> str:
    """The JSON that a command prints, behind its progress bar."""
    out = cli(gateway, *arguments, "--json")
    return out[out.index("{") :]


def test_a_worse_router_is_not_promoted(gateway: Gateway, tmp_path: Path) -> None:
    file = router_set.write(tmp_path / "set.jsonl", 300)
    upside_down = tmp_path / "wrong.jsonl"
    rows = router_set.rows(300)
    for row in rows:
        row["quality"]["small"], row["quality"]["large"] = 1.0, 0.1
    upside_down.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cli(gateway, "train", "wrong", "--kind", "svm", "--data", str(upside_down))
    assert "of the best model's quality" in cli(gateway, "promote", "wrong", "--data", str(file), code=1)
    assert "no version" in cli(gateway, "evaluate", "none", "--data", str(file), code=1)
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "x", "quality": {"a": 2}}\n')
    assert "broken.jsonl:1" in cli(gateway, "train", "wrong", "--data", str(broken), code=1)


def test_a_damaged_router_leaves_what_was_in_force(gateway: Gateway, key: Key) -> None:
    directory = gateway.data / "routers" / "learned"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "v0099.ailr").write_bytes(b"AILROUTE" + b"\0" * 200)
    state = directory / "state.json"
    before = state.read_text() if state.exists() else "{}"
    state.write_text('{"incumbent": "v0099"}')
    errors = until(lambda: gateway.details()["errors"], "the fault is told")
    assert "checksum" in errors[0]
    assert ask(gateway, key, "learned", EASY).headers["x-ailink-model"] == "small"
    state.write_text(before)
    until(lambda: gateway.details()["errors"] == [], "the fault is gone")
