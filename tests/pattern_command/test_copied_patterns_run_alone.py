"""Each pattern, copied with its test by the command, runs in an environment with only what it declares.

The environment is made of links to the installed packages that the declaration reaches, so that it costs
milliseconds and needs no network. Packages that a pattern uses and does not declare are not in it.

All tests of all patterns run in `tests/patterns`. Whether they also run elsewhere is told by the import of
both files, the example, and the first test of each; the long run repeats them all.
"""

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest
from deskbook.patterns import catalogue, copy_pattern
from deskbook.services import ensure
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def distributions(requirements):
    """Return every distribution that some requirements reach, by name."""
    reached, waiting = {}, [Requirement(it) for it in requirements]
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in reached:
            continue
        reached[key] = distribution = importlib.metadata.distribution(requirement.name)
        for line in distribution.requires or ():
            further = Requirement(line)
            extras = [{"extra": extra} for extra in ("", *requirement.extras)]
            if further.marker is None or any(further.marker.evaluate(it) for it in extras):
                waiting.append(further)
    return {name: distribution for (name, _), distribution in reached.items()}


def link_packages(folder, requirements):
    """Fill a folder with links to the packages, as if they had been installed there."""
    for distribution in distributions(requirements).values():
        tops = {
            file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")
        }
        for top in tops:
            link = folder / top
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))


@pytest.fixture(scope="module")
def services():
    servers = ensure()
    return {"DATABASE_URL": servers.postgres.url, "REDIS_URL": servers.redis.url}


def groups():
    """The patterns by what they declare: one environment and one pytest serve all that declare the same."""
    by_declaration = {}
    for pattern in catalogue():
        by_declaration.setdefault(pattern.dependencies, []).append(pattern)
    return [pytest.param(group, id=" ".join(it.name for it in group)) for group in by_declaration.values()]


FIRST_OF_EACH = """
def pytest_collection_modifyitems(items):
    firsts = {item.path: item for item in reversed(items)}
    items[:] = firsts.values()
"""


@pytest.mark.parametrize("everything", [False, pytest.param(True, marks=pytest.mark.prove)])
@pytest.mark.parametrize("patterns", groups())
def test_they_run_with_only_what_they_declare(patterns, everything, tmp_path, services):
    packages = tmp_path / "packages"
    packages.mkdir()
    copies = [copy_pattern(pattern, tmp_path / "project", with_test=True) for pattern in patterns]
    link_packages(packages, [*copies[0].packages, *copies[0].test_packages])
    options = []
    if not everything:
        (tmp_path / "conftest.py").write_text(FIRST_OF_EACH)
        options = ["--assert=plain"]  # rewriting two files to run one test of them takes the longest
    command = [sys.executable, "-S", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(packages)}
    needed = {name for copied in copies for name in copied.services}
    done = subprocess.run(
        [*command, *options, "--doctest-modules", str(tmp_path / "project")],
        cwd=tmp_path,
        env=environment | {name: services[name] for name in needed},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 2 * len(patterns)  # the example and a test
    assert "skipped" not in done.stdout


def test_a_package_that_is_not_declared_is_not_there(tmp_path):
    """The proof above can fail: here the declaration forgets FastAPI."""
    link_packages(tmp_path, ["pytest"])
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import pytest; import fastapi"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'fastapi'" in done.stderr
