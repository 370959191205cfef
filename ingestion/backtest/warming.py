"""From when on a backtest counts: before that, detectors learn what is usual."""

from typing import Final

from ingestion.sources.recording import Recording
from market.wire.messages import interval_ms
from market.wire.times import moment

# What the methods need at least: 10 candles, and the longest window.
_CANDLES: Final = 10
_LONGEST_MS: Final = 15 * 60_000


def warm_until(recording: Recording) -> int:
    """Close time (epoch ms) up to which a backtest warms up: the recorded history, or what methods need at least."""
    if recording.history_until:
        return recording.history_until
    step_ms = interval_ms(recording.interval)
    return int(recording.close_time[0]) - step_ms + max(_LONGEST_MS, _CANDLES * step_ms)


def warming_text(recording: Recording) -> str:
    """A sentence: what of the recording is warm-up, and from when on it counts."""
    until, last = warm_until(recording), int(recording.close_time[-1])
    needed_min = max(_LONGEST_MS, _CANDLES * interval_ms(recording.interval)) // 60_000
    if recording.history_until:
        counts = f"findings count from {_time(until)} on" if last > until else "there is nothing after it"
        return f"Warm-up: the recorded history, to {_time(until)}; {counts}, as in a live analysis."
    if last <= until:
        lasts_min = max((last - int(recording.close_time[0])) // 60_000, 0)
        return (
            f"Warm-up: all of it. The detectors need {needed_min} min of candles to learn what is usual, and this "
            f"recording ends after {lasts_min} min, so a live analysis that was warm may have found more. Record with "
            "`record --with-history`, or put the candles before it in front (--merge)."
        )
    return (
        f"Warm-up: the first {needed_min} min, to {_time(until)}; findings count from then on (CUSUM and VOLATILITY "
        "need 30 min)."
    )


def _time(time_ms: int) -> str:
    return f"{moment(time_ms):%Y-%m-%d %H:%M:%S} UTC"
