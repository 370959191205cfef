"""The file of a backup: a ZIP with a manifest, which names every part with its size and SHA-256."""

import hashlib
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from market import files

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
PIECE: Final = 2**20
_SAY_EVERY_S: Final = 5.0
# What a manifest may take; it has a line for every part and migration.
_LONGEST_MANIFEST: Final = 4 * 2**20

Say = Callable[[str], None]


class BackupError(Exception):
    """A backup cannot be made, read or restored; the text says why, and what to do."""


class Part(msgspec.Struct, frozen=True):
    """One file in the backup: its size in bytes, uncompressed, and the SHA-256 of its content in hex."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. `made_at`: ISO 8601, UTC. `database`: `sqlite` or `postgresql`. `migrations`: of each app.

    `stream`: epoch and offset up to which the database has the stream; empty if it has nothing of it.
    """

    format: int
    version: str
    made_at: str
    database: str
    migrations: dict[str, list[str]]
    stream: list[int] = []
    parts: list[Part]


class Progress:
    """Says every few seconds how far long work is. `total`: in bytes, 0 if it is not known."""

    def __init__(self, what: str, total: int, say: Say) -> None:
        self._what, self._total, self._say = what, total, say
        self._done, self._said_s = 0, time.monotonic()

    def add(self, count: int) -> None:
        self.at(self._done + count)

    def at(self, done: int) -> None:
        self._done = done
        if (now_s := time.monotonic()) - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            of = f" of {self._total / 1e6:,.0f}" if self._total else ""
            self._say(f"{self._what}: {done / 1e6:,.0f}{of} MB")


class Writer:
    """Adds parts to a backup that is being made."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.parts: list[Part] = []

    def add(self, name: str, pieces: Iterable[bytes | memoryview]) -> Part:
        digest, size = hashlib.sha256(), 0
        with self._archive.open(name, "w", force_zip64=True) as file:
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        part = Part(name, size, digest.hexdigest())
        self.parts.append(part)
        return part


@contextmanager
def writing(to: Path) -> Iterator[tuple[Writer, Callable[[Manifest], None]]]:
    """Make the file `to`, readable by its owner only; it is there when the block ends, and not before.

    Yields the writer, and what takes the manifest at the end. Raises `OSError`.
    """
    with files.replacing(to, files.PRIVATE) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            yield Writer(archive), lambda manifest: archive.writestr(MANIFEST, msgspec.json.encode(manifest))


@contextmanager
def opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    """The backup at `path` and its manifest. Raises `BackupError`."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            yield archive, _manifest(archive, path)
    except FileNotFoundError:
        raise BackupError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise BackupError(f"{path} is a folder; name the file of a backup in it.") from None
    except zipfile.BadZipFile as error:
        raise damaged(path, str(error)) from None


def damaged(path: Path, found: str) -> BackupError:
    return BackupError(
        f"{path} is damaged, or is no backup of `manage.py backup` ({found}). Nothing was changed; use another backup."
    )


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        if archive.getinfo(MANIFEST).file_size > _LONGEST_MANIFEST:
            raise damaged(path, "its manifest is too long")
        raw = archive.read(MANIFEST)
        found = msgspec.json.decode(raw, type=dict[str, object]).get("format")
    except (KeyError, msgspec.MsgspecError, zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise damaged(path, f"its manifest cannot be read: {error}") from None
    if isinstance(found, int) and found > FORMAT:
        raise BackupError(
            f"{path} has format {found}, and this version reads format {FORMAT}: a later version made it. Update this "
            "software, then restore."
        )
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise damaged(path, f"its manifest: {error}") from None


def pieces(archive: zipfile.ZipFile, part: Part, path: Path) -> Iterator[bytes]:
    """The content of a part. Raises `BackupError` at its end if it is not what the manifest says."""
    digest, size = hashlib.sha256(), 0
    try:
        with archive.open(part.name) as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                size += len(piece)
                yield piece
    except (KeyError, zipfile.BadZipFile, EOFError, ValueError, zlib.error) as error:
        raise damaged(path, f"{part.name}: {error}") from None
    if (size, digest.hexdigest()) != (part.size, part.sha256):
        raise damaged(path, f"{part.name} is not what the manifest says")


def of_file(file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        progress.add(len(piece))
        yield piece


def verify(archive: zipfile.ZipFile, manifest: Manifest, path: Path, say: Say) -> None:
    """Read everything, and compare it with the manifest. Raises `BackupError`."""
    progress = Progress("Checking the backup", sum(part.size for part in manifest.parts), say)
    for part in manifest.parts:
        for piece in pieces(archive, part, path):
            progress.add(len(piece))


def extract(archive: zipfile.ZipFile, part: Part, to: Path, path: Path, say: Say) -> None:
    """Write a part into the file `to`, which only its owner can read. Raises `BackupError`, `OSError`."""
    progress = Progress(f"Restoring {part.name}", part.size, say)
    with files.replacing(to, files.PRIVATE) as file:
        for piece in pieces(archive, part, path):
            file.write(piece)
            progress.add(len(piece))
