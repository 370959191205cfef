"""What an alert says of itself is what the candles say, and enough to compute its score again."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from alerts.detectors.explanation import checks
from ingestion.backtest.run import analyse as analysed
from ingestion.sources.recording import load_recording
from market.wire.decoding import decode_alert
from market.wire.messages import (
    DETECTING,
    Alert,
    CandleBatch,
    Direction,
    Lifecycle,
    Method,
    Severity,
    SourceKind,
    encode,
)
from tests.ingestion.engine.events import SYMBOLS, WARM_UP, analyse, crash, drift, pump, wick, without
from tests.market.recordings import START_MS, Returns, recording


def test_an_alert_explains_itself() -> None:
    _, found = analyse(recording(SYMBOLS, WARM_UP + 60, "1s", inject=pump))
    alert = next(a for a in found if isinstance(a, Alert))
    assert alert.explanation.sentence.startswith("C003USDT rose ")
    assert len(alert.spark) == 60
    assert alert.price is not None
    assert alert.spark[-1] == pytest.approx(alert.price, rel=1e-4)
    assert alert.upper is not None
    assert alert.price > alert.upper
    history = alert.history
    assert isinstance(history, list)
    assert len(history) == 60
    assert history[-1].timestamp == alert.timestamp
    assert history[-1].upper == pytest.approx(alert.upper)


def of_window(batches: Sequence[CandleBatch], alert: Alert, symbol: str) -> tuple[float, float]:
    """The first and the last close of the alert's window, of any symbol."""
    close = raw(batches, alert, "close", symbol)
    return close[0], close[-1]


def raw(batches: Sequence[CandleBatch], alert: Alert, name: str, symbol: str | None = None) -> Returns:
    """The symbol's candles of the alert's window, and the one before it; one that is missing is the one before."""
    last = next(i for i, batch in enumerate(batches) if batch.close_time == alert.timestamp)
    count = alert.explanation.parameters["window_ms"] // 60_000
    values = [math.nan]
    for batch in batches[: last + 1]:
        values.append(
            dict(zip(batch.symbols, getattr(batch, name), strict=True)).get(symbol or alert.symbol, values[-1])
        )
    return np.array(values[-count - 1 :])


def moves_of_all_kinds(returns: Returns, volumes: Returns) -> None:
    drift(returns, volumes)
    returns[180:260, 6] += 0.0011
    returns[230, 12] += 0.02
    returns[231:236, 12] -= 0.03
    volumes[230:236, 12] *= 40
    volumes[210, 13] *= 30
    returns[220:223, 14] += [0.03, -0.03, 0.03]
    returns[240:246] -= 0.012
    returns[240:246, 15] += 0.06
    volumes[240:246, 15] *= 40


def test_what_an_alert_says_is_what_the_candles_say() -> None:
    batches = list(wick(recording(SYMBOLS, 300, inject=moves_of_all_kinds), 220, 11))
    # One of the two that drift trades in one minute of three.
    batches = [without(batch, {"C006USDT"} if i % 3 else set()) for i, batch in enumerate(batches)]
    alerts = [a for a in analyse(batches, "1m")[1] if isinstance(a, Alert) and a.state is not Lifecycle.CLOSED]
    assert {a.method for a in alerts} == set(DETECTING)
    assert {a.severity for a in alerts} == set(Severity)
    for alert in alerts:
        observed, given = alert.explanation.observed, alert.explanation.parameters
        close = raw(batches, alert, "close")
        assert alert.price == float(f"{close[-1]:.12g}")
        assert alert.change_pct == pytest.approx(100 * (close[-1] / close[0] - 1))
        assert abs(alert.score) >= alert.threshold if alert.threshold else False
        if alert.method is Method.VOLUME:
            traded = np.sum(raw(batches, alert, "volume")[1:] * close[1:])
            assert observed == pytest.approx(traded * 300_000 / given["window_ms"], rel=0.05)
        elif alert.method is Method.VOLATILITY:
            spread = np.log(raw(batches, alert, "high")[1:].max() / raw(batches, alert, "low")[1:].min())
            assert observed == pytest.approx(spread)
        elif alert.method is not Method.CUSUM:
            assert observed == pytest.approx(np.log(close[-1] / close[0]))
        if alert.excursion_pct is not None:
            ends = raw(batches, alert, "high")[-1], raw(batches, alert, "low")[-1]
            went = [100 * (end / raw(batches, alert, "close")[-2] - 1) for end in ends]
            assert min(abs(alert.excursion_pct - way) for way in went) < 1e-6
            assert (alert.direction is Direction.UP) == (alert.excursion_pct > 0)
        elif close[-1] != close[0]:
            assert (alert.direction is Direction.UP) == (close[-1] > close[0])
        closes = [of_window(batches, alert, symbol) for symbol in batches[-1].symbols]
        market = math.expm1(np.median(np.log([last / first for first, last in closes])))
        assert alert.change_pct is not None
        assert alert.excess_pct == pytest.approx(alert.change_pct - 100 * market, abs=0.05)
    # One drifts up against a market that falls: its price fell less.
    less = [a for a in alerts if a.score > 0 and a.direction is Direction.DOWN and a.method is Method.CUSUM]
    assert less
    assert all("less than the market" in a.explanation.sentence for a in less)
    drifting = {a.symbol: a.explanation.parameters for a in alerts if a.method is Method.CUSUM}
    assert drifting.keys() >= {"C005USDT", "C006USDT"}
    # The one that trades seldom takes a step in three minutes.
    sparse = drifting["C006USDT"]
    assert sparse["window_ms"] >= 2.5 * 60_000 * len(sparse["steps"])


def test_what_is_high_is_told_by_what_makes_it_so() -> None:
    """A climb on little volume, and a candle down on much: the alert is of the climb, though the candle is rarer."""

    def climb(returns: Returns, volumes: Returns) -> None:
        returns[200:212, 3] += 0.018
        returns[212, 3] -= 0.06
        volumes[212, 3] *= 300

    found = analyse(recording(SYMBOLS, 214, inject=climb), "1m")[1]
    alert = next(a for a in found if isinstance(a, Alert) and a.severity.rank >= Severity.HIGH.rank)
    assert alert.timestamp == START_MS + 213 * 60_000
    assert alert.direction is Direction.UP
    assert alert.threshold is not None
    assert alert.score > alert.threshold > 0
    assert alert.change_pct is not None
    assert alert.change_pct > 12
    assert "C003USDT rose" in alert.explanation.sentence


def test_what_an_alert_says_is_enough_to_compute_its_score_again() -> None:
    found = [a for inject in (pump, crash) for a in analyse(recording(SYMBOLS, WARM_UP + 120, "1s", inject=inject))[1]]
    found += analyse(wick(recording(SYMBOLS, 300, inject=drift), 220, 11), "1m")[1]
    alerts = [decode_alert(encode(a), received_at=0) for a in found if isinstance(a, Alert)]
    assert {a.method for a in alerts} == set(DETECTING)
    told = {alert.id: checks(alert) for alert in alerts}
    assert all(told.values())
    assert [(found, check) for found, made in told.items() for check in made if not check.holds] == []
    assert {check.name for made in told.values() for check in made} == {
        "score", "threshold", "price", "change", "observed", "size", "volume", "band", "methods", "severity", "rarity",
    }  # fmt: skip


def test_a_drift_says_how_its_sum_came_about() -> None:
    found = analyse(recording(SYMBOLS, 300, inject=drift), "1m")[1]
    drifts = [a for a in found if isinstance(a, Alert) and a.method is Method.CUSUM]
    assert {a.symbol for a in drifts} == {"C005USDT"}
    opened = drifts[0]
    assert opened.direction is Direction.UP
    assert "C005USDT drifted up" in opened.explanation.sentence
    assert "against the market" in opened.explanation.sentence
    assert len(opened.explanation.parameters["steps"]) * 60_000 == opened.explanation.parameters["window_ms"]
    assert opened.explanation.parameters["start"] == 0.0


def test_the_band_is_what_was_usual_before_the_event() -> None:
    """A pump that goes on for minutes widens what its own methods take for usual, not the band it is shown against."""

    def long_pump(returns: Returns, volumes: Returns) -> None:
        returns[120:150, 3] += 0.02
        volumes[120:150, 3] *= 40

    found = analyse(recording(SYMBOLS, 160, inject=long_pump), "1m")[1]
    pumped = [
        a for a in found if isinstance(a, Alert) and a.symbol == "C003USDT" and a.timestamp > START_MS + 7_200_000
    ]
    revisions = [a for a in pumped if a.upper is not None]
    assert len({a.id for a in revisions}) == 1
    assert len([a for a in revisions if a.state is not Lifecycle.CLOSED]) >= 3
    for alert in revisions:
        given = alert.explanation.parameters
        assert alert.upper is not None
        assert alert.expected is not None
        # The recording's own, 0.05 % for the market and 0.08 % for the symbol in a minute, less what its tails add.
        half = math.log(alert.upper / alert.expected) / math.sqrt(given["window_ms"] / 60_000)
        assert half == pytest.approx(2 * 0.78 * math.hypot(0.0005, 0.0008), rel=0.4)
        assert given["sigma"] == revisions[0].explanation.parameters["sigma"]


@pytest.mark.parametrize(
    "name",
    [
        "binance_spot_1m_2021-05-12_2021-05-20",
        "binance_spot_5m_2021-05-12_2021-05-23",
        "binance_spot_5m_labelled_pumps",
        "binance_spot_5m_quiet_2021-07-01_2021-07-05",
    ],
)
def test_the_direction_is_the_sign_of_the_change_or_of_the_wick_in_every_recording(
    shared_data: Path, name: str
) -> None:
    played = load_recording([shared_data / "klines" / f"{name}.parquet"])
    alerts = [message for message in analysed(played) if isinstance(message, Alert)]
    assert len(alerts) > 200
    for alert in alerts:
        assert alert.change_pct is not None
        if alert.excursion_pct is not None:
            assert (alert.excursion_pct > 0) == (alert.direction is Direction.UP), alert.id
            continue
        assert alert.change_pct == 0 or (alert.change_pct > 0) == (alert.direction is Direction.UP), alert.id
        assert alert.source is SourceKind.REPLAY
