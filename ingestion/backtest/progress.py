"""A progress bar over jobs, with the time left from the start on, not from the last seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
from rich.progress import Task as Shown
from rich.text import Text

from ingestion.backtest.jobs import Advanced

# Before that much is done, nothing is known about the speed.
_KNOWN_FROM: Final = 0.01


class TimeLeft(ProgressColumn):
    """What is left, at the speed of what was done since the beginning."""

    def render(self, task: Shown) -> Text:
        left = time_left_s(task.completed, task.total, task.elapsed)
        return Text("-:--:--" if left is None else str(timedelta(seconds=round(left))), style="progress.remaining")


def time_left_s(done: float, work: float | None, elapsed_s: float | None) -> float | None:
    """
    >>> time_left_s(10.0, 40.0, 5.0)
    15.0
    """
    if not work or elapsed_s is None or done < _KNOWN_FROM * work:
        return None
    return elapsed_s * max(work - done, 0.0) / done


class Work:
    """How much there is in all: that of the jobs which were read, and as much a byte of the others."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known = self._known_size = 0.0

    def add(self, work: float, size: int) -> None:
        self._known += work
        self._known_size += size

    @property
    def total(self) -> float | None:
        return self._known * max(self._size / self._known_size, 1.0) if self._known_size else None


@contextmanager
def shown(name: str, size: int) -> Iterator[Advanced]:
    """Show a bar on stderr. `size`: bytes of the files of all jobs."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeLeft())
    work = Work(size)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)

        def advanced(done: float, more: float, of: int) -> None:
            work.add(more, of)
            progress.update(task, advance=done, total=work.total)

        yield advanced
