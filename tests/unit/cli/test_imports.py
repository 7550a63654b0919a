"""`ailink import prices`: what comes out, and what is refused."""

import json

import pytest
from typer.testing import CliRunner

from ailink.cli.app import build
from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.pricing import ServiceRates, files
from ailink.providers import Registry

LITELLM = {
    "sample_spec": {"litellm_provider": "one of"},
    "my-model": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token_batches": 3e-07,
        "max_input_tokens": 1000,
    },
    "groq/other": {"litellm_provider": "groq", "input_cost_per_request": 0.5},
}
PORTKEY = {
    "default": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 1}}}},
    "claude-x": {
        "pricing_config": {
            "pay_as_you_go": {
                "request_token": {"price": 0.0003},
                "response_token": {"price": 0.0015},
                "cache_write_input_token": {"price": 0.000375},
                "additional_units": {"cache_write_1h": {"price": 0.0006}, "web_search": {"price": 1}},
            },
            "batch_config": {"request_token": {"price": 0.00015}},
        }
    },
    "free": {"pricing_config": {}},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(build(), ["import", "prices", *arguments])


def test_litellm(run, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps(LITELLM))
    done = run("litellm", "map.json")
    assert done.stdout.splitlines()[0] == "2 models of 2 providers written to prices.json"
    made = files.read(tmp_path / "prices.json")
    model = made.model("openai", "my-model")
    assert (model.context_window, model.price.input) == (1000, 150_000_000_000)
    assert model.price.services == {"batch": ServiceRates(output=300_000_000_000)}
    assert made.price("groq", "other").per_request == 5 * 10**11
    assert made.version.startswith("litellm-import+")


def test_portkey(run, tmp_path):
    (tmp_path / "anthropic.json").write_text(json.dumps(PORTKEY))
    assert run("portkey", "anthropic.json", "-o", "p.json").exit_code == 0
    made = files.read(tmp_path / "p.json")
    assert made.by_provider.keys() == {"anthropic"}
    price = made.price("anthropic", "claude-x")
    assert (price.input, price.output, price.cache_write, price.cache_write_long) == (
        3 * 10**12,
        15 * 10**12,
        375 * 10**10,
        6 * 10**12,
    )
    assert (price.services["batch"].input, price.per_search) == (15 * 10**11, 10**16)
    assert made.price("anthropic", "default") is None
    (tmp_path / "whose.json").write_text(json.dumps(PORTKEY))
    assert "say --provider" in run("portkey", "whose.json").output
    assert run("portkey", "whose.json", "--provider", "together-ai").exit_code == 0
    assert files.read(tmp_path / "prices.json").by_provider.keys() == {"together_ai"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "a JSON object"),
        ('{"a": 1}', "`a` is not an entry"),
        ("{}", "no model"),
    ],
)
def test_bad_files(run, tmp_path, text, words):
    (tmp_path / "openai.json").write_text(text)
    for kind in ("litellm", "portkey"):
        done = run(kind, "openai.json")
        assert (done.exit_code, words in done.output) == (1, True), done.output
    assert "No such file" in run("litellm", "nowhere.json").output


def test_a_price_file_of_the_configuration_is_checked(tmp_path):
    file = tmp_path / "ailink.yaml"
    file.write_text("prices: [prices.json]\nmodels: [{name: m, deployments: [{provider: mock}]}]\n")
    for text, words in ((None, "cannot read"), ("{}", "is no price file")):
        if text is not None:
            (tmp_path / "prices.json").write_text(text)
        with pytest.raises(ConfigError) as caught:
            loader.load(file, Registry.builtin(), {}, loader.NO_OVERRIDES)
        assert words in str(caught.value)
