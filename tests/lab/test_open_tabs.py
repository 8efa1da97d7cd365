"""Which tabs come back: those of this folder, and not those of another checkout."""

import json
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

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
