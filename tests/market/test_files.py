"""A file is replaced as a whole, or stays as it was."""

import multiprocessing
import os
from pathlib import Path

import pytest

from market.files import beside, put, put_new, replacing, writing


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


def test_a_new_file_is_whole_and_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    put_new(path, b"first")
    put_new(path, b"second")
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(path) == ["secret"]


def test_an_empty_file_does_not_count(file: Path) -> None:
    file.write_bytes(b"")
    put_new(file, b"first")
    assert file.read_bytes() == b"first"


def test_a_new_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        put_new(tmp_path / "secret", b"first")
    assert not list(tmp_path.iterdir())


def test_of_several_processes_one_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        pool.starmap(put_new, [(path, str(number).encode() * 50) for number in range(40)])
    assert len(set(path.read_text())) <= 2  # the digits of one number
    assert names(path) == ["secret"]
