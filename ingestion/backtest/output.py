"""Result files that are complete or absent."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from market.files import beside, put


class Output:
    """A file that replaces `path` when `keep` is called. Until then, and after a failure, `path` stays as it is.

    A device, a pipe and everything under `/dev` (such as `/dev/stdout`) are written to directly; a link is followed.
    Every `OSError` names `path`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._direct = path.absolute().is_relative_to("/dev") or (path.exists() and not path.is_file())
        self._place = path if self._direct else path.resolve()
        self._written = path if self._direct else beside(self._place)
        with self._naming_path():
            self._file = self._written.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._file.close()
        if not self._direct:
            self._written.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        with self._naming_path():
            self._file.write(data)

    def keep(self) -> None:
        with self._naming_path():
            self._file.close()
            if not self._direct:
                put(self._written, self._place)

    @contextmanager
    def _naming_path(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
