"""A file is replaced as a whole, or stays as it was."""

import os
from pathlib import Path

import pytest

from market.files import beside, put, replacing, writing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.write_bytes(b"old")
    return path


def names(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


def test_the_old_version_is_there_until_the_new_one_is_whole(file: Path) -> None:
    with replacing(file) as new:
        new.write(b"new")
        new.flush()
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"
    assert names(file) == ["state"]


def test_what_fails_changes_nothing(file: Path) -> None:
    def interrupted() -> None:
        with replacing(file) as new:
            new.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_bytes() == b"old"
    assert names(file) == ["state"]


def test_it_is_on_the_disk_before_it_takes_the_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fsync(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_size, file.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(file) as new:
        new.write(b"longer")
    assert seen == [(6, b"old")]


def test_a_disk_that_fails_late_leaves_nothing_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"), replacing(file) as new:
        new.write(b"new")
    assert file.read_bytes() == b"old"
    assert names(file) == ["state"]


def test_writing_and_putting_can_be_two_steps(file: Path) -> None:
    written = beside(file)
    with writing(written) as new:
        new.write(b"new")
    assert file.read_bytes() == b"old"
    put(written, file)
    assert (file.read_bytes(), names(file)) == (b"new", ["state"])


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "absent" / "state"):
        raise AssertionError("the block is not entered")
