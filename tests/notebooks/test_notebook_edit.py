"""`deskbook notebook edit` and `sync`: text and notebook, neither ever overwritten unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from deskbook.authoring import edit
from deskbook.authoring.commands import notebook as notebook_group
from deskbook.authoring.edit import replaced_path, start_edit, text_path
from deskbook.authoring.lint import lint_notebook
from deskbook.authoring.normalise import normalise
from deskbook.authoring.notebook_file import read_notebook, write_notebook
from deskbook.authoring.text import TextError, base_of, from_text, state_of, to_text

Notebook = dict[str, Any]

CLEAN_LESSON = Path(__file__).with_name("planted") / "11_clean_lesson.ipynb"


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    """Return the path of a copy of the clean lesson."""
    return Path(shutil.copy(CLEAN_LESSON, tmp_path))


@pytest.fixture
def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the cells instead of executing them: these tests are about the two sides, not about outputs."""

    def counted(notebook: Notebook, *_: object) -> Notebook:
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for count, cell in enumerate(cells, start=1):
            cell["execution_count"] = count
        normalise(notebook)
        return notebook

    monkeypatch.setattr(edit, "executed", counted)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(notebook_group, [str(argument) for argument in arguments])


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def change_notebook(path: Path) -> None:
    notebook = read_notebook(path)
    notebook["cells"][0]["source"] += "\n\nChanged in JupyterLab."
    write_notebook(path, notebook)


def test_text_and_back_keeps_every_cell_id_output_and_note(lesson: Path) -> None:
    notebook = read_notebook(lesson)
    returned = from_text(to_text(notebook, "base"), notebook)
    assert [cell["id"] for cell in returned["cells"]] == [cell["id"] for cell in notebook["cells"]]
    assert [cell.get("outputs") for cell in returned["cells"]] == [
        cell.get("outputs") for cell in notebook["cells"]
    ]
    assert state_of(returned) == state_of(notebook)


def test_an_edited_cell_gets_a_fresh_output_and_the_others_keep_their_ids(lesson: Path) -> None:
    ids = [cell["id"] for cell in read_notebook(lesson)["cells"]]
    assert call("edit", lesson).exit_code == 0
    change(text_path(lesson), '"AAPL": 191.5', '"AAPL": 200')
    change(text_path(lesson), "## Prove it", "```{code-cell}\nprices\n```\n\n## Prove it")
    result = call("sync", lesson)
    assert result.exit_code == 0, result.output
    cells = read_notebook(lesson)["cells"]
    assert len(cells) == len(ids) + 1
    assert set(ids) < {cell["id"] for cell in cells}
    printed = [o["text"] for cell in cells for o in cell.get("outputs", []) if o["output_type"] == "stream"]
    assert any("known: 200" in text for text in printed)
    assert [c["execution_count"] for c in cells if c["cell_type"] == "code"] == list(range(1, 9))
    assert base_of(text_path(lesson).read_text()) == state_of(read_notebook(lesson))


def test_a_failing_cell_changes_neither_the_notebook_nor_the_text(lesson: Path) -> None:
    start_edit(lesson)
    change(text_path(lesson), "len(prices)", "len(nothing)")
    notebook, text = lesson.read_bytes(), text_path(lesson).read_bytes()
    result = call("sync", lesson)
    assert result.exit_code == 1
    assert "NameError: name 'nothing' is not defined" in result.output
    assert (lesson.read_bytes(), text_path(lesson).read_bytes()) == (notebook, text)


def test_a_notebook_that_changed_meanwhile_is_a_conflict_and_both_sides_are_kept(
    lesson: Path, without_kernel: None
) -> None:
    start_edit(lesson)
    change(text_path(lesson), "len(prices)", "sorted(prices)")
    text = text_path(lesson).read_bytes()
    change_notebook(lesson)
    notebook = lesson.read_bytes()
    for command in ("sync", "edit"):
        result = call(command, lesson)
        assert result.exit_code == 1
        assert "nothing was overwritten" in result.output
    assert (lesson.read_bytes(), text_path(lesson).read_bytes()) == (notebook, text)
    assert "Changed in JupyterLab." in replaced_path(lesson).read_text()

    assert call("sync", "--keep-text", lesson).exit_code == 0
    assert "sorted(prices)" in json.dumps(read_notebook(lesson))
    assert "Changed in JupyterLab." in replaced_path(lesson).read_text()


def test_a_text_that_nobody_touched_follows_the_notebook(lesson: Path) -> None:
    start_edit(lesson)
    change_notebook(lesson)
    assert call("edit", lesson).exit_code == 0
    assert "Changed in JupyterLab." in text_path(lesson).read_text()


def test_a_text_in_work_is_kept_by_a_second_edit(lesson: Path) -> None:
    start_edit(lesson)
    change(text_path(lesson), "len(prices)", "sorted(prices)")
    assert call("edit", lesson).exit_code == 0
    assert "sorted(prices)" in text_path(lesson).read_text()


def test_a_kept_side_that_somebody_has_edited_is_not_overwritten(lesson: Path) -> None:
    start_edit(lesson)
    change(text_path(lesson), "len(prices)", "sorted(prices)")
    change_notebook(lesson)
    call("sync", lesson)
    change(replaced_path(lesson), "Changed in JupyterLab.", "My own words.")
    call("sync", lesson)
    assert "My own words." in replaced_path(lesson).read_text()
    assert "Changed in JupyterLab." in replaced_path(lesson, 2).read_text()


def test_a_run_of_the_notebook_is_no_conflict(lesson: Path, without_kernel: None) -> None:
    start_edit(lesson)
    notebook = read_notebook(lesson)
    notebook["cells"][3].update(outputs=[], execution_count=7)
    write_notebook(lesson, notebook)
    assert call("sync", lesson).exit_code == 0


def test_a_new_lesson_starts_with_the_grammar_and_breaks_no_rule(
    tmp_path: Path, without_kernel: None
) -> None:
    path = tmp_path / "12_fan_out_with_structure.ipynb"
    assert call("edit", path).exit_code == 0
    assert not path.exists()
    assert call("sync", path).exit_code == 0
    assert lint_notebook(path) == []


def test_a_new_lesson_runs_and_breaks_no_rule(tmp_path: Path) -> None:
    facts = tmp_path / "exercises" / "12_fan_out" / "hints.toml"
    facts.parent.mkdir(parents=True)
    facts.write_text("minutes = 12\n")
    shutil.copy(facts, facts.with_name("exercise.ipynb"))
    path = tmp_path / "notebooks" / "12_fan_out_with_structure.ipynb"
    path.parent.mkdir()
    shutil.copy(CLEAN_LESSON, path.parent)
    result = call("new", path, "--title", "Fan out, with structure")
    assert result.exit_code == 0, result.output
    assert [str(finding) for finding in lint_notebook(path)] == []
    notebook = read_notebook(path)
    own = notebook["metadata"]["deskbook"]
    assert own["part"] == "1 Async"
    assert own["exercises"] == ["12_fan_out"]
    assert own["minutes"] > 12
    text = "\n".join(cell["source"] for cell in notebook["cells"])
    assert text.startswith("# Fan out, with structure\n")
    assert "](../exercises/12_fan_out/exercise.ipynb)" in text
    assert call("new", path).exit_code == 1
    assert "is there already" in call("new", path).output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["fan_out"], "no name of a lesson"), (["12_fan_out", "--exercise", "12_nothing"], "Make it first")],
)
def test_what_cannot_become_a_lesson_gets_one_clear_sentence(arguments: list[str], says: str) -> None:
    result = call("new", *arguments)
    assert result.exit_code == 1
    assert says in result.output


def test_a_cell_that_text_cannot_hold_is_refused(lesson: Path) -> None:
    notebook = read_notebook(lesson)
    notebook["cells"][0]["source"] += "\n\n+++\n\nnot one cell any more"
    with pytest.raises(TextError, match="would come back as"):
        to_text(notebook, "base")


def test_a_text_of_another_tool_is_refused(lesson: Path) -> None:
    text_path(lesson).write_text("# A title\n")
    result = call("sync", "--keep-text", lesson)
    assert result.exit_code == 1
    assert "has no header `deskbook_edit`" in result.output


def test_a_folder_that_cannot_be_written_gets_one_clear_sentence(
    lesson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(edit, "write_atomically", refuse)
    result = call("edit", lesson)
    assert result.exit_code == 1
    assert f"Permission denied ({lesson.parent}). Is the folder writable" in result.output


def test_sync_without_a_text_says_what_to_do(lesson: Path) -> None:
    result = call("sync", lesson)
    assert result.exit_code == 1
    assert f"deskbook notebook edit {lesson}" in result.output
