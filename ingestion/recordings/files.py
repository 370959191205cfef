"""Which files are recordings, and their bytes: folders, archives, compression, checksums, limits."""

import bz2
import codecs
import gzip
import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa

from ingestion.recordings.errors import RecordingError
from market.printable import printable

TEXT: Final = (".csv", ".tsv", ".txt", ".json")
COLUMNAR: Final = (".parquet", ".feather", ".arrow")
COMPRESSED: Final = (".gz", ".zst", ".bz2")
ARCHIVE: Final = ".zip"
SUFFIXES: Final = (*COLUMNAR, *TEXT, *(text + packed for text in TEXT for packed in COMPRESSED), ARCHIVE)
CHECKSUM: Final = ".checksum"

# A text file grows no larger than this, whatever it is compressed with.
MAX_BYTES: Final = 64 << 30
# Prices compress 3 to 20 times. Beyond this, what is small on disk is not a recording.
MAX_RATIO: Final = 250
_RATIO_FROM: Final = 64 << 20
# What the libraries raise for a damaged file.
DAMAGED: Final = (EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Item:
    """One table: a file, or a member of an archive."""

    path: Path
    member: str = ""

    @property
    def label(self) -> str:
        return f"{self.path}: {printable(self.member)}" if self.member else str(self.path)

    @property
    def names(self) -> tuple[str, ...]:
        """Where symbol and interval may stand, the nearest name first."""
        return (self.member, str(self.path)) if self.member else (str(self.path),)

    @property
    def suffix(self) -> str:
        """The kind of table: `.csv` of `a.csv.gz`."""
        name = (self.member or self.path.name).lower()
        for packed in COMPRESSED:
            name = name.removesuffix(packed)
        return Path(name).suffix


@dataclass
class Found:
    """Files to read, and what was left out of folders with the reason."""

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    in_folder: set[Path] = field(default_factory=set)


def find(paths: Sequence[Path]) -> Found:
    """Replace every folder by the recordings in it, at any depth. Raises `RecordingError` if there are none."""
    found = Found()
    for path in paths:
        if not path.is_dir():
            found.files.append(path)
            continue
        count = len(found.files)
        for file in sorted(path.rglob("*")):
            _sort_in(file, path, found)
        if len(found.files) == count:
            seen = f" ({_first(found.skipped)})" if found.skipped else ""
            raise RecordingError(f"{path}: no {', '.join(SUFFIXES[:4])} or other recording file in this folder{seen}")
        found.in_folder.update(found.files[count:])
    return found


def _first(skipped: Sequence[tuple[Path, str]]) -> str:
    return f"skipped {skipped[0][0].name}: {skipped[0][1]}" + (f", {len(skipped) - 1} more" if skipped[1:] else "")


def _sort_in(file: Path, folder: Path, found: Found) -> None:
    parts = file.relative_to(folder).parts
    if file.is_dir():
        return
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        found.skipped.append((file, "hidden or system file"))
    elif file.name.lower().endswith(CHECKSUM):
        pass
    elif not file.name.lower().endswith(SUFFIXES):
        found.skipped.append((file, "not a kind of file that holds recordings"))
    elif not file.is_file():
        found.skipped.append((file, "not a regular file"))
    elif file.stat().st_size == 0:
        found.skipped.append((file, "empty"))
    else:
        found.files.append(file)


def items(path: Path) -> list[Item]:
    """The tables in a file: itself, or the members of an archive. Raises `RecordingError`."""
    _want_file(path)
    if not path.name.lower().endswith(SUFFIXES):
        kinds = f"{', '.join((*COLUMNAR, *TEXT))}, {ARCHIVE}, text also with {', '.join(COMPRESSED)}"
        raise RecordingError(f"{path}: a recording is a file of one of these kinds: {kinds}")
    if not path.name.lower().endswith(ARCHIVE):
        return [Item(path)]
    with reading(path), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir() and _is_table(info.filename)]
    if not members:
        raise RecordingError(f"{path}: no {', '.join((*COLUMNAR, *TEXT))} file in this archive")
    return [Item(path, info.filename) for info in members]


def _is_table(member: str) -> bool:
    parts = member.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and member.lower().endswith(SUFFIXES) and not member.lower().endswith(ARCHIVE)


def _want_file(path: Path) -> None:
    with reading(path):
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for name, test in _KINDS.items() if test(mode)), "special file")
        raise RecordingError(f"{path}: this is a {kind}; a recording is a regular file, because it is read twice")


_KINDS: Final = {"fifo": stat.S_ISFIFO, "device": stat.S_ISCHR, "block device": stat.S_ISBLK, "socket": stat.S_ISSOCK}


def check_sum(path: Path) -> bool:
    """Compare the file with the SHA-256 of `<file>.CHECKSUM` beside it; False when there is none.

    Raises `RecordingError` when they differ.
    """
    beside = next((name for end in (CHECKSUM.upper(), CHECKSUM) if (name := Path(f"{path}{end}")).is_file()), None)
    if beside is None:
        return False
    with reading(beside):
        words = beside.read_text(errors="replace").split()
    with reading(path), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not words or words[0].lower() != found:
        raise RecordingError(
            f"{path}: its SHA-256 is {found[:16]}…, but {beside.name} has {(words or ['nothing'])[0][:16]}…: "
            "the file is damaged or incomplete; download it again"
        )
    return True


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn what the libraries raise into one sentence that names the file."""
    kind = Path(path).suffix[1:] or "file"
    try:
        yield
    except FileNotFoundError:
        raise RecordingError(f"{path}: no such file") from None
    except pa.ArrowException as error:
        raise RecordingError(f"{path}: not readable as {kind} ({str(error).splitlines()[0]})") from error
    except OSError as error:
        why = error.strerror or (str(error).splitlines() or ["it is damaged"])[0]
        raise RecordingError(f"{path}: not readable as {kind} ({why})") from error
    except DAMAGED as error:
        raise RecordingError(f"{path}: not readable as {kind} ({error or 'it ends too early'})") from error


@contextmanager
def opened(item: Item) -> Iterator["_Limited"]:
    """The item's bytes, decompressed, up to the limits. Columnar files of an archive are read into memory."""
    with item.path.open("rb") as file:
        if not item.member:
            yield _Limited(_decompressed(file, item.path.name), item, item.path.stat().st_size)
            return
        with zipfile.ZipFile(file) as archive, archive.open(item.member) as packed:
            size = archive.getinfo(item.member).compress_size
            yield _Limited(_decompressed(packed, item.member), item, size)


def _decompressed(file: IO[bytes], name: str) -> Any:
    name = name.lower()
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=file)
    if name.endswith(".bz2"):
        return bz2.BZ2File(file)
    if name.endswith(".zst"):
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    return file


class _Limited(io.RawIOBase):
    """Reads `inner`, and raises `RecordingError` when it gives more than a recording can have."""

    def __init__(self, inner: Any, item: Item, packed_bytes: int) -> None:
        self._inner = inner
        self._item = item
        self._packed = max(packed_bytes, 1)
        self._read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        data: bytes = self._inner.read(size)
        self._read += len(data)
        if self._read > MAX_BYTES or (self._read > _RATIO_FROM and self._read > MAX_RATIO * self._packed):
            raise RecordingError(
                f"{self._item.label}: {self._packed:,} bytes become more than {self._read:,} when decompressed; "
                f"a recording grows at most {MAX_RATIO} times and to {MAX_BYTES >> 30} GiB"
            )
        return data


class Utf8(io.RawIOBase):
    """Text as valid UTF-8: what is not becomes a replacement character, which makes one cell unreadable, not a file."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = b""
        self._clean = True

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if len(self._pending) >= size > 0:
                break
            data = self._inner.read(size)
            if self._clean and not self._pending and data.isascii():
                return bytes(data)
            text = self._decoder.decode(data, final=not data)
            self._clean = not self._decoder.getstate()[0]
            self._pending += text.encode()
            if self._pending or not data:
                break
        data, self._pending = self._pending[:size], self._pending[size:]
        return data
