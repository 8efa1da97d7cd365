"""Make the environment of a checkout: `.venv`, from `requirements.lock`, once per change of the lock.

Run by `make` with the system's Python before anything is installed, so standard library only. uv installs
(about 10 s with an empty cache); pip does where uv cannot (about a minute). Both verify every hash.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deskbook.environment.failures import explain, is_worth_another_try
from deskbook.environment.lockfile import read_pins
from deskbook.environment.pythons import refusal

#: Measured: 0.9 GB installed with byte code, plus the installer's cache.
NEEDED_BYTES = 1_500_000_000
LOG_NAME = ".venv.log"


class CannotMakeEnvironment(Exception):
    """The environment cannot be made; the text says why and what to do."""


def interpreter(checkout: Path) -> Path:
    """Return the Python to use for this checkout, making `.venv` first where that is needed.

    An active environment (venv or conda) that matches the lock is used as it is.

    Args:
        checkout: Top folder of the repository.

    Raises:
        CannotMakeEnvironment: With one clear sentence.
    """
    if _is_environment() and _active_matches(checkout):
        return Path(sys.executable)
    venv = checkout / ".venv"
    try:
        with _only_one(checkout):
            if not _is_current(venv, checkout):
                _build(venv, checkout)
            elif _project_stamp(venv).read_text() != _digest(checkout / "pyproject.toml"):
                _install_project(venv, checkout)
    except PermissionError as error:
        raise CannotMakeEnvironment(
            f"No permission to write {Path(error.filename or venv).name} in this checkout. "
            "It belongs to another user: clone the repository again as yourself."
        ) from None
    return _python(venv)


def _is_environment() -> bool:
    return sys.prefix != sys.base_prefix or (Path(sys.prefix) / "conda-meta").is_dir()


def _active_matches(checkout: Path) -> bool:
    if Path(sys.prefix).resolve() == (checkout / ".venv").resolve():
        return False  # ours: the stamps decide
    if importlib.util.find_spec("packaging") is None:
        found = ["packaging is not installed"]
    else:
        from deskbook.environment.installed import differences, is_installed_from

        found = [str(item) for item in differences(checkout / "requirements.lock")]
        if not found and not is_installed_from(checkout):
            found = ["the project itself is not installed from this checkout"]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        _say(f"The active environment does not match the lock ({found[0]}{more}): using .venv instead.")
    return not found


@contextlib.contextmanager
def _only_one(checkout: Path) -> Iterator[None]:
    """Let one make at a time build; without it two fresh `make test` remove each other's half-made .venv."""
    import fcntl

    with (checkout / ".venv.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another make is preparing the environment; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_current(venv: Path, checkout: Path) -> bool:
    stamp = venv / ".deskbook-lock"
    if not stamp.is_file() or not _project_stamp(venv).is_file():
        return False
    if stamp.read_text() != _lock_stamp(checkout):
        return False
    return _runs(_python(venv))


def _runs(python: Path) -> bool:
    """Say whether an interpreter starts: the system's Python below an old .venv may have been removed."""
    try:
        return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _lock_stamp(checkout: Path) -> str:
    """What `.venv` depends on: the lock, and where the checkout lies (scripts hold absolute paths)."""
    return f"{_digest(checkout / 'requirements.lock')} {checkout}"


def _project_stamp(venv: Path) -> Path:
    return venv / ".deskbook-project"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _build(venv: Path, checkout: Path) -> None:
    if (reason := refusal(sys.version_info[:2])) is not None:
        raise CannotMakeEnvironment(reason)
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise CannotMakeEnvironment(
            "This Python cannot make environments: its venv module is missing. On Debian and Ubuntu: "
            "sudo apt install python3-venv; then run make again."
        )
    if shutil.disk_usage(checkout).free < NEEDED_BYTES:
        raise CannotMakeEnvironment(
            f"The disk is full: the environment needs {NEEDED_BYTES / 1e9:.1f} GB here, and only "
            f"{shutil.disk_usage(checkout).free / 1e9:.1f} GB are free. Free some space and run make again."
        )
    _say("Making the environment in .venv (once; half a minute on a usual line) ...")
    shutil.rmtree(venv, ignore_errors=True)
    (checkout / LOG_NAME).write_text("")
    _run([_base_python(), "-m", "venv", str(venv)], checkout)
    locked = ["--require-hashes", "-r", str(checkout / "requirements.lock")]
    if not (_install_uv(venv, checkout) and _try([*_uv(venv), "--compile-bytecode", *locked], checkout)):
        if not is_worth_another_try(_last_output(checkout)):
            raise CannotMakeEnvironment(explain(_last_output(checkout), LOG_NAME))
        _say("uv cannot install here; trying pip (about a minute) ...")
        _run([*_pip(venv), *locked], checkout)
    _install_project(venv, checkout)
    # Written last: an interrupted build has no stamp and is made again.
    (venv / ".deskbook-lock").write_text(_lock_stamp(checkout))


def _base_python() -> str:
    """The Python below the active environment: that one may be the very .venv that is made again."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _install_uv(venv: Path, checkout: Path) -> bool:
    """Install the locked uv into the new environment; say whether there is one for this platform."""
    pin = next(pin for pin in read_pins(checkout / "requirements.lock") if pin.name == "uv")
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder) / "uv.txt"
        requirement.write_text(pin.hashed_requirement + "\n")
        return _try([*_pip(venv), "--require-hashes", "-r", str(requirement)], checkout)


def _install_project(venv: Path, checkout: Path) -> None:
    project = ["--no-deps", "--no-build-isolation", "-e", str(checkout)]
    if not _try([*_uv(venv), *project], checkout):
        _run([*_pip(venv), *project], checkout)
    _project_stamp(venv).write_text(_digest(checkout / "pyproject.toml"))


def _python(venv: Path) -> Path:
    return venv / "bin" / "python"


def _pip(venv: Path) -> list[str]:
    return [str(_python(venv)), "-m", "pip", "install", "--disable-pip-version-check", "--retries", "2"]


def _uv(venv: Path) -> list[str]:
    return [str(_python(venv)), "-m", "uv", "pip", "install", "--python", str(_python(venv))]


def _run(command: list[str], checkout: Path) -> None:
    if not _try(command, checkout):
        raise CannotMakeEnvironment(explain(_last_output(checkout), LOG_NAME))


def _last_output(checkout: Path) -> str:
    """What the last installer printed."""
    log = (checkout / LOG_NAME).read_text(errors="replace")
    return log[log.rfind("\n$ ") :]


def _try(command: list[str], checkout: Path) -> bool:
    """Run an installer with its output in the log; say whether it went well."""
    with (checkout / LOG_NAME).open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        done = subprocess.run(command, check=False, stdout=log, stderr=log, env=_installer_env())
    return done.returncode == 0


def _installer_env() -> dict[str, str]:
    """Pass pip's settings on to uv, which reads neither pip.conf nor PIP_*."""
    env = dict(os.environ)
    env.pop("PYTHONPATH", None)
    settings = _pip_settings()
    for name, setting in (("SSL_CERT_FILE", "cert"), ("UV_DEFAULT_INDEX", "index-url")):
        if setting in settings:
            env.setdefault(name, settings[setting])
    return env


@functools.cache
def _pip_settings() -> dict[str, str]:
    """Return what pip.conf and PIP_* say for installs, by setting: the last word wins, as in pip."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    found = re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", listing, flags=re.MULTILINE)
    return dict(found)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - stdout carries the interpreter's path
