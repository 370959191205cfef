"""What the candle table does beyond the contract: retention, and numbers that a failed transaction never gave out."""

import msgspec
import pytest
from pytest_django import Settings

from ingestion.models import Candle, Series
from ingestion.stream.reader import Received
from ingestion.timeseries.store import StoreRefused
from ingestion.timeseries.table import TableStore
from ingestion.timeseries.writer import CandleDestination
from market.wire.messages import CandleBatch, SourceKind, encode
from tests.ingestion.timeseries.samples import T0, a_batch

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
