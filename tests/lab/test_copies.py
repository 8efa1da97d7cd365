import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from deskbook.lab.copies import copy_lessons, state_of, trust

NAME = "notebooks/11_lesson.ipynb"
OFFER = "notebooks/11_lesson.updated.ipynb"


def notebook(text, output=None):
    cell = {"cell_type": "code", "id": "price", "metadata": {}, "execution_count": 1, "source": [text]}
    cell["outputs"] = [output] if output else []
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def house(tmp_path):
    """A checkout with one lesson, and the learner's folder."""
    lesson = tmp_path / "checkout" / NAME
    lesson.parent.mkdir(parents=True)
    lesson.write_text(notebook("price = 1"))
    return tmp_path / "checkout", tmp_path / "my-work"


def write(folder, text):
    (folder / NAME).write_text(text)


def test_the_first_lab_copies_and_the_second_does_nothing(house):
    assert copy_lessons(*house).new == [NAME]
    again = copy_lessons(*house)
    assert (again.new, again.updated, again.offered) == ([], [], [])


def test_an_unchanged_copy_follows_updates_even_after_it_was_run(house):
    checkout, work = house
    copy_lessons(checkout, work)
    write(work, notebook("price = 1", output={"output_type": "stream", "text": "ran"}))
    write(checkout, notebook("price = 2"))
    assert copy_lessons(checkout, work).updated == [NAME]
    assert (work / NAME).read_bytes() == (checkout / NAME).read_bytes()


def test_a_changed_copy_is_kept_and_the_new_version_laid_beside_it_once(house):
    checkout, work = house
    copy_lessons(checkout, work)
    write(work, notebook("price = 1  # mine"))
    write(checkout, notebook("price = 2"))
    assert copy_lessons(checkout, work).offered == [OFFER]
    assert "# mine" in (work / NAME).read_text()
    assert (work / OFFER).read_bytes() == (checkout / NAME).read_bytes()
    (work / OFFER).unlink()
    assert copy_lessons(checkout, work).offered == []


def test_a_changed_copy_without_an_update_is_left_alone(house):
    checkout, work = house
    copy_lessons(checkout, work)
    write(work, notebook("price = 1  # mine"))
    again = copy_lessons(checkout, work)
    assert (again.updated, again.offered) == ([], [])
    assert "# mine" in (work / NAME).read_text()


def test_nothing_is_lost_when_the_record_is_gone(house):
    checkout, work = house
    copy_lessons(checkout, work)
    write(work, notebook("price = 1  # mine"))
    (work / ".deskbook.json").write_text("{ half")
    assert copy_lessons(checkout, work).offered == [OFFER]
    assert "# mine" in (work / NAME).read_text()


def test_a_deleted_copy_comes_back(house):
    checkout, work = house
    copy_lessons(checkout, work)
    (work / NAME).unlink()
    assert copy_lessons(checkout, work).new == [NAME]


def test_a_copy_that_is_no_notebook_any_more_is_kept(house):
    checkout, work = house
    copy_lessons(checkout, work)
    write(work, "<<<<<<< merge")
    write(checkout, notebook("price = 2"))
    assert copy_lessons(checkout, work).offered == [OFFER]
    assert (work / NAME).read_text() == "<<<<<<< merge"


def test_four_labs_at_once_copy_once_and_offer_nothing(house):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: copy_lessons(*house), range(4)))
    assert sum(len(result.new) for result in results) == 1
    assert not any(result.offered or result.updated for result in results)


def test_the_fingerprint_is_about_text_not_about_layout(tmp_path):
    one, two = tmp_path / "one.ipynb", tmp_path / "two.ipynb"
    one.write_text(json.dumps({"cells": [{"cell_type": "code", "source": ["a\n", "b"]}]}))
    two.write_text(json.dumps({"cells": [{"source": "a\nb", "cell_type": "code", "id": "x"}]}, indent=1))
    assert state_of(one) == state_of(two)


def test_a_signed_copy_is_trusted_and_another_text_is_not(house, monkeypatch):
    import nbformat
    from nbformat.sign import NotebookNotary

    checkout, work = house
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(work))
    copied = copy_lessons(checkout, work)
    trust(work / name for name in copied.new)
    notary = NotebookNotary()
    copy = nbformat.read(work / NAME, as_version=4)
    assert notary.check_signature(copy)
    copy.cells[0].source += "# mine"
    assert not notary.check_signature(copy)
    notary.store.close()


def test_the_page_of_an_exercise_is_copied_without_its_checks_and_solution(house):
    checkout, work = house
    folder = checkout / "exercises" / "11_unblock"
    folder.mkdir(parents=True)
    for name in ("checks.py", "solution.py", "hints.toml"):
        (folder / name).write_text("x = 1")
    (folder / "exercise.ipynb").write_text(notebook("stub = 1"))
    page = "exercises/11_unblock/exercise.ipynb"
    assert copy_lessons(checkout, work).new == [NAME, page]
    assert [path.name for path in (work / "exercises/11_unblock").iterdir()] == ["exercise.ipynb"]
    (work / page).write_text(notebook("answer = 2"))
    (folder / "exercise.ipynb").write_text(notebook("stub = 3"))
    assert copy_lessons(checkout, work).offered == ["exercises/11_unblock/exercise.updated.ipynb"]
    assert "answer = 2" in (work / page).read_text()
