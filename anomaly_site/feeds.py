"""What time it is for the feeds that the hub of this process knows."""

import contextlib

from anomaly_site.ws.hub import current_hub
from market.clock import DataClock
from market.wire.decoding import decode_feed, decode_stress
from market.wire.messages import InvalidMessage, SourceKind


def running_clock(now_ms: int) -> DataClock | None:
    """The replay's time, as the panel has it: that of its newest stress frame. The time now if a feed is no replay.

    None if no feed has reported, or the replay has no stress index yet.
    """
    hub = current_hub()
    sources: set[SourceKind] = set()
    times = []
    for (kind, _), frame in tuple(hub.live.items()) if hub else ():
        with contextlib.suppress(InvalidMessage):
            if kind == "feed":
                sources.add(decode_feed(frame.data).source)
            elif kind == "stress":
                times.append(decode_stress(frame.data).timestamp)
    if sources - {SourceKind.REPLAY}:
        return DataClock(now_ms)
    return DataClock(max(times), "replay") if sources and times else None
