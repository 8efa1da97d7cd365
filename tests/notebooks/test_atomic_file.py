"""A file is replaced in one step, or stays as it was."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deskbook.atomic_file import write_atomically


def test_a_file_is_made_with_its_folders_and_replaced_with_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "my-work" / "answer.py"
    write_atomically(path, "price = 1\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o600)
    write_atomically(path, b"price = 2\r\n")
    assert path.read_bytes() == b"price = 2\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "lesson.ipynb"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "half \udc80")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", "new")
    assert path.read_text() == "old"
    assert {it.name for it in tmp_path.iterdir()} == {"lesson.ipynb", "folder"}


def test_writers_at_once_leave_one_whole_text(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    texts = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomically(path, text), texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]
