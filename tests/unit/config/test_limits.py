"""The sections `limits` and `budgets`: what is refused where, and what they become."""

from datetime import UTC, datetime

import msgspec
import pytest

from ailink.config.schema import Config
from ailink.snapshot import model as wire
from ailink.snapshot.limits import compile_subjects

MODELS = "models: [{name: m, aliases: [n], deployments: [{provider: mock}]}]\n"


@pytest.mark.parametrize(
    ("sections", "part"),
    [
        ({"limits": [{"requests": -1}]}, "limits[0].requests"),
        ({"limits": [{"on": "global"}]}, "limits nothing"),
        ({"limits": [{"on": "planet:x", "requests": 1}]}, "limits[0].on"),
        ({"limits": [{"on": "model:typo", "requests": 1}]}, "there is no model `typo`"),
        ({"limits": [{"requests": 1, "per": "0s"}]}, "limits[0].per"),
        ({"limits": [{"requests": 1, "per": "500d"}]}, "from 1ms to 400d"),
        ({"budgets": {"rules": [{"usd": -1}]}}, "budgets.rules[0].usd"),
        ({"budgets": {"rules": [{"usd": "NaN"}]}}, "budgets.rules[0].usd"),
        ({"budgets": {"rules": [{"usd": 1, "per": "fortnight"}]}}, "budgets.rules[0].per"),
        ({"budgets": {"timezone": "Mars/Olympus"}}, "no time zone `Mars/Olympus`"),
        ({"budgets": {"exceeded_status": 500}}, "budgets.exceeded_status"),
        ({"budgets": {"rules": [{"usd": 1, "on": "endpoint:chat"}]}}, "spend is not recorded by endpoint"),
        ({"limits": [{"requests": 1, "on_exhausted": {"queue": "1s", "fallback": True}}]}, "give one of"),
        (
            {"limits": [{"requests": 1, "on_exhausted": {"queue": "1h"}}]},
            "on_exhausted.queue: must be from 1ms",
        ),
        ({"limits": [{"tokens": 1, "on_exhausted": {"throttle": "1s"}}]}, "only limits on `requests`"),
        ({"limits": [{"requests": 1, "keep": {"high": 60, "normal": 50}}]}, "limits[0].keep"),
        ({"limits": [{"requests": 1, "soft": True, "keep": {"high": 60}}]}, "a soft limit refuses nothing"),
        ({"limits": [{"requests": 1, "on": "provider:x", "on_exhausted": {"queue": "1s"}}]}, "passed over"),
    ],
)
def test_a_bad_section_is_told(problems, sections, part):
    found = problems(MODELS + msgspec.json.encode(sections).decode()[1:-1].replace('":', '": ', 1))
    assert any(part in problem for problem in found), found


def test_sections_become_subjects(load):
    text = """
limits:
  - {on: "model:n", requests: 5, tokens: 100, per: 10s, models: ["*"], name: x}
  - {on: "model:m", parallel: 2, soft: true}
budgets:
  timezone: Europe/Berlin
  rules:
    - {usd: 0.5, per: month}
    - {usd: 1, per: 30d}
    - {usd: 2, per: lifetime, on: "provider:mock"}
"""
    config: Config = load(MODELS + text).config
    rows = compile_subjects(config, datetime(2026, 11, 21, tzinfo=UTC))
    by_name = {(row.kind, row.id): row.limits for row in rows}
    assert list(by_name) == [("model", "m"), ("global", ""), ("provider", "mock")]
    requests, tokens, parallel = by_name["model", "m"]
    assert (requests.metric, requests.max, requests.window) == ("requests", 5, wire.Sliding(length_ms=10_000))
    assert (tokens.metric, tokens.models, tokens.name) == ("tokens", ["*"], "x")
    assert (parallel.metric, parallel.window, parallel.soft) == ("parallel", None, True)
    month, sliding = by_name["global", ""]
    assert (month.metric, month.max) == ("spend", 500_000_000_000)
    assert isinstance(month.window, wire.Calendar)
    assert (month.window.offset_s, month.window.shifted_offset_s) == (3_600, 7_200)
    assert sliding.window == wire.Sliding(length_ms=30 * 86_400_000)
    assert by_name["provider", "mock"][0].window == wire.Lifetime(since_us=0)
    # Names of models are those in force; what is limited twice counts once.
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(rows), type=list[wire.SubjectRow]) == rows
