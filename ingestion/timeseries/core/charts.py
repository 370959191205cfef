"""Stored candles become longer ones for charts. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ingestion.timeseries.store import StoredCandle
from market.wire.messages import interval_ms

# What shorter candles are rolled up to, on request.
rolled_up = ("3m", "15m", "1h", "4h", "1d")


def base_of(interval: str, known: Iterable[str]) -> str | None:
    """The longest of the known intervals that the asked one is made of; itself if it is known. None: there is none."""
    asked = interval_ms(interval)
    fitting = [one for one in known if asked % interval_ms(one) == 0]
    return max(fitting, key=interval_ms, default=None)


def end_of(close_time: int, step_ms: int) -> int:
    """When the longer candle closes that a shorter one is in: intervals begin at multiples of their length (UTC).

    >>> end_of(60_000, 180_000), end_of(180_000, 180_000)
    (180000, 180000)
    """
    return -(-close_time // step_ms) * step_ms


def roll_up(candles: Sequence[StoredCandle], interval: str, *, over: bool = False) -> Iterator[StoredCandle]:
    """The longer candles of one venue's candles of a symbol, which are in the order of time.

    A candle is made of those that there are. The last one is left out unless a candle closes at its end, or it is known
    to be `over`.
    """
    step_ms = interval_ms(interval)
    last = candles[-1].close_time if candles else 0
    for end, group in groupby(candles, key=lambda candle: end_of(candle.close_time, step_ms)):
        if end > last and not over:
            return
        parts = list(group)
        yield StoredCandle(
            venue=parts[0].venue,
            close_time=end,
            open=parts[0].open,
            high=max(one.high for one in parts),
            low=min(one.low for one in parts),
            close=parts[-1].close,
            volume=sum(one.volume for one in parts),
        )
