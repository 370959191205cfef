"""Score the alarms on a recording against a catalogue of real events.

An event is *hit* if an alarm is raised between its onset and one candle after its end. *Latency* is the first such
alarm minus the onset; *lead* is the event's threshold (when the catalogue's own rule found it) minus that alarm. An
alarm is *false* if it is outside of every event, from 10 minutes before the onset to 30 minutes after the end. After a
false alarm, further ones of the same symbol (or of the market) within 30 minutes are not counted. False alarms are per
day for the market and per symbol-day for symbols. An alarm is any revision except the closing one: the opening one, an
escalation ("HIGH and above" counts from the revision with HIGH on), and an update, because an event may begin while an
alert is open.

Pure: numbers in, numbers out.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median
from typing import Any, Final

import numpy as np

from market.wire.messages import (
    SEVERITIES,
    Alert,
    Anomaly,
    Lifecycle,
    MarketStress,
    Severity,
    SynchronizedMovement,
)
from market.wire.symbols import parse
from market.wire.times import epoch_ms

DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
_BEFORE_MS: Final = 10 * _MINUTE_MS
_AFTER_MS: Final = 30 * _MINUTE_MS
_REFRACTORY_MS: Final = 30 * _MINUTE_MS

EVENT_COLUMNS: Final = ("type", "symbol", "onset_ts", "end_ts")
MARKET: Final = "*MARKET*"
# The type that stands for all of them.
ALL: Final = "all"


class InvalidEvents(ValueError):
    """The catalogue cannot be read. The text says why."""


@dataclass(frozen=True)
class Event:
    """Times are close times in epoch ms. `symbol` None: the whole market.

    `file` and `venue`: its recording, and the venue that it happened on; empty if unknown.
    """

    type: str
    symbol: str | None
    onset_ms: int
    end_ms: int
    threshold_ms: int | None = None
    file: str = ""
    venue: str = ""

    def covers(self, time_ms: int) -> bool:
        """Whether an alarm at that time is about the event, with a margin before and after it."""
        return self.onset_ms - _BEFORE_MS <= time_ms <= self.end_ms + _AFTER_MS


class EventStream(StrEnum):
    """Alarms that are scored together."""

    SYNCHRONIZED_MOVEMENT = "SYNCHRONIZED_MOVEMENT"
    MARKET_STRESS = "MARKET_STRESS"
    MARKET = "either of them"
    SYMBOL = "alerts of a symbol"
    SYMBOL_ALL = "… with parts of incidents"


MARKET_STREAMS: Final = (EventStream.SYNCHRONIZED_MOVEMENT, EventStream.MARKET_STRESS, EventStream.MARKET)
SYMBOL_STREAMS: Final = (EventStream.SYMBOL, EventStream.SYMBOL_ALL)


@dataclass(frozen=True)
class Alarm:
    """One scored revision of an anomaly. `symbol` None: the whole market."""

    streams: tuple[EventStream, ...]
    symbol: str | None
    severity: Severity
    time_ms: int


@dataclass(frozen=True)
class Exposure:
    """The time that a recording covers. `days` and `symbol_days` count days with candles only: gaps have no alarms."""

    first_ms: int
    last_ms: int
    candle_ms: int
    days: float
    symbol_days: float

    def contains(self, event: Event) -> bool:
        return self.first_ms <= event.onset_ms <= self.last_ms


@dataclass(frozen=True)
class Score:
    """One stream at one minimum severity on one kind of event; scores of several recordings add up.

    `exposure_days` is days for the market, symbol-days for symbols. `false_alarms` counts against every event of the
    stream, so it is the same for all types. An alert during a market event says nothing wrong about its symbol and is
    not false; `false_alarms_strict` counts it unless there is an event of that very symbol.
    """

    stream: EventStream
    severity: Severity
    type: str
    events: int
    latencies_ms: tuple[int, ...]
    leads_ms: tuple[int, ...]
    false_alarms: int
    false_alarms_strict: int
    exposure_days: float

    @property
    def is_total(self) -> bool:
        return self.type == ALL

    @property
    def hits(self) -> int:
        return len(self.latencies_ms)

    @property
    def recall(self) -> float | None:
        return self.hits / self.events if self.events else None

    @property
    def false_per_day(self) -> float | None:
        return self.false_alarms / self.exposure_days if self.exposure_days else None

    def __add__(self, other: "Score") -> "Score":
        return Score(
            stream=self.stream,
            severity=self.severity,
            type=self.type,
            events=self.events + other.events,
            latencies_ms=self.latencies_ms + other.latencies_ms,
            leads_ms=self.leads_ms + other.leads_ms,
            false_alarms=self.false_alarms + other.false_alarms,
            false_alarms_strict=self.false_alarms_strict + other.false_alarms_strict,
            exposure_days=self.exposure_days + other.exposure_days,
        )

    def figures(self) -> dict[str, Any]:
        """Every figure under a name with its unit; None where there is nothing to measure."""
        return {
            "stream": self.stream.name,
            "severity": self.severity.value,
            "type": self.type,
            "events": self.events,
            "hits": self.hits,
            "recall": self.recall,
            "median_latency_min": _minutes(median(self.latencies_ms)) if self.latencies_ms else None,
            "p90_latency_min": _minutes(float(np.quantile(self.latencies_ms, 0.9))) if self.latencies_ms else None,
            "median_lead_min": _minutes(median(self.leads_ms)) if self.leads_ms else None,
            "false_alarms": self.false_alarms,
            "false_alarms_strict": self.false_alarms_strict,
            "exposure_days": round(self.exposure_days, 3),
            "false_alarms_per_day": self.false_per_day,
        }


def read_events(lines: Iterable[str]) -> list[Event]:
    """A catalogue in CSV: `type`, `symbol` (`*MARKET*` or none: the whole market), `onset_ts`, `end_ts` and optionally
    `threshold_ts`, `file` and `venue`; times are ISO 8601 (UTC when no zone is given). Raises `InvalidEvents`.
    """
    reader = csv.DictReader(lines)
    columns = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    if missing := [column for column in EVENT_COLUMNS if column not in columns]:
        has = f" (found: {', '.join(columns)})" if columns else ""
        raise InvalidEvents(f"column {', '.join(missing)} is missing{has}")
    events = []
    for row in reader:
        try:
            events.append(_event(row))
        except ValueError as error:
            raise InvalidEvents(f"line {reader.line_num}: {error}") from error
    return events


def _event(row: Mapping[str, str | None]) -> Event:
    onset_ms, end_ms, threshold_ms = (_time_ms(row.get(name)) for name in ("onset_ts", "end_ts", "threshold_ts"))
    if onset_ms is None or end_ms is None:
        raise ValueError("an event needs onset_ts and end_ts")
    if end_ms < onset_ms:
        raise ValueError(f"end_ts {row['end_ts']} is before onset_ts {row['onset_ts']}")
    kind, symbol = (row["type"] or "").strip(), (row["symbol"] or "").strip()
    if kind.lower() == ALL:
        raise ValueError(f"type {kind} is reserved for all types together")
    return Event(
        type=kind,
        symbol=None if symbol.upper() in ("", MARKET) else parse(symbol).symbol,
        onset_ms=onset_ms,
        end_ms=end_ms,
        threshold_ms=threshold_ms,
        file=(row.get("file") or "").strip(),
        venue=(row.get("venue") or "").strip().lower(),
    )


def _time_ms(text: str | None) -> int | None:
    text = (text or "").strip()
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is not an ISO 8601 time such as 2021-05-12T22:07:00Z") from None
    return epoch_ms(time if time.tzinfo else time.replace(tzinfo=UTC))


def alarms(anomalies: Iterable[Anomaly]) -> Iterator[Alarm]:
    """Yield every revision that does not close, as an alarm. Sector anomalies have no catalogue and are skipped."""
    for anomaly in anomalies:
        if anomaly.state is not Lifecycle.CLOSED and (alarm := _alarm(anomaly)):
            yield alarm


def _alarm(anomaly: Anomaly) -> Alarm | None:
    symbol = None
    match anomaly:
        case Alert():
            symbol = anomaly.symbol
            streams = (EventStream.SYMBOL_ALL,) if anomaly.incident else SYMBOL_STREAMS
        case SynchronizedMovement():
            streams = (EventStream.SYNCHRONIZED_MOVEMENT, EventStream.MARKET)
        case MarketStress():
            streams = (EventStream.MARKET_STRESS, EventStream.MARKET)
        case _:
            return None
    # An alert that an incident adopts keeps the timestamp of the candle that it is about.
    return Alarm(streams, symbol, anomaly.severity, anomaly.detected_at)


def score(alarms: Sequence[Alarm], events: Sequence[Event], exposure: Exposure) -> list[Score]:
    """Every stream at every minimum severity on every type of event it is about, and on all of them together (`ALL`).

    Only events that begin in the recording can be hit; one that began before excuses alarms as any other does.
    """
    inside = [event for event in events if exposure.contains(event)]
    scores = []
    for stream in EventStream:
        about_market = stream in MARKET_STREAMS
        concerned = [event for event in inside if (event.symbol is None) is about_market]
        days = exposure.days if about_market else exposure.symbol_days
        for severity in SEVERITIES:
            times = _times_by_symbol(alarms, stream, severity)
            false = sum(_false(found, _about(events, symbol, market=True)) for symbol, found in times.items())
            strict = sum(_false(found, _about(events, symbol, market=False)) for symbol, found in times.items())
            firsts = [(event, _first_hit(times.get(event.symbol, []), event, exposure)) for event in concerned]
            for kind in (ALL, *sorted({event.type for event in concerned})):
                of_kind = [(event, first) for event, first in firsts if kind in (ALL, event.type)]
                hit = [(event, first) for event, first in of_kind if first is not None]
                scores.append(
                    Score(
                        stream=stream,
                        severity=severity,
                        type=kind,
                        events=len(of_kind),
                        latencies_ms=tuple(first - event.onset_ms for event, first in hit),
                        leads_ms=tuple(e.threshold_ms - first for e, first in hit if e.threshold_ms is not None),
                        false_alarms=false,
                        false_alarms_strict=strict,
                        exposure_days=days,
                    )
                )
    return scores


def pool(scores: Iterable[Score]) -> list[Score]:
    """Scores of several recordings added up. Only type "all" is in every recording and has all the false alarms."""
    total: dict[tuple[EventStream, Severity, str], Score] = {}
    for one in scores:
        key = (one.stream, one.severity, one.type)
        total[key] = total[key] + one if key in total else one
    order = [(stream, severity) for stream in EventStream for severity in SEVERITIES]
    return sorted(total.values(), key=lambda one: order.index((one.stream, one.severity)))


def _times_by_symbol(alarms: Sequence[Alarm], stream: EventStream, severity: Severity) -> dict[str | None, list[int]]:
    times: dict[str | None, list[int]] = {}
    for alarm in alarms:
        if stream in alarm.streams and alarm.severity.rank >= severity.rank:
            times.setdefault(alarm.symbol, []).append(alarm.time_ms)
    for found in times.values():
        found.sort()
    return times


def _about(events: Sequence[Event], symbol: str | None, *, market: bool) -> list[Event]:
    """The events of a symbol (None: of the market), and with `market` those of the market as well."""
    return [event for event in events if event.symbol == symbol or (market and event.symbol is None)]


def _first_hit(times: Sequence[int], event: Event, exposure: Exposure) -> int | None:
    last_ms = event.end_ms + exposure.candle_ms
    return next((time for time in times if event.onset_ms <= time <= last_ms), None)


def _false(times: Sequence[int], events: Sequence[Event]) -> int:
    count, quiet_until_ms = 0, 0
    for time in times:
        if time >= quiet_until_ms and not any(event.covers(time) for event in events):
            count += 1
            quiet_until_ms = time + _REFRACTORY_MS
    return count


def _minutes(ms: float) -> float:
    return round(ms / _MINUTE_MS, 3)
