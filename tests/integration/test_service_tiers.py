"""Capacity that is paid for anyhow goes first and spills over; which requests may use which service tier."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until

FULL = "status=429;retry_after=30"
PAID = {"x-ailink-metadata": '{"plan": "paid"}'}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, script: str = "", **settings: Any) -> dict[str, Any]:
        return make_deployment(provider, script, model=name, id=f"{name}-id", **settings)

    config = make_config(
        make_model("first", at("payg", weight=1_000), at("ptu", provisioned=True, order=5)),
        make_model("spill", at("spill-payg"),
                   at("spill-ptu", f"{FULL};fail_first=1;id=spill", provisioned=True)),
        make_model("two", at("r1", FULL, provisioned=True), at("r2", FULL, provisioned=True), at("r-payg")),
        make_model("soon", at("s-payg"), at("s-ptu", "status=429;fail_first=1;id=soon", provisioned=True),
                   routing={"breaker": {"open": "1h", "open_max": "1h"}}),
        make_model("ill", at("ill-payg"), at("ill-ptu", "status=500", provisioned=True)),
        make_model("all-full", at("a-payg", FULL), at("a-ptu", FULL, provisioned=True)),
        make_model("far", at("far-ptu", region="us-east-1", provisioned=True), at("near", region="eu-west-1"),
                   routing={"regions": ["eu-west-1", "us-east-1"]}),
        make_model(
            "tiered", at("usual"), at("flex", service_tier="flex"), at("fast", service_tier="priority"),
            routing={"service_tiers": [
                {"when": {"metadata.plan": "paid"}, "tiers": ["priority", "default"]},
                {"when": 'params.service_tier == "flex" && tokens.input < 100', "tiers": ["flex", "default"]},
            ]},
        ),
        make_model("cheap", at("c-usual"), at("c-flex", FULL, service_tier="flex"),
                   routing={"service_tiers": [{"tiers": ["flex", "default"]}]}),
        make_model("wide", *(at(f"w-full-{n}", FULL, service_tier="flex") for n in range(6)),
                   *(at(f"w-usual-{n}") for n in range(6)), at("w-never", service_tier="priority"),
                   routing={"service_tiers": [{"tiers": ["flex", "default"]}]}),
        make_model("claude", make_deployment(provider, dialect="anthropic", model="claude",
                                             service_tier="standard_only")),
        make_model("nova", make_deployment(provider, dialect="bedrock", model="nova", service_tier="flex")),
    )  # fmt: skip
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(
    gateway: Gateway, key: Key, model: str, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    headers = {**key.bearer, "x-ailink-explain": "1", **(headers or {})}
    return gateway.http.post("/v1/chat/completions", json=chat(model, **more), headers=headers)


def served(gateway: Gateway, key: Key, model: str, headers: dict[str, str] | None = None, **more: Any) -> str:
    answer = ask(gateway, key, model, headers, **more)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-ailink-deployment"].removesuffix("-id")


def tried(answer: httpx.Response) -> list[tuple[str, str]]:
    attempts = json.loads(answer.headers["x-ailink-decision"])["attempts"]
    return [(one["deployment"].removesuffix("-id"), one["result"]) for one in attempts]


def test_provisioned_capacity_goes_first(gateway: Gateway, key: Key) -> None:
    assert {served(gateway, key, "first") for _ in range(20)} == {"ptu"}
    assert served(gateway, key, "far") == "near"


def test_what_it_has_no_room_for_goes_on_without_a_retry(gateway: Gateway, key: Key) -> None:
    """The models have no retries."""
    answer = ask(gateway, key, "spill")
    assert tried(answer) == [("spill-ptu", "rate_limit"), ("spill-payg", "answered")]
    assert gateway.metric("ailink_spilled_total", model="spill") == 1
    # It rests for as long as it said.
    assert tried(ask(gateway, key, "spill")) == [("spill-payg", "answered")]
    names = [name for name, _ in tried(ask(gateway, key, "two"))]
    assert sorted(names[:2]) == ["r1", "r2"]
    assert names[2:] == ["r-payg"]


def test_it_is_tried_again_soon(gateway: Gateway, key: Key) -> None:
    """Without `Retry-After` after a second, not after the breaker's hour."""
    assert served(gateway, key, "soon") == "s-payg"
    until(lambda: served(gateway, key, "soon") == "s-ptu")


def test_other_failures_do_not_spill(gateway: Gateway, key: Key) -> None:
    answer = ask(gateway, key, "ill")
    assert (answer.status_code, tried(answer)) == (500, [("ill-ptu", "server_error")])


def test_where_nobody_has_room(gateway: Gateway, key: Key) -> None:
    for _ in range(2):
        answer = ask(gateway, key, "all-full")
        assert answer.status_code == 429, answer.text
        assert 0 < int(answer.headers["retry-after"]) <= 30


def test_many_that_have_no_room(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    """Of so many only the first is looked for, unless somebody wants the decision explained."""
    for full in (6, 0):
        mark = provider.mark()
        answer = gateway.http.post("/v1/chat/completions", json=chat("wide"), headers=key.bearer)
        assert answer.headers["x-ailink-deployment"].startswith("w-usual-"), answer.text
        seen = [one.json()["model"] for one in provider.requests(mark)]
        names = [name.partition("?")[0] for name in seen if name.startswith("w-")]
        assert sorted(names[:-1]) == [f"w-full-{n}" for n in range(full)]
        assert names[-1].startswith("w-usual-")


def test_tiers_by_rule(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    def asked(headers: dict[str, str] | None = None, **more: Any) -> tuple[str, str | None]:
        mark = provider.mark()
        name = served(gateway, key, "tiered", headers, **more)
        [seen] = provider.requests(mark, lambda seen: seen.json()["model"] == name)
        return name, seen.json().get("service_tier")

    assert {asked() for _ in range(10)} == {("usual", None)}
    assert asked(PAID) == ("fast", "priority")
    # What the caller says counts where a rule says so.
    assert asked(service_tier="flex") == ("flex", "flex")
    assert asked(PAID, service_tier="flex") == ("fast", "priority")
    assert asked(service_tier="priority") == ("usual", "priority")
    [choice] = json.loads(ask(gateway, key, "tiered").headers["x-ailink-decision"])["choices"]
    assert {one["reason"] for one in choice["dropped"]} == {"service_tier:flex", "service_tier:priority"}


def test_a_full_tier_spills(gateway: Gateway, key: Key) -> None:
    assert tried(ask(gateway, key, "cheap")) == [("c-flex", "rate_limit"), ("c-usual", "answered")]
    assert served(gateway, key, "cheap") == "c-usual"


def test_each_format_has_its_word_for_it(gateway: Gateway, key: Key, provider: MockProvider) -> None:
    for model, member in (
        ("claude", {"service_tier": "standard_only"}),
        ("nova", {"serviceTier": {"type": "flex"}}),
    ):
        mark = provider.mark()
        assert ask(gateway, key, model).status_code == 200
        [seen] = [seen for seen in provider.requests(mark) if seen.body and model in (seen.path + seen.body)]
        assert member.items() <= seen.json().items()
