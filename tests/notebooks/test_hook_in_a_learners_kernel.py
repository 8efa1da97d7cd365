"""The hook as a learner meets it: an ordinary kernel and cells sent as JupyterLab sends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from deskbook.authoring import hook
from deskbook.authoring.kernel import kernel_manager
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

ANSWER_TIMEOUT_S = 30


class Learner:
    """Sends cells to a kernel and collects what comes back."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def send(self, source: str) -> str:
        """Queue a cell, as `Run All` does, and return its message id.

        A failure does not abort the cells behind it: how many are already queued would be a matter of time.
        """
        return str(self.client.execute(source, stop_on_error=False))

    def outcome(self, message_id: str) -> tuple[str, str]:
        """Return the status of a cell and the name of its error, in the order in which the kernel answers."""
        while True:
            reply = self.client.get_shell_msg(timeout=ANSWER_TIMEOUT_S)
            if reply["parent_header"]["msg_id"] == message_id:
                return reply["content"]["status"], reply["content"].get("ename", "")

    def wait_for_output(self, message_id: str) -> None:
        """Wait until a cell prints."""
        while True:
            message = self.client.get_iopub_msg(timeout=ANSWER_TIMEOUT_S)
            if message["msg_type"] == "stream" and message["parent_header"]["msg_id"] == message_id:
                return

    def run(self, source: str) -> tuple[str, str]:
        return self.outcome(self.send(source))


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """Start a kernel as VS Code or JupyterLab would: without a profile of ours."""
    manager = KernelManager(kernel_spec_manager=_this_interpreter())
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def learner(kernel: KernelManager) -> Iterator[Learner]:
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=ANSWER_TIMEOUT_S)
    learner = Learner(client)
    assert learner.run("%load_ext deskbook\nimport asyncio") == ("ok", "")
    yield learner
    client.stop_channels()


def _this_interpreter() -> KernelSpecManager:
    manager: KernelSpecManager = kernel_manager().kernel_spec_manager
    return manager


def test_a_pending_task_fails_the_cell_and_the_next_cell_is_not_blamed(learner: Learner) -> None:
    assert learner.run("task = asyncio.create_task(asyncio.sleep(3600))") == ("error", "PendingTaskError")
    assert learner.run("1 + 1") == ("ok", "")
    assert learner.run("task.cancel()\nawait asyncio.wait([task])") == ("ok", "")


def test_cells_that_wait_in_the_queue_are_no_tasks_of_the_running_cell(learner: Learner) -> None:
    sent = [learner.send("await asyncio.sleep(0.05)") for _ in range(5)]
    assert [learner.outcome(message_id) for message_id in sent] == [("ok", "")] * 5


def test_an_exception_group_fails_the_cell_and_the_kernel_goes_on(learner: Learner) -> None:
    group = "async with asyncio.TaskGroup() as group:\n    group.create_task(asyncio.wait_for(0, 1))"
    assert learner.run(group) == ("error", "ExceptionGroup")
    assert learner.run("1 + 1") == ("ok", "")


def test_the_stop_button_ends_a_cell_that_awaits(learner: Learner, kernel: KernelManager) -> None:
    sent = learner.send("print('started', flush=True)\nawait asyncio.sleep(3600)")
    learner.wait_for_output(sent)
    kernel.interrupt_kernel()
    assert learner.outcome(sent) == ("error", "KeyboardInterrupt")
    assert learner.run("1 + 1") == ("ok", "")


def test_a_cancelled_error_of_the_lesson_keeps_its_name(learner: Learner) -> None:
    cell = "task = asyncio.create_task(asyncio.sleep(60))\ntask.cancel()\nawait task"
    assert learner.run(cell) == ("error", "CancelledError")


def test_a_cell_may_wrap_the_task_factory_and_the_exception_handler(learner: Learner) -> None:
    wrapped = """
loop = asyncio.get_running_loop()
inner_factory, inner_handler = loop.get_task_factory(), loop.get_exception_handler()
made, seen = [], []

def factory(loop, coro, **kwargs):
    made.append(coro.__qualname__)
    return inner_factory(loop, coro, **kwargs)

def handler(loop, context):
    seen.append(context["message"])
    inner_handler(loop, context)

loop.set_task_factory(factory)
loop.set_exception_handler(handler)
"""
    assert learner.run(wrapped) == ("ok", "")
    assert learner.run("await asyncio.create_task(asyncio.sleep(0))\nassert 'sleep' in made") == ("ok", "")
    assert learner.run("loop.call_exception_handler({'message': 'late'})\nassert seen == ['late']") == (
        "ok",
        "",
    )
    assert learner.run("task = asyncio.create_task(asyncio.sleep(60))") == ("error", "PendingTaskError")
    assert learner.run("task.cancel()\nawait asyncio.wait([task])") == ("ok", "")


def test_a_failure_in_a_stopped_cell_does_not_blame_the_next(learner: Learner, kernel: KernelManager) -> None:
    fail = "async def fail():\n    raise ValueError('no price')\n\ntask = asyncio.create_task(fail())\n"
    sent = learner.send(
        f"{fail}await asyncio.sleep(0)\nprint('started', flush=True)\nawait asyncio.sleep(3600)"
    )
    learner.wait_for_output(sent)
    kernel.interrupt_kernel()
    assert learner.outcome(sent) == ("error", "KeyboardInterrupt")
    assert learner.run("1 + 1") == ("ok", "")


def test_loading_twice_reports_once(learner: Learner) -> None:
    assert learner.run("%reload_ext deskbook") == ("ok", "")
    shown = "task = asyncio.create_task(asyncio.sleep(3600))"
    assert learner.run(shown) == ("error", "PendingTaskError")
    count = "len([each for each in asyncio.all_tasks() if each is task])"
    assert learner.run(f"assert {count} == 1\ntask.cancel()\nawait asyncio.wait([task])") == ("ok", "")


def test_an_owner_of_a_long_lived_task_has_a_name() -> None:
    with pytest.raises(ValueError, match="needs the name"), hook.long_lived(" "):
        pass


async def test_outside_of_a_kernel_nothing_is_watched() -> None:
    hook.record_failure(ValueError("no price"), "a test")
    with hook.long_lived("this test"):
        await asyncio.create_task(asyncio.sleep(0))
