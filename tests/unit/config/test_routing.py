"""What is wrong with routing is said with its path."""

import pytest

from ailink.config import loader
from ailink.config.problems import ConfigError
from ailink.providers import Registry

MODELS = """
models:
  - {name: a, deployments: [{provider: mock}], %s}
  - {name: b, deployments: [{provider: mock}], context_window_fallbacks: [a]}
"""

AUTO = """
models:
  - {name: a, auto: {%s}}
  - {name: b, deployments: [{provider: mock}]}
  - {name: c, deployments: [{provider: mock}]}
"""


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("routing: {breaker: {percent: 101}}", "routing.breaker.percent", "100"),
        ("routing: {breaker: {window: 0s}}", "routing.breaker.window", "more than 0"),
        ("routing: {breaker: {open: 9s, open_max: 1s}}", "routing.breaker.open_max", "shorter"),
        ("routing: {retry: {rate_limits: 1}}", "routing.retry.rate_limits", "did you mean `rate_limit`"),
        ("routing: {default_fallbacks: [nobody]}", "routing.default_fallbacks[0]", "unknown model"),
        (MODELS % "context_window_fallbacks: [b]", "models[1].context_window_fallbacks[0]", "circle"),
        (
            (
                "models: [{name: a, deployments: [{provider: mock}], cost_fallbacks: [b]},"
                " {name: b, deployments: [{provider: mock}], cost_fallbacks: [a]}]"
            ),
            "models[1].cost_fallbacks[0]",
            "circle",
        ),
        (MODELS % "content_policy_fallbacks: [c]", "models[0].content_policy_fallbacks[0]", "unknown model"),
        (MODELS % "routing: {retry: {timeout: 11}}", "models[0].routing.retry.timeout", "10"),
        ("models: [{name: a, deployments: []}]", "models[0].deployments", "no deployment"),
        (
            MODELS % "routing: {conditions: [{when: {metdata.x: 1}, then: b}]}",
            "models[0].routing.conditions[0].when",
            "metdata.x: unknown field",
        ),
        (
            MODELS % "routing: {conditions: [{when: {model: {$equals: 1}}, then: b}]}",
            "models[0].routing.conditions[0].when",
            "unknown operator `$equals`",
        ),
        (
            MODELS % "routing: {conditions: [{when: {model: a}, then: c}]}",
            "models[0].routing.conditions[0].then",
            "unknown model `c`",
        ),
        (
            "routing: {configs: {pc-x: {strategy: {mode: loadbalanced}, targets: [{provider: mock}]}}}",
            "routing.configs.pc-x",
            "config.strategy.mode: unknown strategy `loadbalanced`, did you mean `loadbalance`",
        ),
        ("routing: {configs: {pc-x: '{'}}", "routing.configs.pc-x", "not valid JSON"),
        ("routing: {overload: {least: 9, most: 5}}", "routing.overload.most", "less than `least`"),
        ("routing: {overload: {wait: 0s}}", "routing.overload.wait", "more than 0"),
        (
            MODELS % "routing: {overload: {priorities: [{when: {modl: x}, priority: high}]}}",
            "models[0].routing.overload.priorities[0].when",
            "unknown field",
        ),
        (AUTO % "models: [b]", "models[0].auto.models", "two"),
        (AUTO % "models: [b, x]", "models[0].auto.models[1]", "unknown model `x`"),
        (AUTO % "models: [b, a]", "models[0].auto.models[1]", "stands for others itself"),
        (AUTO % "models: [b, c], thresholds: [9, 10]", "models[0].auto.thresholds", "1 are needed"),
        (
            MODELS % "routing: {service_tiers: [{when: {modle: x}, tiers: [default]}]}",
            "models[0].routing.service_tiers[0].when",
            "unknown field",
        ),
        (
            MODELS % "routing: {service_tiers: [{tiers: [flex]}]}",
            "models[0].routing.service_tiers[0].tiers",
            "no deployment has the service tier `flex`",
        ),
        (
            "models: [{name: a, deployments: [{provider: gemini, api_key: k, service_tier: flex}]}]",
            "models[0].deployments[0].service_tier",
            "has no service tiers",
        ),
        (
            "models: [{name: a, deployments: [{provider: mock, api_key: sk-forgotten}]}]",
            "models[0].deployments[0].api_key",
            "takes no keys",
        ),
        (
            "routing: {boundaries: [{when: 'tokens.input > 3', regions: [eu-west-1]}]}",
            "routing.boundaries[0].when",
            "may only ask whose a request is",
        ),
        ("routing: {boundaries: [{when: {team.id: t}}]}", "routing.boundaries[0]", "bounds nothing"),
        ("routing: {strategy: latency}", "routing.strategy", "expected one of"),
        (
            "models: [{name: a, deployments: [{provider: mock, weight: 0}]}]",
            "models[0].deployments[0].weight",
            "1",
        ),
    ],
)
def test_faults(tmp_path, text, path, message):
    file = tmp_path / "ailink.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        loader.load(file, Registry.builtin(), {})
    [problem] = [p for p in caught.value.problems if p.severity == "error"]
    assert problem.path == path
    assert message in problem.message
