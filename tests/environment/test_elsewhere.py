"""The suite on other Pythons, as an ordinary user, and in an environment made from environment.yml.

Long: each run makes its own environment in its own clone and runs what `make test` runs.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
SUITE_TIMEOUT_S = 1500
pytestmark = pytest.mark.prove


def candidates(version):
    """Where a Python of this version may be: PATH, pyenv, and the running one."""
    names = [f"python{version}", "python3"]
    found = [Path(folder) / name for folder in os.get_exec_path() for name in names]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}.*/bin/python")) if os.access(pyenv, os.X_OK) else []
    return [*found, *installed, Path(sys._base_executable)]


def find_python(version, **as_user):
    """Return the first interpreter of this version that runs for this user, or None."""
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for python in candidates(version):
        try:
            said = subprocess.run(
                [python, "-c", program], capture_output=True, text=True, timeout=20, check=False, **as_user
            )
        except OSError:
            continue
        if said.stdout.strip() == version:
            return python
    return None


def have(version):
    return find_python(version) is not None


#: 3.14 is allowed but not promised: it is proven where it can be had.
VERSIONS = ["3.12", "3.13", *(["3.14"] if have("3.14") else [])]


@pytest.fixture
def clone():
    """A clone of the last commit, in a folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="deskbook-prove-"))
    folder.chmod(0o755)
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", CHECKOUT, folder / "checkout"], check=True)
    yield folder / "checkout"
    shutil.rmtree(folder)


def environment_of_a_new_shell():
    """Without what `make prove ARGS=...` was given: make hands it on in MAKEFLAGS, and as a variable too."""
    ours = ("PYTEST_", "VIRTUAL_ENV", "MAKE", "MFLAGS", "ARGS", "WORKERS", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


# One worker: two suites side by side with three each make a lesson measure the machine and not its service.
def make_test(clone, python, **as_user):
    environment = environment_of_a_new_shell()
    environment |= {"HOME": str(clone.parent)} if as_user else {}
    run = subprocess.Popen(
        ["make", "test", "WORKERS=1", f"PYTHON={python}"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **as_user,
    )
    try:
        said, _ = run.communicate(timeout=SUITE_TIMEOUT_S)
    finally:  # make alone would leave its pytest behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 0, said[-8000:]
    assert " passed" in said


def test_a_nested_suite_is_given_nothing_that_this_one_was_given(tmp_path):
    inner = tmp_path / "inner.mk"
    inner.write_text("all:\n\t@echo '[$(ARGS)$(WORKERS)]'\n")
    program = (
        f"import subprocess, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_elsewhere; "
        f"subprocess.run(['make', '-f', {str(inner)!r}], env=test_elsewhere.environment_of_a_new_shell())"
    )
    tmp_path.joinpath("Makefile").write_text(f'all:\n\t@"{sys.executable}" -c "{program}"\n')
    outer = ["make", "-s", "ARGS=--junitxml=report.xml", "WORKERS=2"]
    said = subprocess.run(outer, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_suite_is_green_on_another_python(clone, version):
    python = find_python(version)
    assert python, f"There is no Python {version} on this machine: install one to prove the suite on it."
    make_test(clone, python)


def test_the_suite_is_green_for_an_ordinary_user(clone):
    if os.geteuid() != 0:
        make_test(clone, sys._base_executable)
        return
    import pwd

    nobody = pwd.getpwnam("nobody")
    as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    for path in (clone.parent, *clone.parent.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    versions = ("3.11", "3.12", "3.13")
    python = next(filter(None, (find_python(version, **as_user) for version in versions)), None)
    assert python, "There is no Python that an ordinary user of this machine may run."
    make_test(clone, python, **as_user)


def test_the_pip_section_of_environment_yml_makes_an_environment_that_matches_the_lock(clone, tmp_path):
    """As conda and mamba do it: the section in a temporary file, installed from the checkout's folder."""
    section = yaml.safe_load((clone / "environment.yml").read_text())["dependencies"][-1]["pip"]
    requirements = tmp_path / "condaenv.requirements.txt"
    requirements.write_text("\n".join(section))
    subprocess.run([sys._base_executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-r", requirements], cwd=clone, check=True, timeout=900
    )
    check = (
        "from pathlib import Path; import deskbook.environment.installed as it; "
        "root = Path.cwd(); print(it.differences(root / 'requirements.lock'), it.is_installed_from(root))"
    )
    said = subprocess.run(
        [python, "-c", check], cwd=clone, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == "[] True"
