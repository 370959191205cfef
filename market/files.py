"""Files that are whole: a new version is written beside the old one and takes its place in one step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

# What only its owner reads.
PRIVATE: Final = 0o600


def beside(path: Path) -> Path:
    """Where this process writes a new version of `path`: a hidden file in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def writing(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Open `path` for writing; a new file gets that mode. If the block raises, it is deleted. Raises `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def put(written: Path, path: Path) -> None:
    """Flush the closed file `written` to the disk, then rename it to `path`.

    After a power failure `path` is the old version or the new one, never a part of it. Raises `OSError`; `written` is
    then deleted.
    """
    try:
        with written.open("rb+") as file:
            os.fsync(file.fileno())
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Open a new version of `path`, of that mode, for writing; it takes the place of `path` when the block ends.

    If the block raises, `path` stays as it is. Raises `OSError`.
    """
    written = beside(path)
    with writing(written, mode) as file:
        yield file
    put(written, path)


def put_new(path: Path, content: bytes) -> None:
    """Store `content` at `path`, readable by its owner only, unless a file that is not empty is there.

    Of several processes that do so at once one wins, and `path` is never a part of a file. Raises `OSError`.
    """
    written = beside(path)
    written.unlink(missing_ok=True)
    try:
        with open(written, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and not path.stat().st_size:
            written.replace(path)
        else:
            with suppress(FileExistsError):
                os.link(written, path)
    finally:
        written.unlink(missing_ok=True)
