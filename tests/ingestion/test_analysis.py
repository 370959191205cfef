"""One engine for every venue and interval: what they say together."""

import heapq

from ingestion.analysis import Analysis
from tests.market.recordings import recording

SYMBOLS = 20


def test_a_venue_has_one_live_index_the_one_of_its_shortest_candles_that_still_come() -> None:
    minutes, ended = 120, 60
    fine, coarse = (
        list(recording(SYMBOLS, count, interval)) for interval, count in (("1m", minutes), ("5m", minutes // 5))
    )
    analysis = Analysis()
    told: list[str] = []
    for batch in heapq.merge(fine[:ended], coarse, key=lambda batch: batch.close_time):
        analysis.update(batch, batch.close_time)
        if batch.close_time > coarse[0].close_time:
            told += [index.interval for index in analysis.stress()]
    assert set(told[:ended]) == {"1m"}
    assert set(told[-5:]) == {"5m"}
