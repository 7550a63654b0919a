"""The wire: a golden snapshot, so that a change of its shape is a decision."""

import json
from pathlib import Path

import msgspec
import pytest
from tests.unit.snapshot.test_compile import PROCESS, TWO

from ailink.snapshot import model as wire
from ailink.snapshot import rules
from ailink.snapshot.options import compile_options

GOLDEN = Path(__file__).parent / "golden"


def encoded(value):
    """What crosses, decoded without knowledge of the structs; binary shown as text."""
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(value))
    return json.loads(json.dumps(plain, default=lambda raw: raw.decode("latin-1")))


def test_golden_snapshot(compiled, request):
    found = encoded(compiled(TWO).snapshot)
    for deployment in found["deployments"]:
        # Versions of the catalogue come and go.
        deployment["price_version"] = (
            "…" if "-" in deployment["price_version"] else deployment["price_version"]
        )
    file = GOLDEN / "snapshot.json"
    if request.config.getoption("--update-golden"):
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(file.read_text())


def test_golden_options(config):
    golden = json.loads((GOLDEN / "options.json").read_text())
    assert encoded(msgspec.structs.replace(compile_options(config(""), PROCESS), data_dir="/d")) == golden


def test_key_rows_read_back():
    row = wire.KeyRow(
        digest=b"d" * 32,
        id="k",
        org_id=None,
        alias=None,
        role="key",
        state="active",
        expires_us=None,
        models=["gpt-*"],
        endpoints=["chat"],
        ip_allow=None,
        limits=rules.of_rates(rpm=1),
        subjects=[("team", "t")],
        tags=[],
        may_tag=False,
        guardrails=[],
        cache=None,
        stands_for=None,
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([row]), type=list[wire.KeyRow]) == [row]


def test_unknown_fields_are_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"scheme": "bearer", "name": "a", "extra": 1}, wire.Auth)
