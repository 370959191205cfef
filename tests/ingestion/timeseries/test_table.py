"""What the candle table does beyond the contract: retention, and numbers that a failed transaction never gave out."""

import itertools

import msgspec
import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from ingestion.models import RECENT_END, Candle, Series
from ingestion.stream.reader import Received
from ingestion.timeseries import recent
from ingestion.timeseries.store import StoreRefused
from ingestion.timeseries.table import TableStore
from ingestion.timeseries.writer import CandleDestination
from market.wire.messages import CandleBatch, SourceKind, encode
from tests.ingestion.timeseries.samples import T0, a_batch, candle_of

pytestmark = pytest.mark.django_db
MINUTE = 60_000


@pytest.fixture(autouse=True)
def retention(settings: Settings) -> None:
    settings.CANDLE_RETENTION_S = 3600
    settings.CANDLE_RETENTION_SHORT_S = 10


def _closes(store: TableStore, symbol: str, interval: str) -> list[int]:
    found = store.read(symbol, interval, start_ms=0, end_ms=T0 * 2, limit=1000)
    return [candle.close_time - T0 for candle in found]


def test_short_candles_go_first() -> None:
    store = TableStore()
    store.write([a_batch(T0 + n * 1000, interval="1s") for n in range(30)])
    store.write([a_batch(T0 + n * MINUTE) for n in range(-100, 1)])
    assert store.prune(now_ms=T0 + 30_000) == 2 * (19 + 40)
    assert _closes(store, "BTCUSDT", "1s") == list(range(19_000, 30_000, 1000))
    assert _closes(store, "ETHUSDT", "1m") == list(range(-60 * MINUTE, 1, MINUTE))
    assert store.prune(now_ms=T0 + 30_000) == 0


def test_a_recording_is_kept_relative_to_its_own_end() -> None:
    store = TableStore()
    store.write([a_batch(T0, interval="1s")])
    assert store.prune(now_ms=T0 * 2) == 0


def test_one_candle_from_the_future_deletes_nothing() -> None:
    store = TableStore()
    store.write([a_batch(T0), a_batch(T0 * 5)])
    assert store.prune(now_ms=T0 + MINUTE) == 0


def test_a_delisted_symbol_ages_with_its_venue() -> None:
    store = TableStore()
    store.write([a_batch(T0, ("LUNAUSDT",)), a_batch(T0, ("LUNAUSDT",), venue="kraken"), a_batch(T0 + 61 * MINUTE)])
    assert store.prune(now_ms=T0 + 61 * MINUTE) == 1
    assert [candle.venue for candle in store.read("LUNAUSDT", "1m", start_ms=0, end_ms=T0 * 2, limit=9)] == ["kraken"]


def test_a_candle_the_database_cannot_take_is_refused_and_leaves_nothing_behind() -> None:
    store = TableStore()
    broken = a_batch()
    broken.close[1] = None  # type: ignore[call-overload]
    with pytest.raises(StoreRefused):
        store.write([broken])
    assert not Series.objects.exists()
    store.write([a_batch()])
    assert Candle.objects.count() == 2
    assert _closes(store, "BTCUSDT", "1m") == [0]


@pytest.mark.parametrize("interval", ["1m", "1s"])
def test_a_replay_under_a_live_venues_name_is_stored_beside_it(interval: str) -> None:
    """Whichever comes first, and at the same times: the live candles stay, and the replay has a chart of its own."""
    store = TableStore()
    writer = CandleDestination(store)
    sent = iter(range(1, 1_000))

    def write(price: float, source: SourceKind) -> None:
        for close in range(T0 - MINUTE, T0 + 1, 1_000 if interval == "1s" else MINUTE):
            prices = [price, price]
            batch = msgspec.structs.replace(
                a_batch(close, interval=interval), source=source, open=prices, high=prices, low=prices, close=prices
            )
            store.write(_decoded(writer, batch, next(sent)))

    def closes(venue: str) -> set[float]:
        found = store.read("BTCUSDT", "1m", start_ms=0, end_ms=T0 * 2, limit=1000, venue=venue)
        return {candle.close for candle in found}

    write(1.0, SourceKind.REPLAY)
    write(2.0, SourceKind.LIVE)
    write(3.0, SourceKind.REPLAY)
    write(4.0, SourceKind.SIMULATED)
    assert closes("binance") == {2.0}
    assert closes("binance-replay") == {3.0}
    assert closes("binance-simulated") == {4.0}


def _decoded(writer: CandleDestination, batch: CandleBatch, offset: int) -> list[CandleBatch]:
    return writer.decode(Received("candles.binance.1m", encode(batch), offset, T0), 1)


# --- Recent candles of SQLite ----------------------------------------------------------------------------------------

sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="other databases have every candle at its series")
times = st.integers(0, RECENT_END - 1)


@given(region=st.sampled_from([recent.SHORT, recent.LONG]), series=st.integers(1, (1 << 19) - 1), time=times)
def test_a_recent_key_is_in_its_region_and_gives_series_and_time_back(region: int, series: int, time: int) -> None:
    key = recent.key(region, series, time)
    assert (recent.series_of(key), recent.time_of(key)) == (series, time)
    assert region <= key < (recent.LONG if region == recent.SHORT else 0)


def places() -> set[str]:
    """Where rows are."""
    keys = Candle.objects.values_list("id", flat=True)
    return {"series" if key >= 0 else "long" if key >= recent.LONG else "short" for key in keys}


@sqlite
def test_minutes_move_to_their_series_and_what_is_read_stays_the_same() -> None:
    store = TableStore()
    batches = [a_batch(T0 + n * MINUTE) for n in range(5)]
    expected = [candle_of(batch, "BTCUSDT") for batch in batches]

    def read(newest: bool = False) -> list[object]:
        found = store.read("BTCUSDT", "1m", start_ms=T0 + MINUTE, end_ms=T0 + 4 * MINUTE, limit=2, newest=newest)
        return list(found)

    for batch in batches[:2]:
        store.write([batch])
    assert places() == {"long"}
    store.prune(T0)
    assert places() == {"series"}
    store.write(batches[2:])
    assert places() == {"long", "series"}
    for _ in range(2):
        assert read() == expected[1:3]
        assert read(newest=True) == expected[2:4]
        assert store.venues("BTCUSDT", "1m") == ["binance"]
        store.prune(T0)
    assert places() == {"series"}


@sqlite
def test_a_candle_written_again_after_it_moved_is_the_last_one() -> None:
    store = TableStore()
    store.write([a_batch(T0)])
    store.prune(T0)
    changed = a_batch(T0, ("ETHUSDT", "BTCUSDT"))
    store.write([changed])
    for _ in range(2):
        assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=T0 * 2, limit=9) == [candle_of(changed, "BTCUSDT")]
        store.prune(T0)
    assert Candle.objects.count() == 2


@sqlite
def test_new_seconds_take_the_place_of_expired_ones_of_their_venue_only() -> None:
    """Without waiting for `prune`. A recording of years ago keeps its own; what an earlier version wrote is read."""
    store = TableStore()
    of_before = Series.objects.create(venue="binance", symbol="BTCUSDT", interval="1s").pk << 44 | T0 - 5_000
    Candle.objects.create(id=of_before, open=1, high=1, low=1, close=7, volume=1)
    replayed = [a_batch(T0 // 2 + n * 1000, interval="1s", venue="binance-replay") for n in range(3)]
    store.write(replayed)
    for n in range(25):
        store.write([a_batch(T0 + n * 1000, interval="1s")])
    kept = [candle.close_time - T0 for candle in store.read("BTCUSDT", "1s", start_ms=T0, end_ms=T0 * 2, limit=99)]
    assert kept == list(range(14_000, 25_000, 1000))
    found = store.read("BTCUSDT", "1s", start_ms=0, end_ms=T0, limit=99)
    assert [(candle.venue, candle.close) for candle in found][-1] == ("binance", 7)
    assert len(found) == 4
    assert store.intervals("BTCUSDT", "binance-replay") == ["1s"]
    store.prune(T0 + 24_000)
    assert not Candle.objects.filter(id=of_before).exists()


@sqlite
@pytest.mark.parametrize("interval", ["1s", "1m"])
def test_every_page_of_a_series_with_gaps(interval: str) -> None:
    store = TableStore()
    step = 1000 if interval == "1s" else MINUTE
    closes = [T0 + n * step for n in (0, 1, 4, 5, 9)]
    store.write([a_batch(T0 + n * step, ("ETHUSDT",), interval=interval) for n in range(10)])
    store.write([a_batch(close, ("BTCUSDT",), interval=interval) for close in closes])
    for (start, end), limit, newest in itertools.product(((0, 10), (1, 5), (2, 4), (9, 20)), (1, 2, 9), (False, True)):
        found = store.read(
            "BTCUSDT", interval, start_ms=T0 + start * step, end_ms=T0 + end * step, limit=limit, newest=newest
        )
        inside = [close for close in closes if T0 + start * step <= close < T0 + end * step]
        assert [candle.close_time for candle in found] == (inside[-limit:] if newest else inside[:limit])
