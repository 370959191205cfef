"""The options mean one thing each, whatever plays; what does not go together is one sentence."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ingestion.management.source_options import add_source_options, sources_from_options
from ingestion.sources import Source, SourceError
from ingestion.sources.live import LiveSource
from ingestion.sources.simulated import SimulatedSource
from tests.ingestion.sources.venues.binance import binance
from tests.ingestion.sources.venues.server import serving


def opened(*arguments: str, said: list[str] | None = None) -> Sequence[Source]:
    parser = argparse.ArgumentParser()
    add_source_options(parser)
    return sources_from_options(vars(parser.parse_args(arguments)), (said if said is not None else []).append)


def test_several_venues_are_several_sources(settings: Any) -> None:
    settings.VENUES = ["okx"]
    assert [source.venue for source in opened("--source", "live")] == ["okx"]
    sources = opened("--source", "live", "--venue", "binance,kraken", "--venue", "bybit", "--venue", "kraken")
    assert [source.venue for source in sources] == ["binance", "kraken", "bybit"]
    assert {source.interval for source in sources} == {"1s"}


@pytest.mark.parametrize(
    ("arguments", "described"),
    [
        ((), "live from binance: all USDT pairs, 1s candles from tickers of the whole market"),
        (("--quote", "usdc"), "live from binance: all USDC pairs, 1s candles from tickers of the whole market"),
        (("--symbols", "btc/usdt,ETHUSDT"), "live from binance: 2 symbols, 1s candles from trades"),
        (("--top", "50", "--interval", "1m"), "live from binance: the 50 largest USDT pairs, 1m candles from trades"),
        (("--top", "500"), "the 500 largest USDT pairs, 1s candles from tickers of the whole market"),
        (("--venue", "kraken"), "live from kraken: the 200 largest USD pairs, 1s candles from trades"),
    ],
)
def test_what_a_live_source_watches(arguments: tuple[str, ...], described: str) -> None:
    [source] = opened("--source", "live", *arguments)
    assert described in source.describe()


@pytest.mark.parametrize(
    ("symbols", "reason"),
    [
        ("BINANCE:BTCUSDT.P", "names a venue: write BTCUSDT, and --venue binanceusdm"),
        ("BTCUSDT,BTCUSDT_240628", "dated future"),
        ("BTC-ETH", "either way round"),
        (",", "contains no symbol"),
    ],
)
def test_symbols_that_name_none_are_refused(symbols: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        opened("--source", "live", "--symbols", symbols)
    assert reason in capsys.readouterr().err


def test_a_number_of_symbols_is_for_the_simulated_market() -> None:
    [source] = opened("--source", "simulated", "--symbols", "12", "--venue", "demo")
    assert (len(source.symbols), source.venue) == (12, "demo")
    # The simulated market's own options say what is meant.
    assert isinstance(opened("--source", "auto", "--symbols", "12")[0], SimulatedSource)
    assert isinstance(opened("--source", "auto", "--seed", "5")[0], SimulatedSource)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--source", "live", "--symbols", "40"), "name the symbols"),
        (("--source", "live", "--seed", "4"), "do not apply to a live venue"),
        (("--source", "live", "--top", "0"), "top 0"),
        (("--source", "live", "--venue", "no venue"), "is not a venue"),
        (("--source", "simulated", "--symbols", "BTCUSDT"), "--symbols applies to live venues"),
        (("--source", "simulated", "--top", "4"), "--top applies to live venues"),
        (("--source", "simulated", "--venue", "a b"), "--venue a b: a venue's name is"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(arguments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        opened(*arguments)


def test_auto_plays_the_simulated_market_when_the_venue_does_not_answer(settings: Any) -> None:
    settings.VENUE_URLS = {"binance": "http://127.0.0.1:9"}
    said: list[str] = []
    [source] = opened("--source", "auto", said=said)
    assert isinstance(source, SimulatedSource)
    assert "binance cannot be reached" in said[0]
    assert "SIMULATED" in said[0]
    assert source.reason == "binance cannot be reached"  # without the address, which may be a private one
    assert opened("--source", "simulated")[0].reason == ""


def test_auto_prefers_a_recording(tmp_path: Path) -> None:
    recording = tmp_path / "a.csv"
    recording.write_text("ts,symbol,open,high,low,close,volume\n1620777600,A,1,1,1,1,1\n1620777660,A,1,1,1,1,1\n")
    assert opened("--source", "auto", "--file", str(recording))[0].kind == "replay"


async def test_a_venue_that_answers_can_be_probed() -> None:
    async with serving(binance()) as venue:
        [source] = opened("--source", "live")
        assert isinstance(source, LiveSource)
        source._url = venue.url
        await source.probe(60.0)
    assert [path for path, _ in venue.requests] == ["/api/v3/exchangeInfo"]


CANDLES = "ts,symbol,open,high,low,close,volume\n1620777600,A,1,1,1,1,1\n1620777660,A,1,1,1,1,1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the recordings a.csv and b.csv."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(CANDLES)
    return tmp_path


def test_each_file_may_name_its_venue(folder: Path) -> None:
    said: list[str] = []
    named = ("--file", "OKX-swap=b.csv", "--file", "binance=a.csv", "--file", "acme=./b.csv")
    sources = opened("--source", "replay", *named, said=said)
    assert [source.venue for source in sources] == ["acme", "binance", "okx-swap"]
    assert "replay of 1 file of binance: 1 symbols, 2 candles" in sources[1].describe()
    assert said == [
        "The candles and anomalies of this replay are of the venue binance-replay, not binance.",
        "The candles and anomalies of this replay are of the venue okx-swap-replay, not okx-swap.",
    ]


def test_a_column_may_name_the_venue(folder: Path) -> None:
    header, *rows = CANDLES.split()
    (folder / "both.csv").write_text("\n".join([f"{header},venue", *(f"{r},{v}" for v in ("x", "y") for r in rows)]))
    assert [source.venue for source in opened("--file", "both.csv")] == ["x", "y"]
    with pytest.raises(SourceError, match="the recordings are of the venues x, y: leave out --venue z"):
        opened("--file", "both.csv", "--venue", "z")
    (folder / "x.csv").write_text("\n".join([f"{header},venue", *(f"{row},x" for row in rows)]))
    assert [source.venue for source in opened("--file", "x.csv", "--venue", "z")] == ["z"]
    with pytest.raises(SourceError, match="its column venue has x, y, but it was given as the file of z"):
        opened("--file", "z=both.csv")


def test_a_name_with_an_equals_sign_may_be_a_file(folder: Path) -> None:
    hive = folder / "symbol=A"
    hive.mkdir()
    (hive / "a.csv").write_text(CANDLES)
    assert [source.venue for source in opened("--file", "symbol=A/a.csv")] == ["replay"]
    (folder / "x=a.csv").write_text(CANDLES)
    assert [source.venue for source in opened("--file", str(folder / "x=a.csv"))] == ["replay"]
    with pytest.raises(SourceError, match=rf"x=a.csv is a file, and so is a.csv: write {folder}/x=a.csv or x=./a.csv"):
        opened("--file", "x=a.csv")
    assert [source.venue for source in opened("--file", "x=./a.csv")] == ["x"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--file", "x=a.csv", "--file", "b.csv"), r"b.csv: its venue is missing.*VENUE=b.csv"),
        (("--file", "x=a.csv", "--venue", "z"), "of the venues x: leave out --venue z"),
        (("--file", "a.csv", "--venue", "x,y"), "name the venue of each file, as in --file x=FILE"),
        (("--file", "x="), "the file is missing; expected x=FILE"),
        (("--file", "x=c.csv"), "^c.csv: no such file"),
        (("--file", "x=a.csv", "--seed", "1"), "not of a replay"),
    ],
)
def test_venues_of_files_that_are_not_clear(folder: Path, arguments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        opened("--source", "replay", *arguments)


def test_the_simulated_market_plays_on_several_venues() -> None:
    said: list[str] = []
    sources = opened("--source", "simulated", "--symbols", "3", "--seed", "7", "--venue", "demo,okx-swap", said=said)
    assert [source.describe() for source in sources] == [
        f"simulated market: 3 symbols in {count} sectors, 1 s candles, seed 7, on {venue}"
        for count, venue in ((len(sources[0].sectors), "demo"), (len(sources[0].sectors), "okx-swap"))  # type: ignore[attr-defined]
    ]
    assert [line.split(" are of ")[1] for line in said] == ["the venue okx-swap-simulated, not okx-swap."]


def test_recorded_trades_become_candles_of_the_interval(tmp_path: Path) -> None:
    file = tmp_path / "BTCUSDT.csv"
    rows = [f"{1_760_000_000_000 + second * 1_000},100,1,buy" for second in range(180)]
    file.write_text("\n".join(["ts,price,amount,side", *rows]))
    assert [source.interval for source in opened("--file", str(file), "--interval", "1s")] == ["1s"]
    assert [source.interval for source in opened("--file", str(file))] == ["1m"]
    with pytest.raises(SourceError, match="live venues only"):
        opened("--source", "simulated", "--interval", "1s")


def test_what_a_recording_means_can_be_said(tmp_path: Path) -> None:
    rows = [f"{1735689600 + 60 * i},1,1,1,1,1" for i in range(3)]
    (tmp_path / "USDT-BTC.csv").write_text("\n".join(["opened,open,high,low,close,base", *rows]))
    said = ("--file", str(tmp_path / "USDT-BTC.csv"), "--columns", "ts=opened,volume=base")
    [source] = opened(*said, "--symbol", "BTC/USDT")
    assert source.symbols == ["BTCUSDT"]
    [source] = opened("--file", f"UPBIT={said[1]}", *said[2:])
    assert (source.venue, source.symbols) == ("upbit", ["BTCUSDT"])
    with pytest.raises(SourceError, match="can be meant either way round.* pass --symbol BTC/USDT or"):
        opened(*said)
    with pytest.raises(SourceError, match="--symbol is about the recordings of --file"):
        opened("--source", "live", "--symbol", "BTCUSDT")
