"""The way from a bare machine to an environment, as `make env` goes it."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from deskbook.environment import make, pythons
from deskbook.environment.failures import explain, is_worth_another_try

CHECKOUT = Path(__file__).parents[2]
TOOLS = ("make", "sh", "grep", "sed")


@pytest.fixture
def bare_machine(tmp_path):
    """A PATH with make and sh, a copy of what `make env` reads, and no Python yet."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool))
    checkout = tmp_path / "checkout"
    shutil.copytree(
        CHECKOUT / "notebooks" / "deskbook" / "environment",
        checkout / "notebooks" / "deskbook" / "environment",
    )
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "notebooks/deskbook/__init__.py"):
        shutil.copy(CHECKOUT / name, checkout / name)
    return tools, checkout


def make_env(bare_machine, **variables):
    tools, checkout = bare_machine
    return subprocess.run(
        ["make", "-C", str(checkout), "env"],
        env={"PATH": str(tools), "HOME": str(checkout.parent), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_without_python_the_message_says_what_is_needed(bare_machine):
    done = make_env(bare_machine)
    assert done.returncode != 0
    assert "Python 3.11 or later is needed, and none was found: there is no python3." in done.stderr


def test_an_old_python_is_named(bare_machine):
    script(bare_machine[0] / "python3", '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0; exit 1')
    done = make_env(bare_machine)
    assert "none was found: Python 3.9.2." in done.stderr
    assert "Traceback" not in done.stderr


def pretended_python(path, version):
    """A Python that says it is another version, and prints its name instead of making an environment."""
    says = f"import sys; sys.version_info = {(*version, 0, 'final', 0)}; exec(sys.argv[1])"
    script(path, f'[ "$1" = -c ] && exec {sys.executable} -c "{says}" "$2"; echo {path.name}')


@pytest.mark.parametrize("older", ["python3.11", "python3.14"])
def test_make_takes_an_older_python_where_the_newest_lacks_a_package(bare_machine, older):
    pretended_python(bare_machine[0] / "python3", (3, 15))
    pretended_python(bare_machine[0] / older, (3, int(older.rpartition(".")[2])))
    assert older in make_env(bare_machine).stdout.splitlines()


def test_a_python_that_the_lock_has_no_builds_for_is_told_what_is_missing(bare_machine, monkeypatch):
    pretended_python(bare_machine[0] / "python3.15", (3, 15))
    assert "python3.15" in make_env(bare_machine).stdout.splitlines()  # which then refuses:
    monkeypatch.setattr(make.sys, "version_info", (3, 15, 0))
    with pytest.raises(
        make.CannotMakeEnvironment, match=r"^pyinstrument has no build for Python 3\.15 yet\."
    ):
        make.interpreter(bare_machine[1])
    assert not (bare_machine[1] / ".venv").exists()


def test_a_free_threaded_python_is_refused(monkeypatch):
    assert pythons.refusal(pythons.NEWEST) is None
    monkeypatch.setattr(pythons.sysconfig, "get_config_var", lambda name: name == "Py_GIL_DISABLED")
    assert pythons.refusal(pythons.NEWEST).startswith("This is a free-threaded Python")


def test_a_python_that_was_named_is_taken_or_refused_but_never_another_one(bare_machine):
    pretended_python(bare_machine[0] / "python3", (3, 12))
    done = make_env(bare_machine, PYTHON="python3.99")
    assert done.returncode != 0
    assert "PYTHON=python3.99 is no Python 3.11 or later." in done.stderr


def test_all_places_name_the_same_pythons():
    supported = [f"3.{minor}" for minor in range(pythons.OLDEST[1], pythons.NEWEST[1] + 1)]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    named = [text.rpartition(" ")[2] for text in project["classifiers"] if ":: Python :: 3." in text]
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "test.yml").read_text())
    assert named == supported == workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    makefile = (CHECKOUT / "Makefile").read_text()
    assert f"sys.version_info < {pythons.OLDEST}" in makefile
    assert f"sys.version_info >= {(3, pythons.NEWEST[1] + 1)}" in makefile
    assert f"{supported[0]} to {supported[-1]}" in (CHECKOUT / "README.md").read_text()


def test_a_python_without_the_venv_module_is_told_how_to_get_it(bare_machine, monkeypatch):
    find_spec = make.importlib.util.find_spec
    monkeypatch.setattr(
        make.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find_spec(name)
    )
    with pytest.raises(make.CannotMakeEnvironment, match="sudo apt install python3-venv"):
        make.interpreter(bare_machine[1])
    assert not (bare_machine[1] / ".venv").exists()


def test_a_full_disk_is_said_before_anything_is_installed(bare_machine, monkeypatch):
    monkeypatch.setattr(make.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000_000))
    with pytest.raises(make.CannotMakeEnvironment, match=r"needs 1\.5 GB here, and only 0\.1 GB are free"):
        make.interpreter(bare_machine[1])
    assert not (bare_machine[1] / ".venv").exists()


@pytest.mark.prove  # ten seconds: an environment with pip is made before the network is asked
def test_without_a_network_one_sentence_says_so(bare_machine):
    (bare_machine[0] / "python3").symlink_to(sys._base_executable)
    nowhere = "http://127.0.0.1:9/simple"
    done = make_env(bare_machine, PIP_INDEX_URL=nowhere, PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0")
    assert done.returncode != 0
    assert "The package index cannot be reached." in done.stderr
    assert "Traceback" not in done.stderr
    assert not (bare_machine[1] / ".venv" / ".deskbook-lock").exists()  # made again next time


def test_a_checkout_of_another_user_is_named(bare_machine, monkeypatch):
    def refuse(checkout):
        raise PermissionError(13, "Permission denied", str(checkout / ".venv.lock"))

    monkeypatch.setattr(make, "_only_one", refuse)
    with pytest.raises(make.CannotMakeEnvironment, match="It belongs to another user"):
        make.interpreter(bare_machine[1])


@pytest.mark.parametrize("changed", ["requirements.lock", "the place of the checkout", "python is gone"])
def test_an_environment_is_current_until_what_it_was_made_from_changes(bare_machine, changed):
    checkout = bare_machine[1]
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys._base_executable)
    (venv / ".deskbook-lock").write_text(make._lock_stamp(checkout))
    (venv / ".deskbook-project").write_text("any")
    assert make._is_current(venv, checkout)
    if changed == "requirements.lock":
        (checkout / changed).write_text("click==1 --hash=sha256:00\n")
    elif changed == "python is gone":
        (venv / "bin" / "python").unlink()
    else:
        moved = checkout.rename(checkout.with_name("moved"))
        checkout, venv = moved, moved / ".venv"
    assert not make._is_current(venv, checkout)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("error: Failed to fetch ...\n  invalid peer certificate: UnknownIssuer", "SSL_CERT_FILE"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "was not installed"),
        ("dns error: failed to lookup address information", "cannot be reached"),
        ("ERROR: Failed building wheel for x", "own words are in .venv.log"),
    ],
)
def test_the_installers_words_become_one_sentence(output, sentence):
    assert sentence in explain(output, ".venv.log")


@pytest.mark.parametrize(
    ("output", "worth"),
    [
        ("error: Failed to fetch https\n  dns error", True),  # uv reads no pip.conf, so pip may get through
        ("ERROR: Could not find a version\nERROR: No matching distribution found for uv==0.13.9", True),
        ("Failed to establish a new connection\nERROR: No matching distribution found for uv==0.13.9", False),
        ("OSError: [Errno 28] No space left on device", False),
    ],
)
def test_pip_is_tried_only_where_it_may_do_better(output, worth):
    assert is_worth_another_try(output) is worth
