"""What a source of candles is, whatever it plays."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from market.clock import now_ms
from market.wire.messages import CandleBatch, SourceKind


class SourceError(Exception):
    """The source cannot play: an unreadable file, a missing column, a bad option. One sentence for the terminal.

    `detail` may name hosts: it is part of the text, but not of the `sentence` that everybody may read.
    """

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(f"{sentence} ({detail})" if detail else sentence)
        self.sentence = sentence


@dataclass(slots=True)
class Traffic:
    """What a live source counts: ticks of what is watched, connections made again, and what became of the ticks.

    `clock_ms`: by how much this machine's clock is ahead of the venue's, None if unknown.
    """

    ticks: int = 0
    reconnects: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    clock_ms: int | None = None


class Source(Protocol):
    """Candles in the order in which they close.

    `batches()` first delivers what happened before "now" as fast as it is taken (`warming` is true then), and from
    there on each batch when it is due. It waits in small pieces only, so it can share an event loop with everything
    else. `warming` and `progress` speak of the batch delivered last.
    """

    @property
    def kind(self) -> SourceKind: ...

    @property
    def venue(self) -> str: ...

    @property
    def interval(self) -> str: ...

    @property
    def symbols(self) -> Sequence[str]:
        """Every symbol the source may deliver, sorted."""

    @property
    def progress(self) -> float | None:
        """Share delivered so far, 0–1; None for a source without an end."""

    @property
    def warming(self) -> bool: ...

    @property
    def reason(self) -> str:
        """Why this plays and not what was asked for; empty when nothing else was."""

    @property
    def traffic(self) -> Traffic | None:
        """None where nothing comes over a network."""

    def describe(self) -> str:
        """One line for the terminal: what plays."""

    def batches(self) -> AsyncIterator[CandleBatch]: ...


class Clock(Protocol):
    """Where a source gets its time from; tests bring one that needs no waiting."""

    def now_ms(self) -> int: ...

    async def sleep(self, seconds: float) -> None: ...


class WallClock:
    def now_ms(self) -> int:
        return now_ms()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
