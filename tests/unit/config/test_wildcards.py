"""Names with a `*`: what may be said about them."""

import pytest

from ailink.config.behind import behind, plain_names

PLAIN = "deployments: [{provider: openai}]"
HEAD = "providers: {openai: {api_key: sk-upstream-0123456789}}\nmodels:\n"


@pytest.mark.parametrize(
    ("models", "path", "message"),
    [
        ("{name: 'a*b*', deployments: [{provider: openai}]}", "models[0].name", "more than one `*`"),
        ("{name: 'a*', aliases: [x], deployments: [{provider: openai}]}", "models[0].aliases[0]", "`x`"),
        ("{name: a, deployments: [{provider: openai, model: 'x*'}]}", "deployments[0].model", "needs one"),
        ("{name: a, deployments: [{provider: openai, discover: true}]}", "discover", "needs a `*`"),
        (
            "{name: 'a*', deployments: [{provider: openai, model: x, discover: true}]}",
            "discover",
            "in `model`",
        ),
        (
            "{name: 'a*', deployments: [{provider: openai, discover: true, public_only: true}]}",
            "discover",
            "administrator",
        ),
        (
            f"{{name: 'a*', {PLAIN}}}\n  - {{name: b, fallbacks: ['a*'], {PLAIN}}}",
            "models[1].fallbacks[0]",
            "unknown model `a*`",
        ),
        (
            f"{{name: 'a/*', {PLAIN}}}\n  - {{name: b, fallbacks: [c/x], {PLAIN}}}",
            "models[1].fallbacks[0]",
            "unknown model `c/x`",
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_place(problems, models, path, message):
    found = problems(f"{HEAD}  - {models}\n")
    assert any(path in problem and message in problem for problem in found), found


def test_models_that_are_only_named_are_made_of_the_nearest_wildcard(load):
    text = f"""{HEAD}
  - {{name: 'o/*', deployments: [{{provider: openai}}]}}
  - {{name: 'o/ft-*', deployments: [{{provider: openai, model: 'ft:*', id: one}}]}}
  - {{name: b, fallbacks: [o/x, o/ft-y], deployments: [{{provider: openai}}]}}
"""
    config = load(text).config
    assert {model.name: model.deployments[0].model for model in behind(config)} == {
        "o/x": "x",
        "o/ft-y": "ft:y",
    }
    assert plain_names(config) == {"b", "o/x", "o/ft-y"}
