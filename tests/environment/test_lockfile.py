from pathlib import Path

import pytest
import yaml
from deskbook.environment.conda import environment_yml
from deskbook.environment.lockfile import LockfileError, read_pins
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
LOCK = CHECKOUT / "requirements.lock"
#: What the suite promises to bring, whatever else changes.
PROMISED = {"jupyterlab", "fastapi", "httpx", "pytest", "nbval", "memray", "asgi-lifespan"}


def test_the_lock_pins_every_promised_package_with_hashes_and_without_addresses():
    pins = read_pins(LOCK)
    assert {pin.name for pin in pins} >= PROMISED
    assert all(value.startswith("sha256:") for pin in pins for value in pin.hashes)
    assert "://" not in LOCK.read_text()


def test_environment_yml_is_what_the_lock_says():
    assert (CHECKOUT / "environment.yml").read_text() == environment_yml(LOCK), (
        "environment.yml is out of date: python -m deskbook.environment conda > environment.yml"
    )


def test_every_line_of_environment_yml_is_understood_by_conda_and_pip():
    document = yaml.safe_load((CHECKOUT / "environment.yml").read_text())
    *conda, pip_section = document["dependencies"]
    assert conda == ["python >=3.11,<3.15", "pip"]
    *pins, project = pip_section["pip"]
    assert project == "-e ."
    assert {Requirement(line).name for line in pins} >= PROMISED
    assert len(pins) == len(read_pins(LOCK))


def test_the_lock_satisfies_pyproject(tmp_path):
    """Every direct dependency of every extra is locked, at a version that pyproject allows."""
    import tomllib

    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(line) for group in [project["dependencies"], *extras] for line in group]
    locked: dict[str, list[str]] = {}
    for pin in read_pins(LOCK):
        locked.setdefault(pin.name, []).append(pin.version)
    for requirement in wanted:
        if requirement.name != "fastapi-deskbook":
            assert any(requirement.specifier.contains(v) for v in locked[requirement.name]), requirement


@pytest.mark.parametrize("line", ["fastapi", "fastapi>=1 --hash=sha256:00", "-e .", "fastapi==0.165.0"])
def test_a_line_that_pins_nothing_is_refused_with_the_line_in_the_message(tmp_path, line):
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"{line}\n")
    with pytest.raises(LockfileError, match="expected `name==version --hash"):
        read_pins(lock)
