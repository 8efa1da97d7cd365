"""The server of the lab: which tabs come back, and what is known of one that has ended."""

import contextlib
import json
import socket
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from deskbook.lab.jupyterlab_process import ServerThatKeepsItsPort
from deskbook.lab.server import jupyterlab


def save_a_layout(address):
    """Do what the page does when a tab is opened."""
    parts = urlsplit(address)
    layout = {"data": {}, "metadata": {"id": "default"}}
    request = urllib.request.Request(
        f"{parts.scheme}://{parts.netloc}/lab/api/workspaces/default",
        data=json.dumps(layout).encode(),
        headers={"Authorization": f"token {parse_qs(parts.query)['token'][0]}"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=20).close()


def test_open_tabs_are_kept_with_the_folder_and_not_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "home" / ".jupyter"))
    work = tmp_path / "my-work"
    work.mkdir()
    with jupyterlab(work) as server:
        save_a_layout(server.wait_for_address())
    saved = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.jupyterlab-workspace")]
    assert [path.parent for path in saved] == [Path("my-work/.jupyter/workspaces")]


def test_a_server_that_was_killed_says_how_it_ended_and_what_it_wrote(tmp_path):
    with jupyterlab(tmp_path) as server:
        server.wait_for_address()
        assert server.state() == f"JupyterLab runs as process {server.process.pid}."
        server.process.kill()
        server.process.wait()
        assert server.state() == f"JupyterLab (process {server.process.pid}) has ended: SIGKILL."
        assert "Serving notebooks from local directory" in server.log()


def test_a_port_that_was_found_is_kept():
    """Jupyter looks for a free port, lets it go, and takes it seconds later: two labs found the same one.

    The second then ended, and its address led to the first: to a page that asks for a token.
    """
    first, second = (ServerThatKeepsItsPort(ip="127.0.0.1", port_retries=50) for _ in range(2))
    with contextlib.ExitStack() as stack:
        for server in (first, second):
            server._find_http_port()
            stack.enter_context(server._kept)
        assert first.port != second.port
        for server in (first, second):
            socket.create_connection(("127.0.0.1", server.port), timeout=20).close()


def test_labs_that_start_at_once_answer_to_their_own_token(tmp_path):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(jupyterlab(tmp_path)) for _ in range(3)]
        for server in servers:
            address = urlsplit(server.wait_for_address())
            request = urllib.request.Request(
                f"{address.scheme}://{address.netloc}/api/status",
                headers={"Authorization": f"token {server.token}"},
            )
            assert urllib.request.urlopen(request, timeout=20).status == 200
