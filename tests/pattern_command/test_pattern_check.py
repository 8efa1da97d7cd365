"""Copies in somebody's project hear of what was mended, whatever their owners have done to them."""

import datetime as dt
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from deskbook.cli import main
from deskbook.patterns import catalogue, copy_pattern, get
from deskbook.patterns import history as history_module
from deskbook.patterns.copies import MAX_SIZE_BYTES, copies, python_files
from deskbook.patterns.history import NAME, Repair, history, in_force, statements_of

OLD = Path(__file__).with_name("old_copies")
FOLDER = get("money").path.parent


def check(folder):
    return CliRunner().invoke(main, ["pattern", "check", str(folder)])


def old(name):
    return (OLD / f"{name}.txt").read_text(encoding="utf-8")


def project(folder, **files):
    for name, text in files.items():
        path = folder / "src" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_an_old_copy_is_named_with_what_was_mended_and_the_status_is_1(tmp_path):
    done = check(project(tmp_path, amounts=old("money"), desk="import os\n"))
    assert done.exit_code == 1
    assert f"{tmp_path / 'src' / 'amounts.py'}: a copy of money" in done.output
    [repair] = [it for it in history(FOLDER) if it.pattern == "money"]
    for sentence in repair.mended:
        assert sentence in done.output
    assert f"1 copy of a pattern is in {tmp_path}, 1 of them older than a repair." in done.output
    assert "deskbook pattern copy NAME FOLDER --force" in done.output


def test_a_copy_of_today_is_well_with_its_header_and_beside_its_test(tmp_path):
    for pattern in catalogue():
        copy_pattern(pattern, tmp_path / pattern.name, with_test=True)
    done = check(tmp_path)
    assert (
        done.output
        == f"{len(catalogue())} copies of patterns are in {tmp_path}, none of them older than a repair.\n"
    )
    assert done.exit_code == 0


OURS = "import json\n\n\ndef ours(path):\n    return json.loads(path.read_text())\n\n\n"


def without_docstrings(text):
    return re.sub(r'(?s)r?"""[^"].*?"""', '"""Ours."""', text)


@pytest.mark.parametrize("name", ["money", "broadcaster", "single_flight"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.partition("from __future__")[2].partition("\n")[2],  # header and docstring are gone
        without_docstrings,
        lambda text: re.sub(r"(?m)^ *#.*\n", "", text).replace("    ", "\t"),
        lambda text: text.replace("self.", "this.", 5).replace("int", "float", 2) + "\n\nOURS = 1\n",
        lambda text: f"{OURS}{text.partition('from __future__ import annotations')[2]}",
    ],
    ids=["as it was", "no header", "no docstrings", "laid out anew", "changed lines", "in a longer file"],
)  # fmt: skip
def test_it_is_known_although_its_owner_has_changed_it(name, change, tmp_path):
    text = old(name)
    if "from __future__" not in text:
        text = text.replace("\nimport asyncio\n", "\nfrom __future__ import annotations\nimport asyncio\n", 1)
    [found] = copies(python_files(project(tmp_path, ours=change(text))))
    assert found.pattern == name
    assert [it.pattern for it in found.missing] == [name]


def test_a_copy_of_today_that_its_owner_has_changed_is_not_called_old(tmp_path):
    for pattern in catalogue():
        text = pattern.source.replace("self._", "self.__", 2).replace("1", "2", 2)
        project(tmp_path, **{pattern.name: text})
    found = list(copies(python_files(tmp_path)))
    assert [it.pattern for it in found] == [it.name for it in catalogue()]
    assert [it.pattern for it in found if it.missing] == []


def test_what_is_no_copy_is_none_and_what_cannot_be_read_is_left_out(tmp_path):
    project(tmp_path, broken="def f(:\n", nul="a = 1\0\n", nested="(" * 5000, warns="a = '\\d'\n")
    (tmp_path / "src" / "latin.py").write_bytes(b"# \xe9\nname = 'caf\xe9'\n")
    (tmp_path / "src" / "large.py").write_text(old("money") + "#" * MAX_SIZE_BYTES)
    (tmp_path / "src" / "gone.py").symlink_to("nowhere.py")
    done = check(tmp_path)
    assert done.output == f"No copy of a pattern is in {tmp_path}: 7 Python files were read.\n"
    assert done.exit_code == 0


@pytest.mark.parametrize("folder", [".venv", "node_modules", "env/lib/site-packages", "__pycache__", "env"])
def test_environments_and_hidden_folders_are_not_the_projects_own(folder, tmp_path):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "money.py").write_text(old("money"))
    if folder == "env":
        (tmp_path / folder / "pyvenv.cfg").touch()
    assert python_files(tmp_path) == []


def test_a_file_with_a_bom_is_read(tmp_path):
    project(tmp_path, money="\ufeff" + old("money"))
    assert [it.pattern for it in copies(python_files(tmp_path))] == ["money"]


@pytest.mark.parametrize("name", ["nowhere", "a_file.py"])
def test_a_folder_that_is_not_there_is_one_sentence(name, tmp_path):
    (tmp_path / "a_file.py").touch()
    done = check(tmp_path / name)
    assert (done.exit_code, done.output) == (
        1,
        f"Error: There is no folder {tmp_path / name}. Name the folder of your service.\n",
    )


def test_comments_docstrings_and_layout_are_no_part_of_a_statement():
    one = 'def f(a):\n    """Say."""\n    # why\n    if a and len(a) > 1:\n        raise ValueError("long")\n'
    other = "def f(a):\n  if (\n    a\n    and len(a) > 1\n  ):\n      raise ValueError('long')\n"
    assert statements_of(one) == statements_of(other)
    assert statements_of(one) != statements_of(one.replace("> 1", "> 2"))


def repair(gone, new, day=1):
    return Repair("money", dt.date(2026, 1, day), ("It was wrong.",), frozenset(gone), frozenset(new))


def test_a_repair_of_a_repair_makes_no_copy_of_today_look_old():
    first, second = repair("ab", "cde", 1), repair("cd", "fg", 2)
    old_one, between, today = frozenset("ab"), frozenset("cde"), frozenset("efg")
    for statements, missing in ((old_one, 2), (between, 1), (today, 0)):
        assert sum(it.is_missing_in(statements) for it in in_force([first, second])) == missing
    swallowed = in_force([repair("a", "b", 1), repair("b", "a", 2)])
    assert swallowed == [repair("b", "a", 2)]


def test_the_history_tells_of_patterns_that_exist_and_of_their_code_of_today():
    text = (FOLDER / NAME).read_text(encoding="utf-8")
    assert json.dumps(tomllib.loads(text)["repair"], default=str)
    names = {it.name for it in catalogue()}
    for name in {it.pattern for it in history(FOLDER)}:
        assert name in names
        now = statements_of(get(name).source)
        repairs = [it for it in history(FOLDER) if it.pattern == name]
        assert [it.date for it in repairs] == sorted(it.date for it in repairs)
        for it in in_force(repairs):
            assert not it.is_missing_in(now), (
                f"{name}: the code has changed; record it by `deskbook pattern mended`"
            )
            assert all(sentence.endswith(".") for sentence in it.mended)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one pattern whose repair has not been committed."""
    folder = tmp_path / "reference_app" / "patterns"
    folder.mkdir(parents=True)
    (folder / "money.py").write_text(old("money"))
    git = ["git", "-c", "user.name=desk", "-c", "user.email=desk@example.com"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "before"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    shutil.copy(get("money").path, folder / "money.py")
    pattern = history_module.get("money")
    moved = type(pattern)(**{**vars(pattern), "path": folder / "money.py"})
    monkeypatch.setattr(history_module, "root", lambda: tmp_path)
    monkeypatch.setattr(history_module, "get", lambda name: moved)
    return folder


def mended(*arguments):
    return CliRunner().invoke(main, ["pattern", "mended", *arguments])


def test_a_repair_is_recorded_from_what_git_has_and_what_is_there_now(checkout):
    done = mended("money", 'Yen were "refused".', "And so were won.")
    assert done.exit_code == 0, done.output
    [recorded] = history(checkout)
    before, now = statements_of(old("money")), statements_of(get("money").source)
    assert (recorded.gone, recorded.new) == (before - now, now - before)
    assert recorded.mended == ('Yen were "refused".', "And so were won.")
    assert done.output == f"recorded: {len(before - now)} statements of money gone, {len(now - before)} new\n"
    mended("money", "Once more.")
    assert [it.mended[-1] for it in history(checkout)] == ["And so were won.", "Once more."]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--since", "nowhere"], "git knows no reference_app/patterns/money.py at nowhere"),
        ([], "nothing to record"),
    ],
)
def test_what_cannot_be_recorded_is_one_sentence(checkout, arguments, sentence):
    if not arguments:
        (checkout / "money.py").write_text("# a comment\n" + old("money"))
    done = mended("money", "Yen were refused.", *arguments)
    assert done.exit_code == 1
    assert sentence in done.output
    assert not (checkout / NAME).exists()
