from pathlib import Path

from deskbook.environment.installed import differences, is_installed_from

CHECKOUT = Path(__file__).parents[2]


def test_this_environment_is_the_locked_one():
    assert differences(CHECKOUT / "requirements.lock") == []
    assert is_installed_from(CHECKOUT)


def test_an_older_a_missing_and_a_foreign_package_are_told_apart(tmp_path):
    lock = tmp_path / "requirements.lock"
    # The marker of the third line is false here, so nothing is said of that package.
    lock.write_text(
        "click==999.0 --hash=sha256:00\n"
        "no-such-package==1.0 --hash=sha256:00\n"
        "also-missing==1.0 ; python_version < '3' --hash=sha256:00\n"
    )
    older, missing = differences(lock)
    assert older.name == "click"
    assert str(older).endswith("the lock says 999.0")
    assert str(missing) == "no-such-package is not installed, the lock says 1.0"


def test_another_checkout_is_not_this_one(tmp_path):
    assert not is_installed_from(tmp_path)
