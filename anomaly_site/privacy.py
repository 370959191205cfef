"""Data that other users of the machine cannot read: folders of mode 0700, files of 0600.

Only a folder that is ours is closed: one of this user in which nothing but our files lies. In any other `DATA_DIR`,
such as `/tmp`, the folder stays as it is and only our own files in it are closed.
"""

import os
import shlex
import stat
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600
# All that is ever written to DATA_DIR, with the hidden parts of files that are being written (`market.files`).
OURS: Final = (
    "anomalies.sqlite3*",
    "secret_key",
    "vapid_key",
    "analysis.state*",
    "nats",
    "nats.url",
    "nats.stands_in",
    "nats.token",
    "coingecko",
    "doctor.json",
    "static",
    ".*.part",
    ".gitignore",
    ".gitkeep",
    ".DS_Store",
    "lost+found",
)
# Not ours, though it may lie in a folder of ours.
_LEFT_ALONE: Final = frozenset({".gitignore", ".gitkeep", ".DS_Store", "lost+found"})


def close(folder: Path, database: Path | None = None) -> str:
    """Close the data folder and what we made in it, and the SQLite `database`, wherever it lies.

    A database that is not there yet is made, empty: SQLite gives its other files the mode of that one. Returns the
    warning to show, if others may still look into the folder; empty if not. Raises nothing: what cannot be changed
    stays as it is.
    """
    if os.name != "posix":
        return ""
    entries = _entries(folder)
    ours = _is_ours(folder, entries)
    if ours:
        _restrict(folder, PRIVATE_FOLDER)
    for entry in entries:
        if _made_by_us(entry.name):
            _restrict(Path(entry.path), PRIVATE_FOLDER if entry.is_dir(follow_symlinks=False) else PRIVATE_FILE)
    if database is not None:
        _close_database(database)
    with suppress(OSError):
        if not ours and folder.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return (
                f"{folder} is open to other users of this machine, and not a folder of this program alone. Its own "
                f"files there are closed to them. Set DATA_DIR to a folder of its own, or run: "
                f"chmod 700 {shlex.quote(str(folder))}"
            )
    return ""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _is_ours(folder: Path, entries: Iterable[os.DirEntry[str]]) -> bool:
    """Whether this user owns the folder, it is not one that everybody writes to, and only our files are in it."""
    try:
        status = folder.stat()
    except OSError:
        return False
    shared = status.st_mode & (stat.S_ISVTX | stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.geteuid() and not shared and all(_known(entry.name) for entry in entries)


def _known(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in OURS)


def _made_by_us(name: str) -> bool:
    return _known(name) and name not in _LEFT_ALONE


def _close_database(path: Path) -> None:
    with suppress(OSError):  # FileExistsError, or a folder that is not there: Django says so
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    for file in (path, *(path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm", "-journal"))):
        _restrict(file, PRIVATE_FILE)


def _restrict(path: Path, mode: int) -> None:
    """Give a file or folder of this user that mode. A group that may write to it was let in on purpose, and stays."""
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid():
            return
        allowed = mode | (stat.S_IRWXG if status.st_mode & stat.S_IWGRP else 0)
        if (wanted := stat.S_IMODE(status.st_mode) & allowed) != stat.S_IMODE(status.st_mode):
            path.chmod(wanted)
