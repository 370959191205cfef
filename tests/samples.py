"""Messages to test with: each complete and valid, changed by keyword."""

from typing import Any

import msgspec

from market.wire.messages import (
    Alert,
    Direction,
    Explanation,
    HistoryPoint,
    Lifecycle,
    MarketAnomaly,
    MarketStress,
    Method,
    MethodScore,
    SectorAnomaly,
    Severity,
    StressComponent,
    StressMetric,
    SynchronizedMovement,
)

EPOCH = 1_760_000_000_000
T0 = 1_760_000_060_000
HISTORY = [HistoryPoint(T0 - 1000 * back, 100.0 - back, 100.0, 99.0, 101.0) for back in range(3, 0, -1)]


def an_alert(id: str = "a1", **changes: Any) -> Alert:
    alert = Alert(
        id=id,
        revision=1,
        symbol="BTCUSDT",
        venue="binance",
        interval="1m",
        method=Method.Z_SCORE,
        severity=Severity.HIGH,
        direction=Direction.DOWN,
        score=-6.1,
        threshold=3.0,
        price=58_000.5,
        expected=60_000.0,
        lower=59_000.0,
        upper=61_000.0,
        change_pct=-3.4,
        timestamp=T0,
        detected_at=T0 + 120,
        state=Lifecycle.OPEN,
        spark=[60_000.0, 60_010.0, 58_000.0],
        explanation=Explanation(
            sentence="BTCUSDT fell 3.4 % in one minute.",
            observed=-3.4,
            usual=0.2,
            methods=[MethodScore(Method.Z_SCORE, -6.1), MethodScore(Method.MAD, -8.0)],
        ),
        incident=None,
    )
    return msgspec.structs.replace(alert, **changes)


_MARKET: dict[str, Any] = {
    "revision": 1,
    "severity": Severity.CRITICAL,
    "timestamp": T0,
    "detected_at": T0 + 120,
    "state": Lifecycle.OPEN,
    "window": "5m",
    "universe": 200,
}


def a_movement(id: str = "m1", **changes: Any) -> MarketAnomaly:
    movement = SynchronizedMovement(
        id=id,
        direction=Direction.DOWN,
        synchronization_ratio=0.9,
        average_change_pct=-4.2,
        usual_ratio=0.55,
        affected_symbols=["BTCUSDT", "ETHUSDT"],
        alert_count=7,
        **_MARKET,
    )
    return msgspec.structs.replace(movement, **changes)


def a_stress(id: str = "m2", **changes: Any) -> MarketAnomaly:
    stress = MarketStress(
        id=id,
        metric=StressMetric.VOLATILITY,
        magnitude=3.5,
        stress_index=82.0,
        components={StressMetric.VOLATILITY: StressComponent(0.04, 99.0, 82.0)},
        **_MARKET,
    )
    return msgspec.structs.replace(stress, **changes)


def a_sector(id: str = "m3", **changes: Any) -> MarketAnomaly:
    sector = SectorAnomaly(
        id=id,
        sector="DeFi",
        performance_pct=-8.0,
        deviation=-5.5,
        members=12,
        members_moving=10,
        affected_symbols=["UNIUSDT", "AAVEUSDT"],
        **_MARKET,
    )
    return msgspec.structs.replace(sector, **changes)
