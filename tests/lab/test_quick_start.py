"""What JupyterLab would do at its start for people who build it from source is not done."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from deskbook.lab.server import jupyterlab


def test_node_is_not_asked_for_the_registry_of_yarn(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\n")
    node.chmod(0o755)
    path = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    subprocess.run(
        [sys.executable, "-c", "import deskbook.lab.jupyterlab_process"],
        env=os.environ | {"PATH": path},
        check=True,
        timeout=60,
    )
    assert not (tmp_path / "calls").exists()


def test_the_page_does_not_ask_whether_jupyterlab_should_be_built_anew(tmp_path: Path) -> None:
    with jupyterlab(tmp_path) as lab:
        address = lab.wait_for_address()
        with urllib.request.urlopen(address, timeout=20) as page:
            text = page.read().decode()
    [config] = re.findall(r'id="jupyter-config-data"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert json.loads(config)["buildCheck"] is False
