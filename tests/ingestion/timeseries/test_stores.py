"""The contract of `CandleStore`, for every backend that can run here."""

import pytest

from ingestion.timeseries.influx.candles import InfluxCandles
from ingestion.timeseries.store import CandleStore
from ingestion.timeseries.table import TableStore
from tests.ingestion.timeseries.conftest import INFLUXDB, influx_server
from tests.ingestion.timeseries.samples import T0, a_batch, candle_of

MINUTE = 60_000
BATCHES = [a_batch(T0 + n * MINUTE) for n in range(5)]
BTC = [candle_of(batch, "BTCUSDT") for batch in BATCHES]
FOR_EVER = 10_000_000_000_000


@pytest.fixture(params=[pytest.param("table", marks=pytest.mark.django_db), *INFLUXDB])
def store(request: pytest.FixtureRequest) -> CandleStore:
    return TableStore() if request.param == "table" else InfluxCandles(influx_server(request))


def test_nothing_written_nothing_found(store: CandleStore) -> None:
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=9) == []


def test_what_is_written_is_read(store: CandleStore) -> None:
    store.write(BATCHES)
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=100) == BTC
    assert store.read("ETHUSDT", "1m", start_ms=T0, end_ms=T0 + 1, limit=100) == [candle_of(BATCHES[0], "ETHUSDT")]


def test_the_range_is_half_open(store: CandleStore) -> None:
    store.write(BATCHES)
    assert store.read("BTCUSDT", "1m", start_ms=T0 + MINUTE, end_ms=T0 + 3 * MINUTE, limit=100) == BTC[1:3]
    assert store.read("BTCUSDT", "1m", start_ms=T0 + 1, end_ms=T0 + 2 * MINUTE + 1, limit=100) == BTC[1:3]


def test_the_limit_takes_the_first_or_the_newest(store: CandleStore) -> None:
    store.write(BATCHES)
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=2) == BTC[:2]
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=2, newest=True) == BTC[-2:]
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=T0 + 3 * MINUTE, limit=2, newest=True) == BTC[1:3]


def test_written_again_is_replaced(store: CandleStore) -> None:
    store.write(BATCHES[:1])
    changed = a_batch(T0, ("ETHUSDT", "BTCUSDT"))
    store.write([BATCHES[0], changed])
    store.write([changed])
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=9) == [candle_of(changed, "BTCUSDT")]


def test_series_do_not_mix(store: CandleStore) -> None:
    seconds = a_batch(T0, interval="1s")
    elsewhere = a_batch(T0, ("BTCUSDT",), venue="kraken")
    store.write([*BATCHES, seconds, elsewhere])
    assert store.read("BTCUSDT", "1s", start_ms=0, end_ms=FOR_EVER, limit=9) == [candle_of(seconds, "BTCUSDT")]
    kraken = candle_of(elsewhere, "BTCUSDT")
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=9, venue="kraken") == [kraken]
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=9) == [BTC[0], kraken, *BTC[1:]]
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=2) == [BTC[0], kraken]


def test_extremes_survive(store: CandleStore) -> None:
    """Floats come back bit for bit: the cheapest coin, the largest volume, and zero."""
    batch = a_batch(T0, ("PEPEUSDT",))
    batch.open[0], batch.high[0], batch.low[0], batch.close[0] = 1.04e-05, 1.0000000000000002, 5e-324, 0.1 + 0.2
    batch.volume[0] = 1.7e308
    empty = a_batch(T0 + MINUTE, ("PEPEUSDT",))
    empty.volume[0] = 0.0
    store.write([batch, empty, a_batch(T0, ())])
    found = store.read("PEPEUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=9)
    assert found == [candle_of(batch, "PEPEUSDT"), candle_of(empty, "PEPEUSDT")]


@pytest.mark.parametrize(
    "text",
    [
        "BTCUSDT' OR '1'='1",
        "BTCUSDT' OR 1=1 --",
        "'; DROP SERIES FROM candles; SELECT * FROM candles WHERE symbol = 'BTCUSDT",
        '" OR "symbol" =~ /.*/ OR "symbol" = "',
        "BTCUSDT\\' OR symbol != \\'",
        '") |> drop() //',
        "${symbol}",
        "$symbol",
        "BTCUSDT\n",
        "BTCUSDT\\",
        "BTC%",
        "",
    ],
)
def test_what_is_asked_for_is_a_value_and_nothing_else(store: CandleStore, text: str) -> None:
    """An injected text finds what has that very name: nothing. And everything is still there afterwards."""
    store.write(BATCHES)
    assert store.read(text, "1m", start_ms=0, end_ms=FOR_EVER, limit=9) == []
    assert store.read("BTCUSDT", text or "x", start_ms=0, end_ms=FOR_EVER, limit=9) == []
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=9, venue=text or "x") == []
    assert store.read("BTCUSDT", "1m", start_ms=0, end_ms=FOR_EVER, limit=9) == BTC
