"""What a route asks for: which anomalies, which of their changes, and when it may be disturbed."""

from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from market.wire.filters import Filter
from market.wire.messages import Anomaly, Rank, SourceKind
from market.wire.times import epoch_ms, moment

MINUTE_MS: Final = 60_000
# What is older than this when it is read, after the deliverer was down, goes into one digest.
LATE_MS: Final = 10 * MINUTE_MS
# A higher rank than any severity has: nothing breaks the quiet hours.
NOTHING: Final = int(Rank.CRITICAL) + 1


class Change(StrEnum):
    """What happened to an anomaly, or to the incident that it is a part of."""

    OPENS = "opens"
    ESCALATES = "escalates"
    TURNS = "turns"
    CLOSES = "closes"


CHANGES: Final = tuple(Change)


class Quiet(Struct, frozen=True):
    """Hours without messages, every day: from `start` to `end`, minutes of the day in the time zone `zone`.

    `end` may be on the next day. `breaks`: from this rank of severity up messages are sent all the same.
    """

    start: int
    end: int
    zone: str
    breaks: int = NOTHING

    def covers(self, at_ms: int) -> bool:
        local = moment(at_ms).astimezone(ZoneInfo(self.zone))
        minute = 60 * local.hour + local.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def ends(self, at_ms: int) -> int:
        """The end of the quiet hours that `at_ms` is in, or of the next ones."""
        return next_time(at_ms, self.end, self.zone)


class Daily(Struct, frozen=True):
    """One digest a day instead of single messages, at a minute of the day in a time zone."""

    minute: int
    zone: str


def next_time(at_ms: int, minute: int, zone: str) -> int:
    """The first moment after `at_ms` at which clocks of the zone show this minute of the day.

    A time that is skipped when clocks go forward is as much later; of one that comes twice the first counts.

    >>> moment(next_time(epoch_ms(datetime.fromisoformat("2026-03-28T12:00Z")), 7 * 60, "Europe/Berlin")).isoformat()
    '2026-03-29T05:00:00+00:00'
    """
    local = moment(at_ms).astimezone(ZoneInfo(zone))
    for days in range(3):
        day = local.date() + timedelta(days)
        found = epoch_ms(datetime.combine(day, time(minute // 60, minute % 60), ZoneInfo(zone)))
        if found > at_ms:
            return found
    raise AssertionError("no time zone skips two days")


class Rules(Struct, frozen=True, kw_only=True):
    """A route as the planning sees it.

    `sources`: the kinds of prices it delivers. `publishers`: venues of foreign publishers whose messages, which name no
    source, count as live. `per_minute`: at most so many messages that ring, 0: no limit. `escalate_after_ms`: until the
    anomaly is acknowledged or the message goes to another route as well, 0: never. `edits`: the channel can change a
    message that it has sent. `wire`: the messages of the stream are delivered along. `since_ms`: it delivers only what
    arrived after that.
    """

    id: int
    wanted: Filter
    changes: frozenset[Change] = frozenset(CHANGES)
    sources: frozenset[SourceKind] = frozenset({SourceKind.LIVE})
    publishers: frozenset[str] = frozenset()
    quiet: Quiet | None = None
    daily: Daily | None = None
    per_minute: int = 0
    escalate_after_ms: int = 0
    edits: bool = False
    wire: bool = False
    since_ms: int = 0

    def takes_source(self, message: Anomaly, *, trusted: bool = False) -> bool:
        """Whether its prices are of a kind that the route delivers.

        A message that names no source has no kind, unless it is `trusted` or of a listed publisher: then it is live.
        """
        source = message.source
        if source is None and (trusted or (message.venue is not None and message.venue in self.publishers)):
            source = SourceKind.LIVE
        return source in self.sources
