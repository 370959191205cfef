"""What a `stress` frame has beside the index: windows up to an hour, BTC and ETH, within 16 KB."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from anomaly_site.ws.protocol.frames import live_frame
from ingestion.analysis import snapshot
from ingestion.analysis.analysis import Analysis
from ingestion.analysis.glance import HOUR_MS, MAJORS, MOST_BYTES, PREFERRED_QUOTES, fitting
from ingestion.analysis.snapshot import AnalysisSnapshot
from ingestion.stream.incarnation import Position
from market.detectors.overview import MOST_SECTORS
from market.detectors.snapshot import Snapshot, pack, unpack
from market.wire.decoding import decode_stress
from market.wire.messages import (
    Breadth,
    CandleBatch,
    SectorMove,
    StressComponent,
    StressIndex,
    StressMetric,
    SynchronizedMovement,
    WindowMove,
    encode,
    interval_ms,
)
from market.wire.quotes import WORTH
from market.wire.sectors import SectorMap
from tests.market.recordings import START_MS, recording

SYMBOLS = 12
# On a whole minute, which START_MS is not.
SHIFT_MS = 60_000 - START_MS % 60_000


def candles(count: int, interval: str = "1m", symbols: int = SYMBOLS) -> list[CandleBatch]:
    return [
        msgspec.structs.replace(batch, close_time=batch.close_time + SHIFT_MS)
        for batch in recording(symbols, count, interval)
    ]


def analysed(batches: Iterable[CandleBatch], analysis: Analysis | None = None) -> Analysis:
    analysis = analysis or Analysis()
    for batch in batches:
        analysis.update(batch, batch.close_time)
    return analysis


def seen(analysis: Analysis) -> Mapping[str, WindowMove]:
    (index,) = analysis.stress()
    return {} if index.windows is msgspec.UNSET else index.windows


def median_change(before: CandleBatch, now: CandleBatch) -> float:
    changes = sorted(new / old for old, new in zip(before.close, now.close, strict=True))
    middle = len(changes) // 2
    # Of log returns, as everything is: the geometric mean of the two in the middle.
    return 100 * (math.sqrt(changes[middle - 1] * changes[middle]) - 1)


@pytest.mark.parametrize(
    ("interval", "names"),
    [
        ("20s", ["1m", "5m", "15m", "1h"]),
        ("1m", ["1m", "5m", "15m", "1h"]),
        ("3m", ["15m", "1h"]),
        ("5m", ["5m", "15m", "1h"]),
        ("15m", ["15m", "1h"]),
        ("30m", ["1h"]),
        ("1h", ["1h"]),
        ("7m", []),
        ("2h", []),
    ],
)
def test_every_window_is_the_median_change_since_its_start(interval: str, names: list[str]) -> None:
    batches = candles(max(HOUR_MS // interval_ms(interval), 1) * 2, interval)
    windows = seen(analysed(batches))
    assert list(windows) == names
    for name, move in windows.items():
        before = batches[-1 - interval_ms(name) // interval_ms(interval)]
        assert move.return_pct == pytest.approx(median_change(before, batches[-1]), abs=0.0011)
        assert sum(msgspec.structs.astuple(move.breadth)) == SYMBOLS


def test_an_hour_of_short_candles_begins_with_a_whole_minute() -> None:
    batches = candles(200, "20s")
    assert batches[-1].close_time % 60_000 == 40_000
    move = seen(analysed(batches))["1h"]
    assert move.return_pct == pytest.approx(median_change(batches[-1 - 182], batches[-1]), abs=0.0011)


def test_a_window_is_there_once_it_has_passed() -> None:
    analysis = Analysis()
    names: dict[str, int] = {}
    for minute, batch in enumerate(candles(62)):
        analysed([batch], analysis)
        for name in seen(analysis) if analysis.stress() else ():
            names.setdefault(name, minute)
    assert names == {"1m": 1, "5m": 5, "15m": 15, "1h": 60}


def test_after_a_silence_only_the_hour_knows_the_prices_before_it() -> None:
    batches = candles(130)
    analysis = analysed([*batches[:70], *batches[90:93]])
    windows = seen(analysis)
    assert list(windows) == ["1m", "1h"]
    assert windows["1h"].return_pct == pytest.approx(median_change(batches[32], batches[92]), abs=0.0011)
    # As of a minute within the silence, the last price is the one before it.
    analysed(batches[93:], analysis)
    assert seen(analysis)["1h"].return_pct == pytest.approx(median_change(batches[69], batches[129]), abs=0.0011)


def test_a_price_of_more_than_an_hour_ago_counts_for_nothing() -> None:
    batches = candles(200)
    analysis = analysed([*batches[:20], *batches[150:160]])
    assert list(seen(analysis)) == ["1m", "5m"]
    quiet = [batch.only(range(10)) for batch in candles(200)[1:]]
    assert sum(msgspec.structs.astuple(seen(analysed([batches[0], *quiet]))["1h"].breadth)) == 10


# --- Saved ----------------------------------------------------------------------------------------------------------


def resumed(states: Sequence[Snapshot]) -> Analysis:
    analysis = Analysis()
    analysis.restore([unpack(pack(state)) for state in states], START_MS)
    return analysis


def test_a_restart_changes_nothing() -> None:
    batches = candles(150, symbols=30)
    analysis = analysed(batches[:100])
    other = resumed(analysis.snapshots())
    for batch in batches[100:]:
        analysed([batch], analysis)
        analysed([batch], other)
        assert other.stress() == analysis.stress()
    assert "1h" in seen(other)


def without(state: Snapshot) -> Snapshot:
    return {name: value for name, value in state.items() if name != "hour"}


@pytest.mark.parametrize(
    "changed",
    [
        without,
        lambda state: state | {"hour": None},
        lambda state: state | {"hour": {"row": 1}},
        lambda state: state | {"hour": state["hour"] | {"closes": state["hour"]["closes"][:-1]}},
        lambda state: state | {"hour": state["hour"] | {"seen": 3}},
    ],
    ids=["absent", "null", "incomplete", "of another size", "no array"],
)
def test_an_analysis_that_was_saved_without_the_hour_goes_on(tmp_path: Path, changed) -> None:  # type: ignore[no-untyped-def]
    batches = candles(200)
    analysis = analysed(batches[:100])
    path = tmp_path / "analysis.state"
    snapshot.write(path, AnalysisSnapshot(Position(1, 1), [], [changed(state) for state in analysis.snapshots()]))
    snapshot.replace(path)
    saved = snapshot.read(path)
    assert saved is not None
    other = Analysis()
    other.restore(saved.engines, START_MS)
    analysed(batches[100:159], analysis)
    analysed(batches[100:159], other)
    (mine,), (theirs,) = analysis.stress(), other.stress()
    assert theirs.windows is not msgspec.UNSET
    assert list(theirs.windows) == ["1m", "5m", "15m"]
    assert (theirs.stress_index, theirs.breadth, theirs.sectors) == (mine.stress_index, mine.breadth, mine.sectors)
    analysed(batches[159:], analysis)
    analysed(batches[159:], other)
    assert other.stress() == analysis.stress()


def test_it_is_no_part_of_the_detectors() -> None:
    assert not any("glance" in name for name in snapshot.constants())


# --- BTC and ETH ----------------------------------------------------------------------------------------------------


def test_a_major_is_never_measured_in_another_coin() -> None:
    coins = {"BTC", "XBT", "ETH", "BNB", "SOL", "XRP", "DOGE", "TRX"}
    assert set(PREFERRED_QUOTES) == set(WORTH) - coins
    assert len(PREFERRED_QUOTES) == len(set(PREFERRED_QUOTES))
    assert PREFERRED_QUOTES[:5] == ("USDT", "USDC", "USD", "FDUSD", "EUR")


def named(batches: list[CandleBatch], *names: str) -> Iterator[CandleBatch]:
    """The first symbols renamed."""
    for batch in batches:
        yield msgspec.structs.replace(batch, symbols=[*names, *batch.symbols[len(names) :]])


@pytest.mark.parametrize(
    ("pairs", "chosen"),
    [
        (["BTCEUR", "BTCFDUSD", "BTCUSD", "BTCUSDC", "BTCUSDT"], 4),
        (["BTCEUR", "BTCFDUSD", "BTCUSD", "BTCUSDC"], 3),
        (["BTCEUR", "BTCFDUSD", "BTCUSD"], 2),
        (["BTCEUR", "BTCFDUSD"], 1),
        (["BTCTRY", "BTCEUR"], 1),
        (["XBTUSD", "BTCEUR"], 0),
        (["BTCDOMUSDT", "WBTCUSDT", "BTCKRW"], 2),
    ],
)
def test_a_major_is_the_pair_in_the_preferred_quote(pairs: list[str], chosen: int) -> None:
    batches = candles(70)
    windows = seen(analysed(named(batches, *pairs)))
    for name, minutes in (("1m", 1), ("15m", 15), ("1h", 60)):
        change = 100 * (batches[-1].close[chosen] / batches[-1 - minutes].close[chosen] - 1)
        assert windows[name].majors == {"BTC": pytest.approx(change, abs=0.0011)}


def test_a_major_without_a_price_is_absent() -> None:
    named_batches = list(named(candles(70), "ETHBTC", "ETHUSDC", "ETHUSDT", "BTCUSDT"))
    assert set(seen(analysed(named_batches))["1m"].majors) == set(MAJORS)
    # The preferred pair stopped an hour ago, and BTC in the last minute.
    stopped = [batch.only([i for i in range(SYMBOLS) if i != 2]) for batch in named_batches[1:-1]]
    last = named_batches[-1].only([0, 1, *range(4, SYMBOLS)])
    windows = seen(analysed([named_batches[0], *stopped, last]))
    assert set(windows["1m"].majors) == {"ETH"}
    assert set(windows["5m"].majors) == {"BTC", "ETH"}
    change = 100 * (named_batches[-1].close[1] / named_batches[-6].close[1] - 1)
    assert windows["5m"].majors["ETH"] == pytest.approx(change, abs=0.0011)


# --- Size and cost --------------------------------------------------------------------------------------------------


def an_index(names: Sequence[str]) -> StressIndex:
    sectors = [SectorMove(name, -12_345.678, -1_234.56, 12_345) for name in names]
    breadth = Breadth(up=12_345, flat=12_345, down=12_345)
    windows = {
        name: WindowMove(
            return_pct=-12_345.678, breadth=breadth, sectors=sectors, majors={"BTC": -1_234.567, "ETH": -1_234.567}
        )
        for name in ("1m", "5m", "15m", "1h")
    }
    return StressIndex(
        venue="v" * 40,
        interval="1000s",
        timestamp=START_MS,
        stress_index=99.999999999999,
        metric=StressMetric.DISPERSION,
        components={
            metric: StressComponent(value=1 / 3 * 1e-9, percentile=100 / 3, points=100 / 7) for metric in StressMetric
        },
        universe=12_345,
        window="15m",
        breadth=breadth,
        sectors=sectors,
        windows=windows,
    )


@pytest.mark.parametrize("letter", ["x", "€", "\N{ROCKET}", '"', "\\"], ids=ascii)
@pytest.mark.parametrize(("count", "length"), [(40, 80), (40, 60), (40, 20), (19, 80), (3, 80), (0, 80)])
def test_a_frame_is_never_larger_than_16_kb(letter: str, count: int, length: int) -> None:
    index = an_index([letter * (length - 2) + f"{i:02}" for i in range(count)])
    fitted = fitting(index)
    assert len(live_frame("stress", encode(fitted)).json) <= MOST_BYTES == 16_384
    assert decode_stress(encode(fitted)) == fitted
    assert fitted.windows is not msgspec.UNSET
    assert fitted.sectors is not msgspec.UNSET
    shown = {len(move.sectors) for move in fitted.windows.values()}
    assert len(shown) == 1  # every window shows as many
    assert fitted.sectors == index.sectors[: len(fitted.sectors)]  # type: ignore[index]
    if letter == "x":
        assert len(fitted.sectors) == count
        assert min(shown) >= min(count, 12)


def a_map(sectors: int) -> SectorMap:
    names = tuple(f"{i:02} {'x' * 77}" for i in range(sectors))
    return SectorMap("test", "1", None, MappingProxyType({f"C{i:03d}": names for i in range(SYMBOLS)}))


def test_the_window_of_an_open_movement_is_among_them() -> None:
    """So that it can be judged over its own window whether it still goes on."""
    batches = candles(240)
    factor = [0.99 ** min(10, max(0, minute - 199)) for minute in range(240)]
    fallen = [
        msgspec.structs.replace(batch, **{
            name: [price * part for price in getattr(batch, name)] for name in ("open", "high", "low", "close")
        })
        for batch, part in zip(batches, factor, strict=True)
    ]  # fmt: skip
    analysis, of_movements = analysed(fallen[:90]), set()
    for batch in fallen[90:]:
        windows = set(seen(analysed([batch], analysis)))
        moved = {message.window for message in analysis.open_anomalies() if isinstance(message, SynchronizedMovement)}
        assert windows == {"1m", "5m", "15m", "1h"} | moved
        of_movements |= moved
    assert "10m" in of_movements


def test_a_map_with_long_names_still_fits() -> None:
    analysis = Analysis()
    analysis.use(a_map(57))
    analysed(candles(90), analysis)
    (index,) = analysis.stress()
    assert index.windows is not msgspec.UNSET
    assert index.sectors is not msgspec.UNSET
    assert list(index.windows) == ["1m", "5m", "15m", "1h"]
    assert len(index.sectors) == MOST_SECTORS
    assert 10 <= len(index.windows["1h"].sectors) < MOST_SECTORS
    assert len(live_frame("stress", encode(index)).json) <= MOST_BYTES


def test_it_is_computed_once_per_index_and_again_for_another_map() -> None:
    analysis = analysed(candles(30))
    (first,), (second,) = analysis.stress(), analysis.stress()
    assert first is second
    assert first.sectors == []
    analysis.use(a_map(3))
    (third,) = analysis.stress()
    assert third.sectors is not msgspec.UNSET
    assert len(third.sectors) == 3
