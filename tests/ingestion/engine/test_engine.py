"""The analysis as a whole: what it says about injected events, real ones, and nothing at all."""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ingestion.engine.engine import Engine
from market.detectors.snapshot import pack, unpack
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import (
    Alert,
    CandleBatch,
    Direction,
    Lifecycle,
    MarketAnomaly,
    MarketStress,
    Method,
    SectorAnomaly,
    Severity,
    SynchronizedMovement,
    encode,
)
from tests.ingestion.engine.events import SECTORS, SYMBOLS, WARM_UP, analyse, crash, drift, pump, without
from tests.market.recordings import START_MS, Returns, names, recording


def second(anomaly: Alert | MarketAnomaly) -> int:
    """Seconds since the end of the warm-up."""
    return (anomaly.timestamp - START_MS) // 1000 - WARM_UP


def sector_falls(returns: Returns, volumes: Returns) -> None:
    returns[WARM_UP : WARM_UP + 40, 12:20] -= 0.04 / 40


def test_a_pump_is_high_within_seconds_and_nobody_else_alerts() -> None:
    _, found = analyse(recording(SYMBOLS, WARM_UP + 120, "1s", inject=pump))
    alerts = [anomaly for anomaly in found if isinstance(anomaly, Alert)]
    assert {alert.symbol for alert in alerts} == {"C003USDT"}
    assert alerts[0].state is Lifecycle.OPEN
    assert second(alerts[0]) <= 10
    worst = max(alerts, key=lambda alert: alert.severity.rank)
    assert worst.severity.rank >= Severity.HIGH.rank
    assert worst.direction is Direction.UP
    assert second(worst) <= 40


def quoted_in_bitcoins(batches: Iterable[CandleBatch]) -> Iterator[CandleBatch]:
    """The same market, its prices 1/60,000 of what they were."""
    for batch in batches:
        prices = {side: [price / 60_000 for price in getattr(batch, side)] for side in ("open", "high", "low", "close")}
        symbols = [symbol.replace("USDT", "BTC") for symbol in batch.symbols]
        yield msgspec.structs.replace(batch, symbols=symbols, **prices)


def test_what_pairs_are_quoted_in_makes_no_difference() -> None:
    def said(batches: Iterable[CandleBatch]) -> list[tuple[object, ...]]:
        return [
            (a.symbol.removesuffix("USDT").removesuffix("BTC"), a.timestamp, a.method, a.severity, a.state)
            for a in analyse(batches)[1]
            if isinstance(a, Alert)
        ]

    in_dollars = said(recording(SYMBOLS, WARM_UP + 120, "1s", inject=pump))
    assert Severity.HIGH in {severity for _, _, _, severity, _ in in_dollars}
    assert said(quoted_in_bitcoins(recording(SYMBOLS, WARM_UP + 120, "1s", inject=pump))) == in_dollars


def two_far_ticks(returns: Returns, volumes: Returns) -> None:
    side = np.random.default_rng(5).integers(0, 2, len(returns))
    returns[:, 3] = np.diff(0.06 * side, prepend=0.0)
    volumes[200:400, 3] *= 20


def test_a_price_that_jumps_to_and_fro_between_two_ticks_is_no_pump() -> None:
    _, found = analyse(recording(SYMBOLS, 400, "1m", inject=two_far_ticks), "1m")
    assert Method.VOLUME in {a.method for a in found if isinstance(a, Alert) and a.symbol == "C003USDT"}
    assert not [a for a in found if a.severity.rank >= Severity.HIGH.rank]


def test_a_crash_is_synchronized_and_stress_and_adopts_the_alerts_it_explains() -> None:
    _, found = analyse(recording(SYMBOLS, WARM_UP + 120, "1s", inject=crash))
    for kind in (SynchronizedMovement, MarketStress):
        high = [a for a in found if isinstance(a, kind) and a.severity.rank >= Severity.HIGH.rank]
        assert high, kind
        assert second(high[0]) <= 20
    moves = [a for a in found if isinstance(a, SynchronizedMovement)]
    assert moves[-1].direction is Direction.DOWN
    assert moves[-1].synchronization_ratio > 0.9
    assert moves[-1].average_change_pct is not None
    assert moves[-1].average_change_pct < -3
    for move in moves:
        assert len(move.changes_pct) == len(move.affected_symbols)
        assert np.mean(move.changes_pct) == pytest.approx(move.average_change_pct, abs=0.001)
        assert max(move.changes_pct) < 0
    adopted = [a for a in found if isinstance(a, Alert) and a.incident]
    assert {alert.incident for alert in adopted} == {moves[0].id}
    assert len({alert.symbol for alert in adopted}) > SYMBOLS / 2


def traded(batches: Iterable[CandleBatch], share: float) -> Iterator[CandleBatch]:
    """The same market, in which a symbol trades in this share of the seconds only."""
    rng = np.random.default_rng(5)
    for batch in batches:
        yield batch.only(np.flatnonzero(rng.random(len(batch.symbols)) < share).tolist())


def test_seconds_in_which_few_symbols_trade_are_no_smaller_market() -> None:
    _, found = analyse(traded(recording(SYMBOLS, WARM_UP + 120, "1s", inject=crash), 0.1))
    high = [a for a in found if isinstance(a, SynchronizedMovement) and a.severity.rank >= Severity.HIGH.rank]
    assert second(high[0]) <= 25
    assert min(move.universe or 0 for move in high) > 0.9 * SYMBOLS
    assert len(high[-1].affected_symbols) > 0.9 * SYMBOLS


def test_what_is_usual_for_a_symbol_is_learnt_however_seldom_it_trades() -> None:
    engine, found = analyse(traded(recording(SYMBOLS, 3 * WARM_UP, "1s"), 0.1))
    assert not [a for a in found if a.severity.rank >= Severity.HIGH.rank]
    every, seldom = analyse(recording(SYMBOLS, 3 * WARM_UP, "1s"))[0].bank, engine.bank
    for one, other in ((every.mad, seldom.mad), (every.volume, seldom.volume)):
        assert other.samples.count[:SYMBOLS].min() >= 0.8 * one.samples.count[:SYMBOLS].max()


def test_who_misses_a_candle_of_a_crash_has_not_crashed_alone() -> None:
    """What the market did in the gap is in the next return as well; of the market's it is no longer a part."""
    at, absent = 300, set(names(SYMBOLS)[12:20])

    def crash_of_hours(returns: Returns, volumes: Returns) -> None:
        returns[at : at + 6] -= 0.08
        volumes[at : at + 6] *= 12

    def found(missing: bool) -> list[tuple[str, Severity]]:
        batches = [
            without(batch, absent) if missing and index in {at + 1, at + 2} else batch
            for index, batch in enumerate(recording(SYMBOLS, at + 6, "5m", inject=crash_of_hours))
        ]
        messages = analyse(batches, "5m")[1]
        assert any(isinstance(message, SynchronizedMovement) for message in messages)
        return [
            (message.sector if isinstance(message, SectorAnomaly) else message.symbol, message.severity)
            for message in messages
            if isinstance(message, SectorAnomaly) or (isinstance(message, Alert) and not message.incident)
            if message.timestamp > START_MS + at * 300_000
        ]

    assert found(missing=False) == []
    assert found(missing=True) == []


def test_what_is_a_synchronized_movement_in_a_calm_universe_is_nothing_in_another() -> None:
    days = 3 * 288

    def severities(calm: float) -> set[Severity]:
        def slide(returns: Returns, volumes: Returns) -> None:
            returns *= calm
            returns[days : days + 3] -= 0.003

        found = analyse(recording(SYMBOLS, days + 4, "5m", inject=slide), "5m")[1]
        return {message.severity for message in found if isinstance(message, SynchronizedMovement)}

    assert severities(calm=1.0) == set()
    calm = severities(calm=0.2)
    assert calm
    assert calm <= {Severity.LOW, Severity.MEDIUM}


def early_bird(returns: Returns, volumes: Returns) -> None:
    """A crash that one symbol begins three seconds before all others."""
    crash(returns, volumes)
    returns[WARM_UP - 3 : WARM_UP, 7] -= 0.05 / 20
    returns[WARM_UP + 17 : WARM_UP + 20, 7] += 0.05 / 20


def test_an_alert_that_came_before_the_incident_is_adopted_and_ends_with_it() -> None:
    _, found = analyse(recording(SYMBOLS, WARM_UP + 30 * 60, "1s", inject=early_bird))
    move = next(a for a in found if isinstance(a, SynchronizedMovement))
    revisions = [a for a in found if isinstance(a, Alert) and a.symbol == "C007USDT"]
    assert second(revisions[0]) < second(move)
    assert revisions[0].incident is None
    assert any(a.id == revisions[0].id and a.incident == move.id for a in revisions)
    ended = next(a.detected_at for a in found if a.id == move.id and a.state is Lifecycle.CLOSED)
    parts = {a.id: a for a in found if isinstance(a, Alert) and a.incident == move.id}
    assert all(a.state is Lifecycle.CLOSED and a.detected_at <= ended for a in parts.values())


def test_a_sector_that_falls_alone_is_a_sector_anomaly() -> None:
    _, found = analyse(recording(SYMBOLS, WARM_UP + 120, "1s", inject=sector_falls))
    sectors = [a for a in found if isinstance(a, SectorAnomaly)]
    assert {a.sector for a in sectors} == {"meme"}
    assert second(sectors[0]) <= 30
    assert max(a.severity.rank for a in sectors) >= Severity.HIGH.rank
    assert sectors[-1].performance_pct < -2
    for sector in sectors:
        assert sector.excess_pct is not None
        assert sector.deviation is not None
        assert sector.excess_pct * sector.deviation > 0
    assert set(sectors[-1].affected_symbols) <= set(names(SYMBOLS)[12:20])
    parts = [a for a in found if isinstance(a, Alert) and a.incident == sectors[0].id]
    assert parts, "its members' alerts are parts of it"
    assert {a.symbol for a in parts} <= set(names(SYMBOLS)[12:20])


def test_an_ordinary_market_is_quiet() -> None:
    _, found = analyse(recording(SYMBOLS, WARM_UP + 15 * 60, "1s"))
    assert len(found) <= 3


def test_stress_points_add_up_to_the_index() -> None:
    _, found = analyse(recording(SYMBOLS, WARM_UP + 60, "1s", inject=crash))
    for anomaly in found:
        if isinstance(anomaly, MarketStress):
            assert sum(c.points for c in anomaly.components.values()) == pytest.approx(anomaly.stress_index)
            assert anomaly.magnitude == anomaly.components[anomaly.metric].value


@pytest.mark.parametrize("inject", [crash, early_bird, sector_falls])
def test_revisions_count_up_and_every_message_survives_the_wire(inject: Callable[[Returns, Returns], None]) -> None:
    engine, found = analyse(recording(SYMBOLS, WARM_UP + 60, "1s", inject=inject))
    now = found[-1].timestamp
    found += engine.close(now)
    revisions: dict[str, int] = {}
    states: dict[str, Lifecycle] = {}
    for anomaly in found:
        assert anomaly.revision == revisions.get(anomaly.id, 0) + 1
        revisions[anomaly.id] = anomaly.revision
        states[anomaly.id] = anomaly.state
        if isinstance(anomaly, Alert):
            assert decode_alert(encode(anomaly), received_at=now) == anomaly
            assert (anomaly.history is msgspec.UNSET) == (anomaly.revision > 1)
        else:
            assert decode_market(encode(anomaly), received_at=now) == anomaly
    assert set(states.values()) == {Lifecycle.CLOSED}


def test_an_end_is_no_news_of_a_later_candle() -> None:
    """The last revision keeps the time of the candle whose figures it repeats: histories keep their order."""

    def jump(returns: Returns, volumes: Returns) -> None:
        returns[WARM_UP : WARM_UP + 30, 3] += 0.05 / 30

    _, found = analyse(recording(SYMBOLS, WARM_UP + 30 * 60, "1s", inject=jump))
    shown: dict[str, int] = {}
    ends = 0
    for anomaly in found:
        if anomaly.state is Lifecycle.CLOSED:
            ends += 1
            assert anomaly.timestamp == shown[anomaly.id] < anomaly.detected_at - 60_000
        shown[anomaly.id] = anomaly.timestamp
    assert ends


def test_the_same_recording_gives_the_same_messages() -> None:
    assert (
        analyse(recording(20, WARM_UP + 40, "1s", inject=crash))[1]
        == analyse(recording(20, WARM_UP + 40, "1s", inject=crash))[1]
    )


def test_a_batch_out_of_order_is_ignored() -> None:
    first, second_ = list(recording(10, 2))
    engine = Engine("test", "1m", {})
    engine.update(second_, 0)
    assert engine.update(first, 0) == []
    assert engine.panel.close_time == second_.close_time


def test_symbols_come_go_and_return() -> None:
    batches = list(recording(20, 120, inject=lambda r, v: r.__setitem__((slice(90, 91), slice(None)), -0.06)))
    engine = Engine("test", "1m", {})
    found: list[Alert | MarketAnomaly] = []
    for i, batch in enumerate(batches):
        keep = np.arange(20) if i > 30 else np.arange(10)
        keep = keep[keep != 4] if 40 <= i < 80 else keep
        found += engine.update(batch.only(keep.tolist()), batch.close_time)
    assert any(isinstance(a, SynchronizedMovement) and a.universe == 20 for a in found)


def test_a_restored_engine_goes_on_as_if_nothing_had_been() -> None:
    batches = list(recording(20, WARM_UP + 60, "1s", inject=crash))
    middle = WARM_UP + 15
    engine, _ = analyse(batches[:middle])
    assert engine.alerts.open, "the restart is to come while something is open"
    other = Engine("test", "1s", SECTORS)
    other.restore(unpack(pack(engine.snapshot())))
    for batch in batches[middle:]:
        assert other.update(batch, batch.close_time) == engine.update(batch, batch.close_time)
    assert pack(other.snapshot()) == pack(engine.snapshot())


def test_a_state_of_something_else_is_refused() -> None:
    engine = Engine("test", "1s", SECTORS)
    with pytest.raises(ValueError, match="not one of"):
        Engine("test", "1m", SECTORS).restore(engine.snapshot())
    with pytest.raises(ValueError, match="incomplete"):
        engine.restore({"venue": "test", "interval": "1s"})


def nasty(batches: Iterable[CandleBatch]) -> Iterator[CandleBatch]:
    """Bad ticks of every kind, each of a symbol of its own; the last one jumps between what a price can be at most and
    at least."""
    ticks = [
        {"high": 1e200}, {"high": 1e300, "low": 1e-300}, {"close": 1.7e308}, {"close": 5e-324}, {"open": -1.0},
        {"close": math.nan}, {"low": math.inf}, {"volume": 1e300}, {"volume": math.nan},
        {"close": 1e29, "volume": 1e29},
    ]  # fmt: skip
    for number, batch in enumerate(batches):
        if number % 40 == 39 and number < 200:
            for column, tick in enumerate(ticks):
                for name, value in tick.items():
                    getattr(batch, name)[column] = value
        for name in ("open", "high", "low", "close"):
            getattr(batch, name)[len(ticks)] = 1e30 if number % 2 else 1e-30
        yield batch


def test_no_number_stops_it() -> None:
    batches = list(nasty(recording(20, 400, inject=drift)))
    engine, found = analyse(batches, "1m")
    assert {a.symbol for a in found if isinstance(a, Alert)} >= {"C005USDT", "C009USDT", "C010USDT"}
    for anomaly in found:
        decode = decode_alert if isinstance(anomaly, Alert) else decode_market
        assert decode(encode(anomaly), received_at=0) == anomaly
    traded = batches[-1].close[7] * batches[-1].volume[7]
    assert engine.panel.turnover[0, 7] == pytest.approx(traded, rel=1e-9), (
        "what was 1e300 is forgotten to the last digit"
    )


def test_the_real_crash_of_2021_05_19(shared_data: Path) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(shared_data / "klines" / "binance_spot_1m_2021-05-12_2021-05-20.parquet")
    day = pc.strftime(table["ts"], format="%Y-%m-%dT%H")
    table = table.filter(pc.and_(pc.greater_equal(day, "2021-05-19T09"), pc.less(day, "2021-05-19T14")))
    rows: dict[int, list[dict[str, object]]] = {}
    for row in table.to_pylist():
        rows.setdefault(int(row["ts"].timestamp() * 1000), []).append(row)
    engine = Engine("binance", "1m", {})
    found: list[Alert | MarketAnomaly] = []
    for opened, candles in sorted(rows.items()):
        columns = {c: [candle[c] for candle in candles] for c in ("open", "high", "low", "close", "volume")}
        batch = msgspec.convert(
            {"venue": "binance", "interval": "1m", "close_time": opened + 60_000,
             "symbols": [candle["symbol"] for candle in candles], **columns},
            CandleBatch,
        )  # fmt: skip
        found += engine.update(batch, batch.close_time)
    crash_at = 1_621_428_600_000  # 12:50 UTC
    for kind in (SynchronizedMovement, MarketStress):
        high = [a for a in found if isinstance(a, kind) and a.severity.rank >= Severity.HIGH.rank]
        assert any(abs(a.timestamp - crash_at) < 15 * 60_000 for a in high), kind


def test_a_feed_that_thaws_is_no_crash() -> None:
    """Five minutes of silence, and everything is 10 % lower: what was open ends, and nothing new begins."""

    def thaw(returns: Returns, volumes: Returns) -> None:
        pump(returns, volumes)
        returns[WARM_UP + 300] -= 0.1

    batches = list(recording(SYMBOLS, WARM_UP + 420, "1s", inject=thaw))
    engine, _ = analyse(batches[: WARM_UP + 60])
    assert engine.alerts.open
    after = [a for b in batches[WARM_UP + 301 :] for a in engine.update(b, b.close_time)]
    assert after
    assert {a.state for a in after} == {Lifecycle.CLOSED}
    assert not engine.alerts.open
