"""Results in a file that is whole, or not there."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from market.files import beside, put


class Output:
    """A file that takes its place when all of it is written; until then, or when something fails, what is there stays.
    A device or a pipe (whatever is under `/dev`, too, such as `/dev/stdout`) is written to as it is, a link leads to
    what it names. Its `OSError`s tell `path`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._direct = path.absolute().is_relative_to("/dev") or (path.exists() and not path.is_file())
        self._place = path if self._direct else path.resolve()
        self._written = path if self._direct else beside(self._place)
        with self._telling():
            self._file = self._written.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._file.close()
        if not self._direct:
            self._written.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        with self._telling():
            self._file.write(data)

    def keep(self) -> None:
        with self._telling():
            self._file.close()
            if not self._direct:
                put(self._written, self._place)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
