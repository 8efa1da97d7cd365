"""The suite on other Pythons, as an ordinary user, and in an environment made from environment.yml.

Long: each run makes its own environment in its own clone and runs what `make test` runs. By hand, without
`make prove`, give `-o faulthandler_timeout=1800`: a test is else broken off after ten minutes.
"""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from deskbook.environment.pythons import NEWEST, OLDEST

CHECKOUT = Path(__file__).parents[2]
SUITE_TIMEOUT_S = 1500
pytestmark = pytest.mark.prove


#: Names a root folder (of debootstrap, say) whose Pythons count as well; `make prove` must then run as root.
ROOT_VARIABLE = "DESKBOOK_PROVE_ROOT"


@dataclass(frozen=True)
class Place:
    """A Python, and the folder that is its `/`."""

    python: Path
    root: Path = Path("/")

    def command(self, *words):
        return [*(() if self.root == Path("/") else ("chroot", self.root)), *words]


def candidates(version):
    """Where a Python of this version may be: PATH, pyenv, the running one, and a root folder."""
    names = [f"python{version}", "python3"]
    found = [Path(folder) / name for folder in os.get_exec_path() for name in names]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}.*/bin/python")) if os.access(pyenv, os.X_OK) else []
    root = os.environ.get(ROOT_VARIABLE)
    inside = [Place(Path("/usr/bin") / name, Path(root)) for name in names] if root else []
    return [*map(Place, [*found, *installed, Path(sys._base_executable)]), *inside]


@functools.cache
def version_in(place, user=None):
    """Return the version of the Python at a place, or "" where none can make environments for this user."""
    program = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        said = subprocess.run(
            place.command(place.python, "-c", program), capture_output=True, text=True, timeout=20, **as_user
        )
    except OSError:
        return ""
    return said.stdout.strip()


def find_python(version, user=None):
    """Return the first place with a Python of this version that runs for this user, or None."""
    return next((place for place in candidates(version) if version_in(place, user) == version), None)


SUPPORTED = [f"3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
#: The running Python is proven by everything else.
OTHERS = {
    version: find_python(version)
    for version in SUPPORTED
    if version != f"{sys.version_info.major}.{sys.version_info.minor}"
}


@pytest.fixture
def root():
    """The folder that is `/` for the suite; a test that needs another one names it."""
    return Path("/")


@pytest.fixture
def clone(root):
    """A clone of the last commit, in a folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="deskbook-prove-", dir=None if root == Path("/") else root / "tmp"))
    folder.chmod(0o755)
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", CHECKOUT, folder / "checkout"], check=True)
    yield folder / "checkout"
    shutil.rmtree(folder)


def environment_of_a_new_shell():
    """Without what `make prove ARGS=...` was given: make hands it on in MAKEFLAGS, and as a variable too."""
    ours = ("PYTEST_", "VIRTUAL_ENV", "MAKE", "MFLAGS", "ARGS", "WORKERS", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


# One worker: two suites side by side with three each make a lesson measure the machine and not its service.
def make_test(clone, place, **as_user):
    environment = environment_of_a_new_shell()
    environment |= {"HOME": str(clone.parent)} if as_user else {}
    inside = Path("/") / clone.relative_to(place.root)
    run = subprocess.Popen(
        place.command("make", "-C", inside, "test", "WORKERS=1", f"PYTHON={place.python}"),
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


@pytest.mark.parametrize(
    ("place", "root"),
    [pytest.param(place, place.root, id=version) for version, place in OTHERS.items() if place],
)
def test_the_suite_is_green_on_another_python(clone, place):
    make_test(clone, place)


def test_every_supported_python_was_found():
    missing = ", ".join(version for version, place in OTHERS.items() if place is None)
    assert not missing, (
        f"Not proven on Python {missing}: install it, or name a root folder that has it, as root: "
        f"{ROOT_VARIABLE}=/path/to/root make prove"
    )


def test_the_suite_is_green_for_an_ordinary_user(clone):
    if os.geteuid() != 0:
        make_test(clone, Place(Path(sys._base_executable)))
        return
    import pwd

    nobody = pwd.getpwnam("nobody")
    as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    places = (find_python(version, nobody.pw_uid) for version in SUPPORTED)
    place = next((place for place in places if place and place.root == Path("/")), None)
    assert place, "There is no Python that an ordinary user of this machine may run."
    for path in (clone.parent, *clone.parent.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    make_test(clone, place, **as_user)


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
