"""Blue and green: one group of a model's deployments serves at a time; one call switches, and back."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model, until


def config(provider: MockProvider, **more: str) -> dict[str, Any]:
    blue, green = (
        [make_deployment(provider, id=f"{name}-{n}", model="m", group=name) for n in (1, 2)]
        for name in ("blue", "green")
    )
    always = make_deployment(provider, id="always", model="m", order=1)
    return make_config(
        make_model("m", *blue, *green, always, aliases=["alias"], **more),
        make_model("plain", make_deployment(provider)),
        server={"threads": 2},
    )


@pytest.fixture
def gateway(provider: MockProvider, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, config(provider)) as running:
        yield running


def served(gateway: Gateway, key: dict[str, str], count: int = 12) -> set[str]:
    def one() -> str:
        answer = gateway.http.post("/v1/chat/completions", json=chat("m"), headers=key)
        return answer.raise_for_status().headers["x-ailink-deployment"].split("-")[0]

    return {one() for _ in range(count)}


def test_switch_and_back(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint(models=["m"]).bearer
    assert served(gateway, key) == {"blue"}
    listed = gateway.call("/routing/groups")["data"]
    assert [(entry["model"], entry["active"], entry["groups"]) for entry in listed] == [
        ("m", "blue", {"blue": 2, "green": 2, "": 1})
    ]
    told = gateway.call("/routing/switch", {"model": "alias", "group": "green"})
    assert (told["active"], told["previous"]) == ("green", "blue")
    assert served(gateway, key) == {"green"}
    # It stays so over a restart and a change of the file.
    gateway.restart()
    assert served(gateway, key) == {"green"}
    gateway.reconfigure(config(provider, owned_by="somebody"))
    assert served(gateway, key) == {"green"}
    assert gateway.call("/routing/switch", {"model": "m", "back": True})["active"] == "blue"
    assert served(gateway, key) == {"blue"}
    command = [sys.executable, "-m", "ailink", "models", "switch", "m", "green", "--json"]
    options = ["--url", gateway.url, "--key", gateway.admin_key]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)[0]["active"] == "green"
    assert served(gateway, key) == {"green"}


def test_nothing_is_lost_while_it_switches(gateway: Gateway) -> None:
    key = gateway.mint().bearer
    answers: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answer = gateway.http.post("/v1/chat/completions", json=chat("m"), headers=key)
            group = answer.headers.get("x-ailink-deployment", "").split("-")[0]
            answers[(answer.status_code, group)] += 1

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            before = answers.total()
            group = ("green", "blue")[turn % 2]
            gateway.call("/routing/switch", {"model": "m", "group": group})
            until(lambda before=before: answers.total() > before + 10, "requests went on")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert {group for _, group in answers} == {"blue", "green"}


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"model": "m", "group": "red"}, 400, "has no group 'red'; it has blue, green"),
        ({"model": "m", "back": True}, 400, "was not switched before"),
        ({"model": "m"}, 400, "give `group`, or `back: true`"),
        ({"model": "m", "group": "green", "back": True}, 400, "give `group`, or `back: true`"),
        ({"model": "plain", "group": "green"}, 400, "have no `group`"),
        ({"model": "nobody", "group": "green"}, 404, "no model 'nobody'"),
    ],
)
def test_bad_switches(gateway: Gateway, body: dict[str, Any], status: int, told: str) -> None:
    answer = gateway.http.post("/routing/switch", json=body, headers=gateway.admin)
    assert answer.status_code == status
    assert told in answer.json()["error"]["message"]
    assert gateway.call("/routing/groups")["data"][0]["active"] == "blue"


def test_keys_may_not_switch(gateway: Gateway) -> None:
    body = {"model": "m", "group": "green"}
    answer = gateway.http.post("/routing/switch", json=body, headers=gateway.mint().bearer)
    assert answer.status_code in (401, 403)
    assert gateway.call("/routing/groups")["data"][0]["active"] == "blue"


def test_a_group_that_nobody_is_of(provider: MockProvider, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, config(provider, group="blu"))
    with pytest.raises(AssertionError, match="ended with 1"):
        gateway.start()
    assert "models[0].group: no deployment is of the group `blu`" in gateway.log
