"""When tokens are renewed, and what is in the slots when they are not."""

import asyncio
from collections.abc import Callable

import pytest

from ailink.config.identity import AwsIdentity, AzureIdentity, Identity
from ailink.identities import IdentityError, Refresher, Token, refresher

AWS = Identity(aws=AwsIdentity())
OTHER = Identity(aws=AwsIdentity(profile="other"))


class Cloud:
    """Gives what it is told to, in turn; the last answer again and again."""

    def __init__(self, *answers: Token | IdentityError) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, identity: Identity) -> Token:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, IdentityError):
            raise answer
        return answer


class Slots:
    def __init__(self) -> None:
        self.pushed: list[dict[str, bytes]] = []
        self.hidden: list[str] = []
        self.time = 1_000.0

    def refresher(self) -> Refresher:
        return Refresher(
            self.pushed.append,
            lambda text: text.replace("hush", "[redacted]"),
            self.hidden.append,
            lambda: self.time,
        )


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cloud]:
    def use(*answers: Token | IdentityError) -> Cloud:
        double = Cloud(*answers)
        monkeypatch.setattr(refresher, "source", lambda name: double)
        monkeypatch.setattr(refresher, "FIRST_RETRY_SECONDS", 0.01)
        monkeypatch.setattr(refresher, "SHORTEST_SECONDS", 0.01)
        return double

    return use


async def test_a_token_is_there_when_use_returns(cloud: Callable[..., Cloud]) -> None:
    cloud(Token(value=b"AKID:secret-text", expires=10_000.0))
    slots = Slots()
    keeper = slots.refresher()
    await keeper.use({"identity:a": AWS})
    assert slots.pushed == [{"identity:a": b"AKID:secret-text"}]
    assert slots.hidden == ["AKID", "secret-text"]
    assert keeper.status()["identity:a"].state == "fresh"
    await keeper.stop()


async def test_the_last_good_token_stays_until_it_ends(cloud: Callable[..., Cloud]) -> None:
    double = cloud(Token(value=b"t1", expires=1_000.02), IdentityError("no hush today"))
    slots = Slots()
    keeper = slots.refresher()
    await keeper.use({"s": AWS})
    await eventually(lambda: double.asked > 1 and keeper.status()["s"].error is not None)
    state = keeper.status()["s"]
    assert (state.state, state.error) == ("failing", "no [redacted] today")
    assert slots.pushed == [{"s": b"t1"}]
    slots.time = 1_001.0
    await eventually(lambda: keeper.status()["s"].state == "expired")
    assert slots.pushed == [{"s": b"t1"}, {"s": b""}]
    double.answers = [Token(value=b"t2", expires=9_000.0)]
    await eventually(lambda: keeper.status()["s"].state == "fresh")
    assert slots.pushed[-1] == {"s": b"t2"}
    await keeper.stop()


async def test_what_changed_is_fetched_anew_and_what_stayed_is_not(cloud: Callable[..., Cloud]) -> None:
    double = cloud(Token(value=b"t", expires=10_000.0))
    keeper = Slots().refresher()
    await keeper.use({"a": AWS, "b": AWS})
    await keeper.use({"a": AWS, "b": OTHER})
    assert double.asked == 3
    await keeper.use({"a": AWS})
    assert list(keeper.status()) == ["a"]
    await keeper.stop()


async def test_a_token_that_never_comes_does_not_hold_up_the_start(
    cloud: Callable[..., Cloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud(IdentityError("nobody is there"))
    slots = Slots()
    keeper = slots.refresher()
    await keeper.use({"a": AWS})
    assert keeper.status()["a"].state == "pending"
    assert keeper.status()["a"].error == "nobody is there"
    assert slots.pushed == []
    await keeper.stop()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ailink.identities.azure", None)
    with pytest.raises(IdentityError, match=r"pip install 'ailink\[azure\]'"):
        refresher.source(refresher.cloud_of(Identity(azure=AzureIdentity())))
