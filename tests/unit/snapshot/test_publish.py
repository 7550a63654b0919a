"""Publishing: order, versions, and what a refusal leaves behind."""

import msgspec
import pytest

from ailink.snapshot.model import Snapshot
from ailink.snapshot.publish import Publisher, PublishError


class Plane:
    def __init__(self):
        self.calls, self.slots, self.refuse = [], {}, False

    def push_credentials(self, rows):
        values = msgspec.msgpack.decode(rows, type=dict[str, bytes])
        self.slots |= values
        self.calls.append("push")

    def publish(self, snapshot):
        decoded = msgspec.msgpack.decode(snapshot, type=Snapshot)
        self.calls.append(f"publish {decoded.version}")
        if self.refuse:
            raise ValueError("no")
        return decoded.version


TEXT = "models: [{name: m, deployments: [{provider: %s, api_key: %s}]}]"


async def test_secrets_go_first_and_versions_grow(compiled):
    plane = Plane()
    publisher = Publisher(plane)
    with pytest.raises(RuntimeError):
        _ = publisher.current
    assert await publisher.publish(compiled(TEXT % ("openai", "k1"))) == 1
    assert await publisher.publish(compiled(TEXT % ("openai", "k2"))) == 2
    assert plane.calls == ["push", "publish 1", "push", "publish 2"]
    assert list(plane.slots.values()) == [b"k2"]
    assert publisher.current.snapshot.version == 2


async def test_a_refusal_leaves_the_former_in_force_with_its_secrets(compiled):
    plane = Plane()
    publisher = Publisher(plane)
    await publisher.publish(compiled(TEXT % ("openai", "k1")))
    plane.refuse = True
    with pytest.raises(PublishError, match="refused the configuration: no"):
        await publisher.publish(compiled(TEXT % ("openai", "k2")))
    assert list(plane.slots.values()) == [b"k1"]
    assert publisher.current.snapshot.version == 1
    plane.refuse = False
    assert await publisher.publish(compiled(TEXT % ("openai", "k3"))) == 2


async def test_secrets_out_of_use_are_forgotten_one_version_later(compiled):
    plane = Plane()
    publisher = Publisher(plane)
    for provider in ("openai", "groq", "xai"):
        await publisher.publish(compiled(TEXT % (provider, provider)))
    # Requests that began on the snapshot before may still retry with its key.
    assert sorted(plane.slots.values()) == [b"", b"groq", b"xai"]
