"""The learner's record survives what happens to files."""

import json
import threading

from deskbook.practice.learner.progress import FILE, Progress


def test_attempts_are_counted_and_a_pass_stays(tmp_path):
    progress = Progress(tmp_path / "my-work")
    progress.note_attempt("11_unblock", "wrong", "test_one")
    progress.note_attempt("11_unblock", "passed", "")
    progress.note_attempt("11_unblock", "too slow", "test_two")
    entry = Progress(tmp_path / "my-work").entry("11_unblock")
    assert (entry.attempts, entry.passed, entry.state, entry.failing) == (3, True, "too slow", "test_two")


def test_hints_start_again_with_another_failure(tmp_path):
    progress = Progress(tmp_path)
    progress.note_attempt("11_unblock", "wrong", "test_one")
    with progress.change("11_unblock") as entry:
        entry.hints = 3
    progress.note_attempt("11_unblock", "wrong", "test_one")
    assert progress.entry("11_unblock").hints == 3
    progress.note_attempt("11_unblock", "wrong", "test_two")
    assert progress.entry("11_unblock").hints == 1


def test_a_damaged_file_costs_a_warning_and_is_kept(tmp_path):
    for text in ("{ half", '{"version": 1}', '{"exercises": {"a": {"attempts": "many"}}}', "[]"):
        (tmp_path / FILE).write_text(text)
        progress = Progress(tmp_path)
        assert progress.entries() == {}
        assert "starts afresh" in progress.warning
        progress.note_attempt("11_unblock", "passed", "")
        assert (tmp_path / f"{FILE}.damaged").read_text() == text
        assert Progress(tmp_path).entry("11_unblock").passed


def test_keys_of_a_newer_version_do_no_harm(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"exercises": {"a": {"passed": True, "stars": 5}}}))
    assert Progress(tmp_path).entry("a").passed


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path):
    (tmp_path / "my-work").write_text("a file in the way")
    progress = Progress(tmp_path / "my-work")
    progress.note_attempt("11_unblock", "passed", "")
    assert "cannot be written" in progress.warning


def test_many_writers_lose_no_attempt(tmp_path):
    barrier = threading.Barrier(8)

    def write(number):
        barrier.wait(10)
        for _ in range(10):
            Progress(tmp_path).note_attempt(f"exercise {number % 2}", "wrong", "test_one")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(entry.attempts for entry in Progress(tmp_path).entries().values()) == 80
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, ".progress.lock"]
