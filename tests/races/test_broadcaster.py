"""A publisher, and listeners that come, resume and are cancelled, in every order: no hole unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.broadcaster import Broadcaster, SlowListener


class Feed:
    """Three fills, and who got which."""

    def __init__(self, broadcaster: type[Broadcaster[int]]) -> None:
        self.fills = broadcaster(max_queued=1, when_full="disconnect", history=3)
        self.got: list[int] = []


async def publish(feed: Feed) -> None:
    for fill in (1, 2, 3):
        feed.fills.publish(fill)
        await asyncio.sleep(0)
    feed.fills.close()


async def listen(feed: Feed) -> list[int]:
    """Listen, send each fill on, and come back where it was cut off."""
    got: list[int] = []
    last: str | None = None
    for _ in range(4):
        try:
            with feed.fills.subscribe(after=last) as subscription:
                async for message in subscription:
                    got.append(message.data)
                    last = message.id
                    await asyncio.sleep(0)  # the send
                return got
        except SlowListener:
            pass
    return got


async def reconnect(feed: Feed) -> list[int]:
    """Come back after each fill."""
    got: list[int] = []
    last: str | None = None
    with contextlib.suppress(StopAsyncIteration):
        while True:
            with contextlib.suppress(SlowListener), feed.fills.subscribe(after=last) as subscription:
                message = await anext(aiter(subscription))
                got.append(message.data)
                last = message.id
    return got


async def wait_once(feed: Feed) -> None:
    """Wait for a message, be cancelled at any step, and note what was taken."""
    with feed.fills.subscribe() as subscription, contextlib.suppress(StopAsyncIteration):
        waiting = asyncio.current_task()
        assert waiting is not None
        try:
            feed.got.append((await anext(subscription)).data)
        except asyncio.CancelledError:
            feed.got.extend(message.data for message in subscription._queue)
            raise


def no_hole(feed: Feed, responses: dict[str, Any]) -> None:
    assert len(feed.fills) == 0, "a subscription was left"
    for name, got in responses.items():
        if name.startswith("L"):
            assert not isinstance(got, Exception), got
            assert got == list(range(4 - len(got), 4)), "a hole, or a fill twice"
    if "C" in responses and isinstance(responses["C"], asyncio.CancelledError):
        assert feed.got in ([], [1], [2], [3], [1, 2], [2, 3]), "a cancelled wait has taken a message"


@pytest.mark.parametrize(
    ("requests", "cancel"),
    [
        ({"P": publish, "L": listen}, []),
        ({"P": publish, "L": reconnect}, []),
        ({"P": publish, "C": wait_once}, ["C"]),
    ],
)
async def test_whatever_the_order(requests: dict[str, Any], cancel: list[str]) -> None:
    report = await explore(
        lambda: Feed(Broadcaster), requests, invariant=no_hole, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "exhausted", report.text()


class LooksThenJoins(Broadcaster[int]):
    """What is published between the look at the history and the first wait falls between the two."""

    @contextlib.contextmanager
    def subscribe(self, after: str | None = None) -> Any:
        with super().subscribe(after) as subscription:
            self._subscriptions.discard(subscription)

            async def messages() -> Any:
                await asyncio.sleep(0)
                self._subscriptions.add(subscription)
                try:
                    while True:
                        subscription._end = self._end
                        yield await anext(subscription)
                except StopAsyncIteration:
                    return
                finally:
                    self._subscriptions.discard(subscription)

            yield messages()


class DropsUnheard(Broadcaster[int]):
    """It drops what does not fit, and lets the listener go on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.when_full = "drop_oldest"


@pytest.mark.parametrize(("twin", "listener"), [(LooksThenJoins, reconnect), (DropsUnheard, listen)])
async def test_a_wrong_twin_is_found(twin: Any, listener: Any) -> None:
    report = await explore(
        lambda: Feed(twin), {"P": publish, "L": listener}, invariant=no_hole, max_seconds=60
    )
    assert report.verdict == "counterexample", report.text()
