"""A kernel that starts the servers itself leaves nothing, however it ends."""

from __future__ import annotations

import signal
import tempfile

import pytest
from jupyter_client.manager import KernelManager


@pytest.fixture
def kernel(sandbox):
    """A real ipykernel, started as Jupyter does."""
    with tempfile.TemporaryDirectory(prefix="svc-kernel-", dir="/tmp") as runtime:
        manager = KernelManager(connection_file=f"{runtime}/kernel.json")
        manager.start_kernel(env={**sandbox.environment, "IPYTHONDIR": runtime}, cwd=runtime)
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=30)
        try:
            yield manager, client
        finally:
            client.stop_channels()
            if manager.is_alive():
                manager.shutdown_kernel(now=True)
            manager.cleanup_resources()


def run(client, code):
    reply = client.execute_interactive(code, timeout=30, output_hook=lambda _: None)
    assert reply["content"]["status"] == "ok", reply["content"]


def test_interrupt_spares_the_servers_and_shutdown_leaves_nothing(kernel, sandbox):
    manager, client = kernel
    run(client, "from deskbook.services import ensure, fresh_database\nensure()")
    run(client, "async with fresh_database() as url:\n    pass\nwith fresh_database() as url:\n    pass")
    servers = sandbox.processes()

    manager.interrupt_kernel()
    run(client, "ensure()")
    assert [server.is_running() for server in servers] == [True, True, True]

    manager.shutdown_kernel()
    sandbox.wait_until_gone()


def test_killed_kernel_leaves_nothing(kernel, sandbox):
    manager, client = kernel
    run(client, "from deskbook.services import ensure\nensure('redis')")
    assert sandbox.processes("valkey")
    manager.signal_kernel(signal.SIGKILL)
    sandbox.wait_until_gone()
