"""`GET /candles`."""

import pytest
from django.test import Client

from ingestion.models import TIME_BITS, Candle, Series
from ingestion.timeseries.stores import candle_store
from tests.ingestion.timeseries.samples import T0, a_batch, candle_of

pytestmark = pytest.mark.django_db
MINUTE = 60_000
BATCHES = [a_batch(T0 + n * MINUTE) for n in range(5)]


@pytest.fixture
def client() -> Client:
    """Django's, not the NATS client of the tests around here."""
    return Client()


@pytest.fixture(autouse=True)
def candles() -> None:
    candle_store.cache_clear()
    candle_store().write([*BATCHES, a_batch(T0, ("SOLUSDT",)), a_batch(T0, ("SOLUSDT",), venue="kraken")])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("symbol=BTCUSDT", [0, 1, 2, 3, 4]),
        ("symbol=btc/usdt&interval=1m&venue=binance", [0, 1, 2, 3, 4]),
        ("symbol=BINANCE:BTCUSDT", [0, 1, 2, 3, 4]),
        ("symbol=BINANCE:BTCUSDT.P", []),
        ("symbol=BTCUSDT&limit=2", [3, 4]),
        (f"symbol=BTCUSDT&limit=2&to={T0 + MINUTE * 2}", [0, 1]),
        (f"symbol=BTCUSDT&from={T0 + MINUTE}&to={T0 + MINUTE * 3}", [1, 2]),
        ("symbol=BTCUSDT&from=2025-10-09T08:55:00Z&to=2025-10-09T08:56:00Z", [1]),
        ("symbol=BTCUSDT&interval=1h", []),
        ("symbol=NOPE", []),
        ("symbol=BTCUSDT&venue=kraken", []),
        ("symbol=BTCUSDT&venue=Kraken", []),
    ],
)
def test_ranges(client: Client, query: str, found: list[int]) -> None:
    answer = client.get(f"/candles?{query}").json()
    assert [candle["timestamp"] for candle in answer["candles"]] == [BATCHES[index].close_time for index in found]
    assert answer["next"] is None
    assert answer["venue"] == ("binance" if found else None)


def test_a_candle_in_full(client: Client) -> None:
    expected = candle_of(BATCHES[4], "ETHUSDT")
    assert client.get("/candles?symbol=ETHUSDT&limit=1").json() == {
        "symbol": "ETHUSDT",
        "interval": "1m",
        "venue": "binance",
        "next": None,
        "candles": [
            {
                "timestamp": expected.close_time,
                "open": expected.open,
                "high": expected.high,
                "low": expected.low,
                "close": expected.close,
                "volume": expected.volume,
            }
        ],
    }


@pytest.mark.parametrize("ahead", ["binance", "kraken"])
def test_a_venue_that_lags_is_not_overlooked(client: Client, ahead: str) -> None:
    candle_store().write([a_batch(T0 + n * MINUTE, ("SOLUSDT",), venue=ahead) for n in range(1, 6)])
    assert client.get("/candles?symbol=SOLUSDT&limit=1").status_code == 400
    answer = client.get(f"/candles?symbol=SOLUSDT&limit=1&venue={ahead}").json()
    assert [candle["timestamp"] for candle in answer["candles"]] == [T0 + 5 * MINUTE]


def test_a_venue_outside_of_the_range_is_not_overlooked(client: Client) -> None:
    candle_store().write([a_batch(T0 + n * MINUTE, ("SOLUSDT",), venue="kraken") for n in range(1, 140)])
    for query in ("limit=1", f"from={T0}&to={T0 + MINUTE}", f"from={T0 + MINUTE}"):
        answer = client.get(f"/candles?symbol=SOLUSDT&{query}")
        assert answer.status_code == 400
        assert answer.json() == {"venue": "SOLUSDT is on binance, kraken: choose one of them."}


def test_a_venue_whose_candles_are_gone_is_no_choice(client: Client) -> None:
    Candle.objects.filter(id__gte=Series.objects.get(venue="kraken", symbol="SOLUSDT").pk << TIME_BITS).delete()
    assert client.get("/candles?symbol=SOLUSDT").json()["venue"] == "binance"


def test_next_leads_through_the_range(client: Client) -> None:
    url, times = f"/candles?symbol=BTCUSDT&from={T0}&limit=2", []
    while url:
        answer = client.get(url).json()
        times.append([candle["timestamp"] for candle in answer["candles"]])
        url = answer["next"]
    closes = [batch.close_time for batch in BATCHES]
    assert times == [closes[:2], closes[2:4], closes[4:]]


@pytest.mark.parametrize(
    ("query", "parameter", "says"),
    [
        ("", "symbol", "required"),
        ("symbol=", "symbol", "blank"),
        ("symbol=BTC'USDT", "symbol", "BTCUSDT"),
        ("symbol=BTCUSDT&interval=1m' OR 1=1", "interval", "1s, 1m, 5m, 1h"),
        ("symbol=BTCUSDT&interval=", "interval", "blank"),
        ("symbol=BTCUSDT&venue=$venue", "venue", "binance"),
        ("symbol=BTCUSDT&from=yesterday", "from", "ISO 8601"),
        ("symbol=BTCUSDT&to=NaN", "to", "ISO 8601"),
        ("symbol=BTCUSDT&limit=0", "limit", "1"),
        ("symbol=BTCUSDT&limit=5001", "limit", "5000"),
        ("symbol=BTCUSDT&limit=ten", "limit", "integer"),
        (f"symbol=BTCUSDT&from={T0}&to={T0 - 1}", "to", "ends before"),
        ("symbol=BTCUSDT&form=1", "form", "Known: format, from, interval, limit, symbol, to, venue"),
        ("symbol=SOLUSDT", "venue", "SOLUSDT is on binance, kraken"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(client: Client, query: str, parameter: str, says: str) -> None:
    response = client.get(f"/candles?{query}")
    assert response.status_code == 400
    assert says in str(response.json()[parameter])


def test_it_is_in_the_schema(client: Client) -> None:
    schema = client.get("/schema?format=json").json()
    parameters = {parameter["name"] for parameter in schema["paths"]["/candles"]["get"]["parameters"]}
    assert {"symbol", "interval", "from", "to", "limit", "venue"} <= parameters
