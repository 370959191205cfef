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


@pytest.mark.parametrize(
    ("query", "intervals"),
    [
        ("symbol=BTCUSDT&interval=3m", ["1m"]),
        ("symbol=BTCUSDT&interval=3m&venue=kraken", None),
        ("symbol=BTCUSDT&from=9999999999999", None),
        ("symbol=NOPE&interval=3m", None),
    ],
)
def test_an_interval_that_is_not_there_names_those_that_are(
    client: Client, query: str, intervals: list[str] | None
) -> None:
    answer = client.get(f"/candles?{query}").json()
    assert (answer["candles"], answer.get("intervals")) == ([], intervals)


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
    candle_store().prune(0)  # every candle is at its series
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
        ("symbol=BTCUSDT&form=1", "form", "Known: format, from, interval, limit, rollup, symbol, symbols, to, venue"),
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


# --- Charts: many symbols, and longer candles -------------------------------------------------------------------------


def test_many_symbols_in_one_answer(client: Client) -> None:
    answer = client.get("/candles?symbols=BTCUSDT,eth/usdt,NOPE&limit=2").json()
    alone = [client.get(f"/candles?symbol={symbol}&limit=2").json() for symbol in ("BTCUSDT", "ETHUSDT", "NOPE")]
    assert answer.pop("series") == [one | {"made_of": "1m"} for one in alone]
    assert answer == {
        "symbol": "BTCUSDT,ETHUSDT,NOPE", "interval": "1m", "venue": None, "next": None, "candles": []
    }  # fmt: skip


def minutes(count: int, *, without: tuple[int, ...] = ()) -> list[int]:
    """Candles of BTCUSDT on okx from T0's hour on; returns their closes."""
    batches = [a_batch(HOUR + n * MINUTE, ("BTCUSDT",), venue="okx") for n in range(1, count + 1) if n not in without]
    candle_store().write(batches)
    return [batch.close_time for batch in batches]


HOUR = T0 - T0 % 3_600_000


@pytest.mark.parametrize(("interval", "factor"), [("3m", 3), ("15m", 15), ("1h", 60)])
def test_longer_candles_are_made_of_those_that_are_stored(client: Client, interval: str, factor: int) -> None:
    minutes(185)
    answer = client.get(f"/candles?symbol=BTCUSDT&venue=okx&interval={interval}&rollup=true").json()
    stored = client.get("/candles?symbol=BTCUSDT&venue=okx&limit=500").json()["candles"]
    groups = [stored[n : n + factor] for n in range(0, len(stored) - factor + 1, factor)]
    assert answer["made_of"] == "1m"
    assert answer["candles"] == [
        {
            "timestamp": group[-1]["timestamp"],
            "open": group[0]["open"],
            "high": max(one["high"] for one in group),
            "low": min(one["low"] for one in group),
            "close": group[-1]["close"],
            "volume": sum(one["volume"] for one in group),
        }
        for group in groups
    ]


def test_pages_of_longer_candles_join_and_a_candle_under_way_is_left_out(client: Client) -> None:
    minutes(100, without=(15, 29, 30, 31, 90))
    query = f"symbol=BTCUSDT&venue=okx&interval=15m&rollup=true&from={HOUR}"
    whole = client.get(f"/candles?{query}").json()
    assert [one["timestamp"] - HOUR for one in whole["candles"]] == [n * 15 * MINUTE for n in range(1, 7)]
    pages, url = [], f"/candles?{query}&limit=2"
    while url:
        page = client.get(url).json()
        pages += page["candles"]
        url = page["next"]
    assert pages == whole["candles"]
    newest = client.get(f"/candles?{query.replace(f'&from={HOUR}', '')}&limit=4").json()
    assert newest["candles"] == whole["candles"][-4:]
    until = client.get(f"/candles?{query}&to={HOUR + 31 * MINUTE}").json()
    assert until["candles"] == whole["candles"][:2]


def test_an_interval_that_there_is_not_is_answered_with_those_that_there_are(client: Client) -> None:
    minutes(5)
    answer = client.get("/candles?symbols=BTCUSDT&venue=okx&interval=2m")
    assert answer.status_code == 400
    assert answer.json()["interval"] == (
        "There are no 2m candles of BTCUSDT: there are 1m; rollup=true makes 3m, 15m, 1h, 4h and 1d of them."
    )
    answer = client.get("/candles?symbol=BTCUSDT&venue=okx&interval=7m&rollup=true")
    assert "there are 1m (3m, 15m, 1h, 4h and 1d can be made" in answer.json()["interval"]


@pytest.mark.parametrize(
    ("query", "parameter", "says"),
    [
        ("symbols=BTCUSDT&symbol=ETHUSDT", "symbols", "Found symbol and symbols"),
        (f"symbols={','.join(f'C{n}USDT' for n in range(51))}", "symbols", "Found 51 symbols; expected 1 to 50"),
        ("symbols=,", "symbols", "Found 0 symbols"),
        ("symbols=BTCUSDT,!", "symbols", "!"),
        ("symbols=SOLUSDT,BTCUSDT", "venue", "SOLUSDT is on binance, kraken: choose one of them."),
        ("symbol=BTCUSDT&interval=1d&rollup=true&limit=400", "limit", "expected at most 68"),
        ("symbols=BTCUSDT&format=csv", "symbols", "Files have the candles of one symbol"),
        ("symbol=BTCUSDT&rollup=maybe", "rollup", "valid boolean"),
    ],
)
def test_charts_are_bounded(client: Client, query: str, parameter: str, says: str) -> None:
    response = client.get(f"/candles?{query}")
    assert response.status_code == 400
    assert says in str(response.json()[parameter])
