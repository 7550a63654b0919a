"""LiteLLM's `config.yaml`: what runs, and that nothing is left out in silence."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink.config import litellm, litellm_models, yaml12
from ailink.config.problems import Place

ENV = {
    "OPENAI_API_KEY": "sk-openai",
    "AZURE_KEY": "az",
    "ANTHROPIC_API_KEY": "sk-ant",
    "MASTER": "sk-Zp3bq7Xw9Ld2Vn6Rk1",
    "BASE": "http://10.0.0.7:8000/v1/",
}

TYPICAL = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      weight: 2
      rpm: 100
      timeout: 30
      stream_timeout: 2.5
  - model_name: gpt-4o
    litellm_params:
      model: gpt-4o-2024-08-06
      organization: org-1
    model_info: {id: second, mode: chat, max_tokens: 128000}
  - model_name: claude
    litellm_params:
      model: anthropic/claude-sonnet-5
      api_base: https://api.anthropic.com/v1/messages
      num_retries: 1
  - model_name: local
    litellm_params:
      model: hosted_vllm/qwen
      api_base: os.environ/BASE
      input_cost_per_token: 0.00000015
      output_cost_per_token: 6e-07
      max_parallel_requests: 8
      extra_headers: {X-Team: a}
  - model_name: ollama
    litellm_params: {model: ollama_chat/llama3, api_base: "http://gpu:11434"}
  - model_name: azure
    litellm_params: {model: azure/my-deployment, api_key: os.environ/AZURE_KEY, api_version: "2024-10-21"}
  - model_name: "bedrock/*"
    litellm_params: {model: "bedrock/*"}
litellm_settings:
  drop_params: true
  num_retries: 3
  request_timeout: 600
  fallbacks: [{"gpt-4o": ["claude"]}, {"claude": ["gpt-4o"]}, {"local": ["azure", "gpt"]}]
  callbacks: [prometheus]
router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {gpt: gpt-4o, hidden: {model: claude, hidden: true}, lost: nowhere}
  redis_host: redis
general_settings:
  master_key: os.environ/MASTER
  database_url: postgresql://x
environment_variables: {EXTRA: "1"}
guardrails: []
"""


@pytest.fixture
def loaded(load):
    return load(TYPICAL, ENV, "config.yaml")


def model(loaded, name):
    return next(model for model in loaded.config.models if model.name == name)


def test_a_typical_file_runs(loaded):
    config = loaded.config
    assert loaded.source == "litellm"
    assert [m.name for m in config.models] == ["gpt-4o", "claude", "local", "ollama"]
    assert config.master_key.reveal() == ENV["MASTER"]
    assert config.compat.restamp_model
    first, second = model(loaded, "gpt-4o").deployments
    assert (first.provider, first.model, first.weight, first.api_key.reveal()) == (
        "openai",
        "gpt-4o",
        2,
        "sk-openai",
    )
    assert (first.timeouts.total, first.timeouts.first_byte) == (30_000, 2_500)
    assert (second.provider, second.model, second.id, second.weight) == (
        "openai",
        "gpt-4o-2024-08-06",
        "second",
        1,
    )
    assert second.headers == {"openai-organization": "org-1"}
    assert model(loaded, "gpt-4o").aliases == ("gpt",)
    assert model(loaded, "gpt-4o").fallbacks == ("claude",)
    assert model(loaded, "gpt-4o").retries == 3
    assert model(loaded, "gpt-4o").timeouts.total == 600_000
    claude = model(loaded, "claude")
    assert (claude.deployments[0].provider, claude.deployments[0].base_url) == (
        "anthropic",
        "https://api.anthropic.com",
    )
    # A circle, which the original allows.
    assert (claude.retries, claude.fallbacks, claude.aliases) == (1, ("gpt-4o",), ("hidden",))
    local = model(loaded, "local").deployments[0]
    assert (local.provider, local.model, local.base_url) == ("vllm", "qwen", "http://10.0.0.7:8000/v1")
    assert (local.price.input_per_million, local.price.output_per_million) == (
        150_000_000_000,
        600_000_000_000,
    )
    assert (local.max_connections, local.headers) == (8, {"X-Team": "a"})
    assert model(loaded, "local").fallbacks == ("gpt",)
    assert model(loaded, "ollama").deployments[0].base_url == "http://gpu:11434/v1"


def test_every_key_without_effect_is_listed_with_its_place(loaded):
    notes = {note.path: (note.place.line, note.message) for note in loaded.notes}
    assert {path: line for path, (line, _) in notes.items()} == {
        "model_list[1].model_info.max_tokens": 14,
        "model_list[5].litellm_params": 31,
        "model_list[6].litellm_params": 33,
        "litellm_settings.drop_params": 35,
        "litellm_settings.callbacks": 39,
        "router_settings.model_group_alias.hidden.hidden": 42,
        "router_settings.model_group_alias": 42,
        "router_settings.redis_host": 43,
        "router_settings.fallbacks": 38,
        "general_settings.database_url": 46,
    }
    assert "`account` is needed for provider `azure`" in notes["model_list[5].litellm_params"][1]
    assert "`azure` is not in the list" in str([note.message for note in loaded.notes])


def notes_of(load, text, env=None):
    return [
        f"{note.place.line} {note.path}: {note.message}"
        for note in load(text, env or ENV, "config.yaml").notes
    ]


ONE = "model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k%s}}]\n"


def test_a_minimal_file_has_no_notes(load):
    assert notes_of(load, ONE % "") == []


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (ONE % ", tag_regex: [a]", "`tag_regex` is not understood in this version and has no effect"),
        (ONE % ", weight: 0", "a weight must be more than 0; 1 is taken"),
        (ONE % ", timeout: soon", "`timeout` is not understood"),
        (ONE % ", api_base: os.environ/NONE", "environment variable NONE is not set"),
        (ONE % ", litellm_credential_name: c", "not in `credential_list`"),
        (ONE % ", input_cost_per_token: free", "`input_cost_per_token` is not understood"),
        (ONE % "" + "litellm_settings: {num_retries: 99}", "more than 10 retries"),
        (ONE % "" + "litellm_settings: {cache: true}", "there is no address of Redis"),
        (
            ONE % "" + "router_settings: {context_window_fallbacks: [{m: [z]}]}",
            "the model `z` is not in the list: fallback left out",
        ),
        (
            ONE % "" + "router_settings: {routing_strategy: lar1}",
            "`routing_strategy` is not understood",
        ),
        (ONE % "" + "router_settings: {fallbacks: [{x: [m]}]}", "the model `x` is not in the list"),
        (
            ONE % "" + "router_settings: {fallbacks: [{m: [y]}]}",
            "the model `y` is not in the list: fallback left out",
        ),
        (
            ONE % "" + "general_settings: {master_key: os.environ/NONE}",
            "environment variable NONE is not set",
        ),
        (ONE % "" + "general_settings: [a]", "`general_settings` is not understood"),
        (ONE % "" + "environment_variables: {A: [b]}", "`A` is not understood"),
        (
            "model_list: [{model_name: m, litellm_params: {model: nowhere/x}}]",
            "provider `nowhere` is not supported",
        ),
        (
            "model_list: [{model_name: m, litellm_params: {model: mystery}}]",
            "the provider of `mystery` is not supported",
        ),
        ("model_list: [{model_name: m, litellm_params: {model: 'openai/*'}}]", "a `*` for no name"),
        ("model_list: [{model_name: 'a*b*', litellm_params: {model: 'openai/*'}}]", "more than one `*`"),
        ("model_list: [{model_name: '*', litellm_params: {model: '*'}}]", "the provider of `*`"),
        ("model_list: [{model_name: m, litellm_params: {}}]", "`model` is needed"),
        ("model_list: [{model_name: m}]", "`model_name` and `litellm_params` are needed"),
        ("model_list: [5]", "`model_name` and `litellm_params` are needed"),
    ],
)
def test_notes(load, text, note):
    (found,) = notes_of(load, text)
    assert note in found


def test_a_missing_upstream_key_is_a_note(load):
    text = "model_list: [{model_name: m, litellm_params: {model: openai/x}}]"
    (found,) = notes_of(load, text, {"X": "y"})
    assert "no API key" in found


def test_a_weak_master_key_is_refused(problems):
    (found,) = problems(ONE % "" + "general_settings:\n  master_key: sk-1234\n", {}, "config.yaml")
    assert found == "3:15 master_key: this master key is a well-known example; anybody would try it"


def test_fractions_of_weights_keep_their_proportion(load):
    text = "model_list:\n" + "".join(
        f"  - {{model_name: m, litellm_params: {{model: openai/{n}, api_key: k, weight: {w}}}}}\n"
        for n, w in (("a", 0.9), ("b", 0.1))
    )
    assert [d.weight for d in load(text, {}, "config.yaml").config.models[0].deployments] == [9000, 1000]


def test_credentials_and_own_environment(load):
    text = """\
environment_variables: {MY_KEY: secret-key}
credential_list:
  - credential_name: shared
    credential_values: {api_key: os.environ/MY_KEY, api_base: "https://x.example/v1"}
model_list:
  - model_name: m
    litellm_params: {model: openai/x, litellm_credential_name: shared}
"""
    loaded = load(text, {}, "config.yaml")
    (deployment,) = loaded.config.models[0].deployments
    assert (deployment.api_key.reveal(), deployment.base_url) == ("secret-key", "https://x.example/v1")
    assert loaded.notes == ()


def test_dollars_are_not_expanded(load):
    text = ONE % ", extra_headers: {x: 'a${HOME}b'}"
    assert load(text, {"HOME": "/h"}, "config.yaml").config.models[0].deployments[0].headers == {
        "x": "a${HOME}b"
    }


def test_default_fallbacks_and_local_cache(load):
    text = """\
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: k}}
  - {model_name: b, litellm_params: {model: openai/b, api_key: k}}
litellm_settings: {default_fallbacks: [b], cache: true, cache_params: {type: local, ttl: 60}}
"""
    loaded = load(text, {}, "config.yaml")
    assert [m.fallbacks for m in loaded.config.models] == [("b",), ()]
    assert (loaded.config.cache.enabled, loaded.config.cache.ttl) == (True, 60_000)


@given(st.decimals(0, 1, places=18))
def test_prices_per_token_are_exact(price):
    place = Place(file="f")
    prices: dict[str, yaml12.Node] = {}
    models = litellm_models.Models(None, {}, litellm_models.Notes())  # type: ignore[arg-type]
    node = yaml12.Scalar(place=place, text=f"{price:f}", plain=True)
    models._price("input_cost_per_token", node, (), prices)
    assert Fraction(Decimal(prices["input_per_million"].text)) == Fraction(Decimal(price)) * 10**6


@pytest.mark.parametrize(
    ("text", "theirs"),
    [
        ("models: []", False),
        ("server: {}", False),
        ("model_list: []", True),
        ("litellm_settings: {}", True),
        ("models: []\nmodel_list: []", False),
    ],
)
def test_recognition(text, theirs):
    assert litellm.recognises(yaml12.compose(text.encode(), "f")) is theirs


def test_budgets_of_providers_mirrors_and_connections(load):
    text = """\
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: k, silent_model: b}}
  - model_name: b
    litellm_params: {model: openai/b, api_key: k, max_parallel_requests: 3, silent_model: nobody}
router_settings:
  default_max_parallel_requests: 7
  provider_budget_config:
    openai: {budget_limit: 12.5, time_period: 1d}
    azure: {max_budget: 3, budget_duration: 30d, soft: 1}
    broken: {}
  optional_pre_call_checks: [responses_api_deployment_check, prompt_caching]
"""
    loaded = load(text, {}, "config.yaml")
    a, b = loaded.config.models
    assert [deployment.max_connections for model in (a, b) for deployment in model.deployments] == [7, 3]
    assert a.routing.mirror is not None
    assert (a.routing.mirror.model, b.routing.mirror) == ("b", None)
    rules = [(rule.on, int(rule.usd), rule.per) for rule in loaded.config.budgets.rules]
    assert rules == [("provider:openai", 125 * 10**11, "1d"), ("provider:azure", 3 * 10**12, "30d")]
    told = "\n".join(str(note) for note in loaded.notes)
    for name in ("nobody", "soft", "broken", "prompt_caching"):
        assert name in told, told
    assert "responses_api" not in told


def test_retries_of_two_kinds_and_of_all_others(load):
    text = """\
model_list: [{model_name: a, litellm_params: {model: openai/a, api_key: k}}]
router_settings:
  retry_policy:
    {InternalServerErrorRetries: 1, ServiceUnavailableErrorRetries: 3, TimeoutErrorRetries: 0,
     DefaultRetries: 2}
"""
    loaded = load(text, {}, "config.yaml")
    retry = loaded.config.routing.retry
    assert (retry.server_error, retry.connection, retry.timeout) == (3, 3, 0)
    assert (retry.bad_request, retry.rate_limit, retry.not_found, retry.authentication) == (2, 2, 2, 2)
    assert loaded.notes == ()
