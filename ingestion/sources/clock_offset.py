"""How far this machine's clock is from a venue's, from the ticks that arrive anyway. Pure."""

from typing import Final

_SPAN_MS: Final = 10_000
_EVERY_MS: Final = 100
_LEAST: Final = 10


class ClockOffset:
    """`ahead_ms`: by how much this machine's clock is ahead of the venue's; negative: behind; None: not known yet.

    A tick arrives some time after the venue's time on it, never before. So the offset is the lowest tenth of the delays
    of ten seconds (of at least ten ticks, one every 100 ms): a few ticks with a wrong time do not count, nor does a
    line that is slow now and then. Ticks that are all late look as if this clock were ahead.
    """

    def __init__(self) -> None:
        self.ahead_ms: int | None = None
        self._delays: list[int] = []
        self._since_ms = 0
        self._due_ms = 0

    def observe(self, time_ms: int, received_ms: int) -> bool:
        """Learn from a tick of venue time `time_ms`; True if `ahead_ms` is a new figure."""
        if received_ms < self._due_ms <= received_ms + _EVERY_MS:
            return False
        if received_ms < self._due_ms or not self._delays:  # somebody set the clock back, or a span begins
            self._delays.clear()
            self._since_ms = received_ms
        self._due_ms = received_ms + _EVERY_MS
        self._delays.append(received_ms - time_ms)
        if len(self._delays) < _LEAST or received_ms - self._since_ms < _SPAN_MS:
            return False
        self.ahead_ms = sorted(self._delays)[len(self._delays) // 10]
        self._delays.clear()
        return True
