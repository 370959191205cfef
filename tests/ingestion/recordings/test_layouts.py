"""Every layout is read as it comes: what a file of it holds, as candles."""

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from ingestion.recordings.errors import RecordingError
from ingestion.recordings.merge import Merge
from ingestion.recordings.read import Collector
from ingestion.recordings.tables import Asked
from market.wire.messages import OHLCV

T0 = 1_735_689_600_000  # 2025-01-01 00:00 UTC
MINUTE = 60_000
# open, high, low, close, volume of the first two minutes.
CANDLES: Final = ((100.0, 101.0, 99.0, 100.5, 10.0), (100.5, 102.0, 100.0, 101.0, 20.0))
Found = list[tuple[Any, ...]]


def read(*paths: Path, **asked: Any) -> tuple[Collector, Merge, Found]:
    """The collector, the merge, and (minute after T0, symbol, open, high, low, close, volume) of every candle."""
    collector = Collector(Asked(**asked))
    collector.read(paths)
    merge = Merge(collector)
    found = []
    for rows in merge.slices():
        for row in rows:
            symbol = merge.series[row["code"]].symbol
            found.append(((int(row["ts"]) - T0) / MINUTE, symbol, *(float(row[name]) for name in OHLCV)))
    collector.store.close()
    return collector, merge, found


def text(*rows: tuple[Any, ...], header: str = "", mark: str = ",") -> bytes:
    lines = [mark.join(map(str, row)) for row in rows]
    return "".join(f"{line}\n" for line in ([header] if header else []) + lines).encode()


def klines(unit: int = 1) -> list[tuple[Any, ...]]:
    times = (T0 + minute * MINUTE for minute in range(2))
    return [
        (time * unit, *candle, (time + MINUTE) * unit - 1, "1000", 7, 5, "500", 0)
        for time, candle in zip(times, CANDLES, strict=True)
    ]


def with_times(*times: Any) -> list[tuple[Any, ...]]:
    return [(time, *candle) for time, candle in zip(times, CANDLES, strict=True)]


def zipped(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"__MACOSX/._{name}", b"\0")
        archive.writestr(name, data)
    return file.getvalue()


def columnar(write: Callable[[Any, Any], None], ts: str = "date", **more: Any) -> bytes:
    columns = dict(zip(OHLCV, zip(*CANDLES, strict=True), strict=True))
    times = pa.array([T0, T0 + MINUTE], pa.timestamp("ms", "UTC"))
    file = io.BytesIO()
    write(pa.table({ts: times, **{name: list(values) for name, values in columns.items()}, **more}), file)
    return file.getvalue()


def feather(table: Any, file: Any) -> None:
    pyarrow.feather.write_feather(table, file)


S0 = T0 // 1_000
KLINES = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote,ignore"
OURS = "ts,symbol,open,high,low,close,volume"
JSON = json.dumps(with_times(T0, T0 + MINUTE)).encode()
CDD = text(
    *((S0 + 60 * i, f"2025-01-01 00:0{i}:00", "BTCUSDT", *CANDLES[i], 1000.0) for i in (1, 0)),
    header="https://www.CryptoDataDownload.com\nUnix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT",
)
MIXED_KRAKEN = text(
    (S0, *CANDLES[0], 4, ""), (S0 + 60, *CANDLES[1][:4], "100.7", 20.0, 5), header=""
)  # the second row is of the REST API: average price, volume, trades

READ: Final[dict[str, tuple[str, bytes]]] = {
    "Binance klines": ("BTCUSDT-1m-2024-12.csv", text(*klines())),
    "Binance klines in µs": ("BTCUSDT-1m-2025-01.csv", text(*klines(1_000))),
    "Binance klines with header": ("BTCUSDT-1m-2024-12.csv", text(*klines(), header=KLINES)),
    "Binance klines zipped": ("BTCUSDT-1m-2024-12.zip", zipped("BTCUSDT-1m-2024-12.csv", text(*klines()))),
    "Binance klines of the REST API": ("BTCUSDT.json", json.dumps(klines()).encode()),
    "freqtrade feather": ("BTC_USDT-1m.feather", columnar(feather)),
    "freqtrade futures": ("BTC_USDT_USDT-1m-futures.feather", columnar(feather)),
    "freqtrade json": ("BTC_USDT-1m.json", JSON),
    "freqtrade json.gz": ("BTC_USDT-1m.json.gz", gzip.compress(JSON)),
    "Kraken": ("BTCUSDT_1.csv", text(*((*row, 4) for row in with_times(S0, S0 + 60)))),
    "Kraken with rows of REST": ("BTCUSDT_1.csv", MIXED_KRAKEN),
    "CryptoDataDownload": ("Binance_BTCUSDT_minute.csv", CDD),
    "TradingView": (
        "BINANCE_BTCUSDT, 1 (2).csv",
        text(*((*row, 3.5) for row in with_times(S0, S0 + 60)), header="time,open,high,low,close,Volume,EMA"),
    ),
    "TradingView ISO": (
        "BINANCE_BTCUSDT, 1.csv",
        text(
            *with_times("2024-12-31T19:00:00-05:00", "2024-12-31T19:01:00-05:00"),
            header="time,open,high,low,close,Volume",
        ),
    ),
    "ours": ("a.csv", text(*((row[0], "BTC/USDT", *row[1:]) for row in with_times(T0, T0 + MINUTE)), header=OURS)),
    "ours, bz2": (
        "a.csv.bz2",
        bz2.compress(text(*((row[0], "btc-usdt", *row[1:]) for row in with_times(T0, S0 + 60)), header=OURS)),
    ),
    "ours, zst": (
        "BTCUSDT.csv.zst",
        pa.compress(text(*with_times(S0, S0 + 60), header="Date,O,H,L,C,V"), codec="zstd", asbytes=True),
    ),
    "tabs": ("BTCUSDT.tsv", text(*with_times(S0, S0 + 60), header="time\topen\thigh\tlow\tclose\tvol", mark="\t")),
    "semicolons, decimal commas": (
        "BTCUSDT.csv",
        text(*with_times(S0, S0 + 60), header="time;open;high;low;close;volume", mark=";").replace(b".", b","),
    ),
    "six columns without header": ("btcusdt.csv", text(*with_times(S0, S0 + 60))),
    "naive text": (
        "BTC-USDT.csv",
        text(*with_times("2025-01-01 00:00:00", "2025-01-01 00:01"), header="datetime,open,high,low,close,volume"),
    ),
    "a symbol of TradingView": (
        "a.csv",
        text(*((row[0], "BINANCE:BTCUSDT.P", *row[1:]) for row in with_times(T0, T0 + MINUTE)), header=OURS),
    ),
    "parquet with a pair": (
        "x.parquet",
        columnar(pyarrow.parquet.write_table, "timestamp", pair=["BTC-USDT", "BTC-USDT"], trades=[1, 2]),
    ),
    "a byte order mark": ("BTCUSDT.csv", b"\xef\xbb\xbf" + text(*klines(), header=KLINES)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), READ.values(), ids=READ)
def test_it_is_read_as_it_comes(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    collector, merge, found = read(tmp_path / name)
    assert found == [(minute, "BTCUSDT", *candle) for minute, candle in enumerate(CANDLES)]
    assert list(merge.step_ms.values()) == [MINUTE]
    assert not sum(file.dropped.total for file in collector.files)


# Three trades in the first minute, one in the second: milliseconds, price, amount, taker.
TRADES: Final[tuple[tuple[int, float, float, str], ...]] = (
    (5, 100.0, 1.0, "buy"),
    (20_000, 103.0, 2.0, "sell"),
    (59_999, 101.0, 0.5, "buy"),
    (60_000, 99.0, 4.0, "sell"),
)
TRADED: Final = [(0, "BTCUSDT", 100.0, 103.0, 100.0, 101.0, 3.5), (1, "BTCUSDT", 99.0, 99.0, 99.0, 99.0, 4.0)]
MAKER = {"buy": "False", "sell": "True"}
AGG = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"


def agg(unit: int = 1, end: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    return [(i, p, a, 2 * i, 2 * i, (T0 + ms) * unit, MAKER[s], *end) for i, (ms, p, a, s) in enumerate(TRADES)]


def tardis() -> bytes:
    header = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
    rows = [
        ("binance", "BTCUSDT", (T0 + ms) * 1000, (T0 + ms + 7) * 1000, f"u-{i}", s, p, a)
        for i, (ms, p, a, s) in enumerate(TRADES)
    ]
    return text(*rows, header=header)


def parquet_trades() -> bytes:
    ms, price, amount, side = (list(column) for column in zip(*TRADES, strict=True))
    file = io.BytesIO()
    times = pa.array([T0 + time for time in ms], pa.timestamp("ms", "UTC"))
    table = {"ts": times, "symbol": ["BTC/USDT"] * 4, "side": side, "price": price, "amount": amount}
    pyarrow.parquet.write_table(pa.table(table), file)
    return file.getvalue()


READ_TRADES: Final[dict[str, tuple[str, bytes]]] = {
    "Binance aggTrades, spot in µs": ("BTCUSDT-aggTrades-2025-01-01.csv", text(*agg(1_000, ("True",)))),
    "Binance aggTrades, futures": ("BTCUSDT-aggTrades-2025-01-01.csv", text(*agg(), header=AGG)),
    "Binance aggTrades, futures without header": ("BTCUSDT-aggTrades-2025-01-01.csv", text(*agg())),
    "Binance trades": (
        "BTCUSDT-trades-2025-01-01.csv",
        text(*((i, p, a, p * a, T0 + ms, MAKER[s], "True") for i, (ms, p, a, s) in enumerate(TRADES))),
    ),
    "Tardis": ("binance_trades_2025-01-01_BTCUSDT.csv.gz", gzip.compress(tardis())),
    "Kraken": ("BTCUSDT.csv", text(*((f"{(T0 + ms) / 1000:.3f}", p, a) for ms, p, a, _ in TRADES))),
    "freqtrade": (
        "BTC_USDT-trades.json.gz",
        gzip.compress(json.dumps(
            [(T0 + ms, f"{i}", None, s, p, a, p * a) for i, (ms, p, a, s) in enumerate(TRADES)]
        ).encode()),
    ),
    "parquet": ("x.parquet", parquet_trades()),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), READ_TRADES.values(), ids=READ_TRADES)
def test_trades_become_candles(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    collector, merge, found = read(tmp_path / name)
    assert found == TRADED
    assert merge.step_ms == {"binance" if "Tardis" in collector.files[0].layout else None: MINUTE}
    [finer, *_] = read(tmp_path / name, interval="1s")[2]
    assert finer == (0, "BTCUSDT", 100.0, 100.0, 100.0, 100.0, 1.0)


REFUSED: Final[dict[str, tuple[str, bytes, str]]] = {
    "no pair in the name": ("candles.csv", text(*klines()), "no column symbol.*--symbol BTCUSDT"),
    "a dated future": ("BTCUSDT_240628-1m-2024-06.csv", text(*klines()), "a dated future or an option, which expires"),
    "two pairs in the name": ("BTCUSDT_ETHUSDT.csv", text(*klines()), "no column symbol"),
    "mark prices": ("BTC_USDT_USDT-1h-mark.feather", columnar(feather), "mark prices, not candles of trades"),
    "funding rates": ("BTC_USDT_USDT-8h-funding_rate.feather", columnar(feather), "funding rates"),
    "months": ("BTC_USDT-1M.json", JSON, "a month have no fixed length"),
    "open interest": (
        "BTCUSDT.csv",
        text((T0, 1, 2), header="timestamp,sumOpenInterest,ratio"),
        "columns timestamp, sumOpenInterest, ratio: this looks like open interest",
    ),
    "low before high (Coinbase)": (
        "BTCUSDT.csv",
        text(*((S0 + 60 * i, 99, 101, 100, 100.5, 1) for i in range(3))),
        "6 without header.*--columns ts=1,open=2",
    ),
    "two times": (
        "BTCUSDT.csv",
        text(("2025-01-01 00:00", "2025-01-01 00:05", 1, 1, 1, 1, 1), header="time,date,open,high,low,close,volume"),
        "time and date have different times.*--columns ts=time or ts=date",
    ),
    "a volume of two currencies": (
        "BTCUSDT.csv",
        text((S0, 1, 1, 1, 1, 1, 1), header="time,open,high,low,close,Volume X,Volume Y"),
        "Volume X, Volume Y.*in base units is unclear.*--columns volume=Volume X or volume=Volume Y",
    ),
    "a spot pair and its swap": (
        "x.csv",
        text(*((T0, f"BTC/USDT{end}", 1, 1, 1, 1, 1) for end in ("", ":USDT")), header=OURS),
        "BTC/USDT:USDT and BTC/USDT .* are two instruments.*--symbol BTC/USDT:USDT",
    ),
    "two intervals in a column": (
        "BTCUSDT.csv",
        text((T0, 1, 1, 1, 1, 1, "1m"), (T0, 1, 1, 1, 1, 1, "5m"), header="ts,open,high,low,close,volume,interval"),
        "has 1m and 5m: these are different series; pass --interval",
    ),
    "two intervals of one symbol": (
        "BTCUSDT.csv",
        text(
            *((T0 + i * MINUTE, 1, 1, 1, 1, 1) for i in range(30)),
            *((T0 + i * MINUTE, 1, 3, 1, 1, 9) for i in range(0, 30, 5)),
            header="ts,open,high,low,close,volume",
        ),
        "candles of 1m and, of BTCUSDT, of 5m",
    ),
    "two intervals of two symbols": (
        "x.csv",
        text(
            *((T0 + i * MINUTE, "AUSDT", 1, 1, 1, 1, 1) for i in range(60)),
            *((T0 + i * MINUTE, "BUSDT", 1, 1, 1, 1, 1) for i in range(0, 300, 5)),
            header=OURS,
        ),
        "candles of 1m and, of BUSDT, of 5m",
    ),
    "a name of another interval": (
        "BTCUSDT-1m-2025-01.csv",
        text(*((T0 + i * 5 * MINUTE, 1, 1, 1, 1, 1, T0 + i * 5 * MINUTE + 1, 1, 1, 1, 1, 0) for i in range(40))),
        "its rows are 5m apart, but its name is 1m",
    ),
    "dates of two meanings": (
        "BTCUSDT.csv",
        text(*with_times("01/02/2025", "01/03/2025"), header="date,open,high,low,close,volume"),
        "time missing or not readable 2 .row 1: ts=01/02/2025",
    ),
    "UTF-16": ("BTCUSDT.csv", "ts,open".encode("utf-16"), "UTF-16; save it as UTF-8"),
    "no zip": ("a.zip", b"PK nothing", "not readable as zip"),
    "a zip of pictures": ("a.zip", zipped("a.png", b"x"), "no .*file in this archive"),
    "half a gz": ("BTCUSDT.csv.gz", gzip.compress(text(*klines()) * 50)[:-20], "not readable as gz"),
    "not a recording": ("a.pdf", b"%PDF", "a recording is a file of one of these kinds"),
    "an object": ("BTCUSDT.json", b'{"a": 1}', "a recording in JSON is a list of lists"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_could_mean_two_things_is_refused(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RecordingError, match=reason) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "data", "asked"),
    [
        ("candles.csv", text(*klines()), {"symbol": "BTCUSDT"}),
        ("BTCUSDT.csv", text(*((S0 + 60 * i, c[2], c[1], c[0], c[3], c[4]) for i, c in enumerate(CANDLES))),
         {"columns": {"ts": "1", "low": "2", "high": "3", "open": "4", "close": "5", "volume": "6"}}),
        ("BTCUSDT.csv", text(*with_times(S0, S0 + 60), header="opened,open,high,low,close,base"),
         {"columns": {"ts": "Opened", "volume": "base"}}),
        ("x.csv", text(*((row[0], pair, *row[1:])
         for row in with_times(T0, T0 + MINUTE) for pair in ("BTC/USDT", "BTC/USDT:USDT", "ETHUSDT")), header=OURS),
         {"symbol": "BTC/USDT"}),
        ("BTCUSDT.csv", text(*((*row, "1m") for row in with_times(T0, T0 + MINUTE)), (T0, 1, 1, 1, 1, 1, "1h"),
         header="ts,open,high,low,close,volume,timeframe"), {"interval": "1m"}),
    ],
    ids=["--symbol", "--columns by number", "--columns by name", "--symbol of several", "--interval of several"],
)  # fmt: skip
def test_the_user_can_say_what_it_means(tmp_path: Path, name: str, data: bytes, asked: dict[str, Any]) -> None:
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name, **asked)[2] == [(minute, "BTCUSDT", *candle) for minute, candle in enumerate(CANDLES)]


# Files of each kind as people have them → layout, interval, symbols, rows, candles.
REAL: Final = {
    "formats/binance_vision_aggtrades_zip/futures-APEUSDT-aggTrades-2024-10-18.head5000.zip": (
        "Binance aggTrades with header", "1m", "APEUSDT", 4999, 108),
    "aggtrades/spot-PEPEUSDT-aggTrades-2024-10-27.zip": (
        "Binance aggTrades without header", "1m", "PEPEUSDT", 57229, 1440),
    "formats/cryptodatadownload_csv/Coinbase_BTCUSD_1h.head2000.csv": (
        "CryptoDataDownload", "1h", "BTCUSD", 1998, 1998),
    "formats/cryptodatadownload_csv/Coinbase_BTCUSD_1h.oldest300.csv": ("CryptoDataDownload", "1h", "BTCUSD", 299, 299),
    "formats/freqtrade_feather_futures/XRP_USDT_USDT-1h-futures.feather": (
        "freqtrade candles", "1h", "XRPUSDT", 100, 100),
    "formats/freqtrade_feather_futures/XRP_USDT_USDT-5m-futures.feather": (
        "freqtrade candles", "5m", "XRPUSDT", 1999, 1999),
    "formats/freqtrade_feather_hyperliquid/ANON_USDC-1m.feather": ("freqtrade candles", "1m", "ANONUSDC", 4999, 4999),
    "formats/freqtrade_json/LPT_USDT-1h.json": (
        "time, open, high, low, close, volume without header", "1h", "LPTUSDT", 1216, 1216),
    "formats/freqtrade_json_gz/XRP_USDT_USDT-1h-futures.json.gz": (
        "time, open, high, low, close, volume without header", "1h", "XRPUSDT", 100, 100),
    "formats/freqtrade_trades_json_gz/XRP_ETH-trades.json.gz": ("freqtrade trades", "1m", "XRPETH", 12477, 2469),
    "formats/generic_csv/AI16ZUSDT_1m_launch_2025-01-02_18-30-00.csv": (
        "candles with header", "1m", "AI16ZUSDT", 240, 240),
    "formats/kraken_ohlcvt_csv/ETHUSD_1440.csv": ("Kraken OHLCVT", "1d", "ETHUSD", 3063, 3063),
    "formats/kraken_ohlcvt_csv/ETHUSD_1440_mixed_with_rest_rows.csv": ("Kraken OHLCVT", "1d", "ETHUSD", 3143, 3143),
    "formats/kraken_trades_csv/BCHEUR.csv": ("Kraken trades", "1m", "BCHEUR", 148, 78),
    "formats/tradingview_csv/BATS_IBIT, D (1).csv": ("TradingView export", "1d", "IBIT", 502, 502),
    "formats/tradingview_csv/BATS_IBIT, 5_unix.head1500.csv": ("TradingView export", "5m", "IBIT", 1499, 1499),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_is_read(shared_data: Path, name: str) -> None:
    if not (shared_data / name).exists():
        pytest.skip(f"{name} is not here")
    collector, merge, _ = read(shared_data / name)
    [file] = collector.files
    [symbol] = [one.symbol for one in merge.series]
    assert (file.layout, file.interval, symbol, file.rows, merge.rows) == REAL[name]
    assert not file.dropped.total
    assert not any(counts.total for counts in merge.dropped.values())


def test_rest_rows_of_kraken_have_their_volume(shared_data: Path) -> None:
    path = shared_data / "formats/kraken_ohlcvt_csv/ETHUSD_1440_mixed_with_rest_rows.csv"
    if not path.exists():
        pytest.skip("no file of Kraken here")
    last = read(path)[2][-1]
    assert last[2:] == (3158.67, 3396.23, 3059.65, 3295.48, 31550.52798269)
