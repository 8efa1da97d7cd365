"""Send a few requests and say who held the event loop when."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence

from deskbook.pictures import Row, Span
from deskbook.pictures.timeline import State
from deskbook.serving.served_app import ServedApp, ServingError
from deskbook.serving.step_recorder import NUMBER_HEADER, STEPS_PATH, Noted, Step

TIMEOUT_S = 10.0
#: A step shorter than this stops nobody that one could see in a picture.
SHORTEST_BLOCK_S = 0.005

_numbers = itertools.count(1)


async def trace(desk: ServedApp, *paths: str, gap_s: float = 0.02) -> list[Row]:
    """Send GET requests, one `gap_s` after the other, and return a row for each, for `pictures.timeline`.

    Each path is asked for once before, so that what happens only once in a process does not show.
    A request is *running* while it holds the event loop of the server, *blocked* while it is under way and
    another of these requests holds the loop for 5 ms or longer, *in a thread* while a worker thread works
    for it, and *waiting* for the rest. In the last two cases the loop is free for others.

    Args:
        desk: A server with one worker, started with `record=True`.
        paths: The paths to ask for, in this order.
        gap_s: Seconds between two requests.

    Raises:
        ServingError: The server records nothing, or an answer is not 200.
    """
    for path in dict.fromkeys(paths):
        await _get(desk, path, number=0)
    numbers = [next(_numbers) for _ in paths]
    began_s = time.monotonic()

    async def one(place: int, path: str) -> Step:
        await asyncio.sleep(began_s + place * gap_s - time.monotonic())
        sent_s = time.monotonic()
        await _get(desk, path, numbers[place])
        return sent_s, time.monotonic()

    try:
        async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(one(place, path)) for place, path in enumerate(paths)]
    except* ServingError as failed:
        raise failed.exceptions[0] from None
    recorded = json.loads(await _get(desk, STEPS_PATH, number=0))
    noted = [Noted(**recorded[str(number)]) for number in numbers]
    return [
        Row(f"GET {path}", _spans(task.result(), noted[place], noted[:place] + noted[place + 1 :]))
        for place, (path, task) in enumerate(zip(paths, asked, strict=True))
    ]


async def _get(desk: ServedApp, path: str, number: int) -> bytes:
    """Return the body of an answer, on a connection of its own."""
    host, port = desk.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        trace_header = f"{NUMBER_HEADER.decode()}: {number}\r\n" if number else ""
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{trace_header}Connection: close\r\n\r\n"
        writer.write(head.encode())
        answer_head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status = answer_head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        answer = b"".join(status).decode() or "nothing"
        hint = " Start it with record=True." if path == STEPS_PATH else ""
        raise ServingError(f"GET {path} was answered with {answer}, not 200.{hint}")
    return body


def _spans(asked: Step, own: Noted, others: Sequence[Noted]) -> list[Span]:
    """Cut the time of a request into running, blocked, in a thread and waiting."""
    sent_s, done_s = asked
    blocks = [step for other in others for step in other.loop if step[1] - step[0] >= SHORTEST_BLOCK_S]
    moments = {sent_s, done_s, *(moment for step in (*own.loop, *own.threads, *blocks) for moment in step)}
    spans: list[Span] = []
    for start_s, end_s in itertools.pairwise(sorted(m for m in moments if sent_s <= m <= done_s)):
        state = _state((start_s + end_s) / 2, own, blocks)
        if spans and spans[-1].state == state:
            spans[-1] = Span(spans[-1].start_s, end_s, state)
        else:
            spans.append(Span(start_s, end_s, state))
    return spans


def _state(moment_s: float, own: Noted, blocks: Sequence[Step]) -> State:
    if any(begin_s <= moment_s <= end_s for begin_s, end_s in own.loop):
        return "running"
    if any(begin_s <= moment_s <= end_s for begin_s, end_s in own.threads):
        return "thread"
    if any(begin_s <= moment_s <= end_s for begin_s, end_s in blocks):
        return "blocked"
    return "waiting"
