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
    """How much there is in all: that of the jobs which were read, and as much by their weight of the others."""

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._known = self._known_weight = 0.0

    def add(self, work: float, weight: float) -> None:
        self._known += work
        self._known_weight += weight

    @property
    def total(self) -> float | None:
        return self._known * max(self._weight / self._known_weight, 1.0) if self._known_weight else None


@contextmanager
def shown(name: str, weight: float) -> Iterator[Advanced]:
    """Show a bar on stderr. `weight`: of all jobs."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeLeft())
    work = Work(weight)
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)

        def advanced(done: float, more: float, of: float) -> None:
            work.add(more, of)
            progress.update(task, advance=done, total=work.total)

        yield advanced
