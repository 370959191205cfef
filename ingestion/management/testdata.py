"""Made-up anomalies for tests by hand: plausible, valid in the wire format, reproducible by seed.

Times (epoch ms) and the `random.Random` are arguments. Every id starts with `test-` and contains the start of its run,
so two runs with one seed differ in ids and times only.
"""

import random
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

import msgspec

from market.wire.messages import (
    DETECTING,
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
    SourceKind,
    StressComponent,
    StressMetric,
    SynchronizedMovement,
)

VENUE: Final = "test"
INTERVAL: Final = "1m"
INTERVAL_MS: Final = 60_000
# Sector → symbol → a price of the right order of magnitude.
UNIVERSE: Final[Mapping[str, Mapping[str, float]]] = {
    "Layer 1": {"BTCUSDT": 64_000.0, "ETHUSDT": 3_100.0, "SOLUSDT": 145.0, "AVAXUSDT": 27.0, "ADAUSDT": 0.44},
    "DeFi": {"UNIUSDT": 7.6, "AAVEUSDT": 92.0, "MKRUSDT": 2_400.0, "CRVUSDT": 0.31, "LDOUSDT": 1.8},
    "Meme": {"DOGEUSDT": 0.12, "SHIBUSDT": 0.000018, "PEPEUSDT": 0.0000104, "WIFUSDT": 2.1, "BONKUSDT": 0.000024},
    "AI": {"FETUSDT": 1.3, "RENDERUSDT": 6.9, "TAOUSDT": 310.0, "WLDUSDT": 2.2, "GRTUSDT": 0.19},
    "Gaming": {"IMXUSDT": 1.4, "GALAUSDT": 0.022, "SANDUSDT": 0.31, "AXSUSDT": 5.9, "MANAUSDT": 0.33},
}
SYMBOLS: Final = tuple(symbol for members in UNIVERSE.values() for symbol in members)
PRICES: Final = {symbol: price for members in UNIVERSE.values() for symbol, price in members.items()}

_THRESHOLD: Final = 4.0
_CHART_POINTS: Final = 60
# The lowest score of each severity.
_FLOORS: Final = {Severity.LOW: 4.2, Severity.MEDIUM: 6.0, Severity.HIGH: 9.0, Severity.CRITICAL: 14.0}
_CEILING: Final = 24.0
_WEIGHTS: Final = {Severity.LOW: 50, Severity.MEDIUM: 30, Severity.HIGH: 15, Severity.CRITICAL: 5}
_SURGES: Final = (Method.VOLUME, Method.VOLATILITY)


def random_alerts(rng: random.Random, started_at: int, interval_ms: int) -> Iterator[Alert]:
    """Endless new alerts of any symbol, method, severity and direction; the nth is dated `started_at + n·interval`."""
    for index in count():
        yield _alert(rng, f"test-a{started_at}-{index}", started_at + index * interval_ms)


def random_market(rng: random.Random, started_at: int, interval_ms: int) -> Iterator[MarketAnomaly]:
    """Endless new market anomalies of every type, dated like `random_alerts`."""
    for index in count():
        make = rng.choice((_random_synchronized, _random_stress, _random_sector))
        yield make(rng, f"test-m{started_at}-{index}", started_at + index * interval_ms)


def curated_market(started_at: int, interval_ms: int) -> list[MarketAnomaly]:
    """Every market type, both directions, every stress metric, every severity, and one episode from OPEN to CLOSED."""
    rng = random.Random("curated")
    times = count(started_at, max(interval_ms, 1))

    def name(part: str) -> str:
        return f"test-{part}-{started_at}"

    crash = _synchronized(name("crash"), next(times), Severity.HIGH, Direction.DOWN, list(SYMBOLS[:17]), -2.4)
    worse = msgspec.structs.replace(
        crash,
        revision=2,
        state=Lifecycle.ESCALATED,
        severity=Severity.CRITICAL,
        detected_at=next(times),
        synchronization_ratio=0.96,
        average_change_pct=-5.1,
        affected_symbols=list(SYMBOLS[:24]),
        alert_count=21,
    )
    stress = [
        _stress(rng, name(f"stress-{metric}"), next(times), severity, metric)
        for metric, severity in zip(StressMetric, (*Severity, Severity.MEDIUM, Severity.HIGH), strict=True)
    ]
    return [
        crash,
        worse,
        *stress,
        _sector(name("sector-down"), next(times), Severity.HIGH, "Meme", -8.2, -9.6),
        _sector(name("sector-up"), next(times), Severity.LOW, "AI", 3.1, 4.8),
        _synchronized(name("rally"), next(times), Severity.MEDIUM, Direction.UP, list(SYMBOLS[:19]), 1.7),
        msgspec.structs.replace(worse, revision=3, state=Lifecycle.CLOSED, detected_at=next(times)),
    ]


# --- Alerts -----------------------------------------------------------------------------------------------------------


def _alert(rng: random.Random, identifier: str, timestamp: int) -> Alert:
    """An alert with consistent figures: score = last return / usual return; the band is ± threshold · usual return."""
    symbol = rng.choice(SYMBOLS)
    method = rng.choice(DETECTING)
    severity = _severity(rng)
    direction = rng.choice(tuple(Direction))
    sign = 1 if direction is Direction.UP else -1
    size = rng.uniform(_FLOORS[severity], _next_floor(severity))
    usual = rng.uniform(0.0005, 0.002)  # one robust standard deviation of the returns
    closes = [PRICES[symbol] * rng.uniform(0.9, 1.1)]
    for _ in range(_CHART_POINTS - 2):
        closes.append(closes[-1] * (1 + rng.gauss(0, usual)))
    expected = closes[-1]
    # A surge of volume or volatility comes with a small move; every other method scores the move itself.
    move = sign * usual * (rng.uniform(0.5, 3) if method in _SURGES else size)
    closes.append(expected * (1 + move))
    closes = [float(f"{close:.5g}") for close in closes]
    band = _THRESHOLD * usual
    return Alert(
        id=identifier,
        revision=1,
        symbol=symbol,
        venue=VENUE,
        interval=INTERVAL,
        method=method,
        severity=severity,
        direction=direction,
        score=round(size if method in _SURGES else sign * size, 2),
        threshold=_THRESHOLD,
        price=closes[-1],
        expected=expected,
        lower=expected * (1 - band),
        upper=expected * (1 + band),
        change_pct=round(100 * move, 3),
        timestamp=timestamp,
        detected_at=timestamp,
        state=Lifecycle.OPEN,
        spark=closes,
        explanation=_explanation(symbol, method, move, usual, size),
        incident=None,
        excess_pct=round(100 * move, 3),
        rarity_days=round(size**2 / 6, 1),
        source=SourceKind.SIMULATED,
        history=[
            HistoryPoint(
                timestamp=timestamp - (_CHART_POINTS - 1 - index) * INTERVAL_MS,
                close=close,
                expected=previous,
                lower=previous * (1 - band),
                upper=previous * (1 + band),
            )
            for index, (previous, close) in enumerate(zip([closes[0], *closes], closes, strict=False))
        ],
    )


def _explanation(symbol: str, method: Method, move: float, usual: float, size: float) -> Explanation:
    verb = "rose" if move > 0 else "fell"
    if method in _SURGES:
        sentence = (
            f"{symbol}: {method.lower()} {size:.1f} times the usual in 1 min while the price {verb} {abs(move):.2%}"
        )
        observed, expected = size, 1.0
    else:
        sentence = f"{symbol} {verb} {abs(move):.2%} in 1 min; usual range ±{_THRESHOLD * usual:.2%}"
        observed, expected = move, usual
    return Explanation(
        sentence=sentence,
        window="1m",
        baseline_size=_CHART_POINTS - 1,
        observed=observed,
        usual=expected,
        methods=[MethodScore(method=method, score=round(size, 2))],
        detector="testdata",
        version="1",
        parameters={"threshold": _THRESHOLD},
    )


def _severity(rng: random.Random) -> Severity:
    return rng.choices(tuple(_WEIGHTS), weights=tuple(_WEIGHTS.values()))[0]


def _next_floor(severity: Severity) -> float:
    above = [floor for other, floor in _FLOORS.items() if other.rank > severity.rank]
    return min(above, default=_CEILING)


# --- Market anomalies -------------------------------------------------------------------------------------------------


def _random_synchronized(rng: random.Random, identifier: str, timestamp: int) -> SynchronizedMovement:
    severity = _severity(rng)
    direction = rng.choice(tuple(Direction))
    breadth = rng.randint(len(SYMBOLS) * 3 // 5, len(SYMBOLS))
    change = rng.uniform(0.5, 1.5) * (1 + severity.rank) * (1 if direction is Direction.UP else -1)
    return _synchronized(identifier, timestamp, severity, direction, rng.sample(SYMBOLS, breadth), round(change, 2))


def _random_stress(rng: random.Random, identifier: str, timestamp: int) -> MarketStress:
    return _stress(rng, identifier, timestamp, _severity(rng), rng.choice(tuple(StressMetric)))


def _random_sector(rng: random.Random, identifier: str, timestamp: int) -> SectorAnomaly:
    severity = _severity(rng)
    sign = rng.choice((1, -1))
    deviation = sign * rng.uniform(_FLOORS[severity], _next_floor(severity))
    sector = rng.choice(tuple(UNIVERSE))
    return _sector(identifier, timestamp, severity, sector, round(0.7 * deviation, 2), round(deviation, 2))


def _opened(identifier: str, timestamp: int, severity: Severity) -> dict[str, Any]:
    """The fields that all types share at the opening."""
    return {
        "id": identifier,
        "revision": 1,
        "severity": severity,
        "timestamp": timestamp,
        "detected_at": timestamp,
        "state": Lifecycle.OPEN,
        "universe": len(SYMBOLS),
        "venue": VENUE,
        "source": SourceKind.SIMULATED,
    }


def _synchronized(
    identifier: str, timestamp: int, severity: Severity, direction: Direction, affected: list[str], change_pct: float
) -> SynchronizedMovement:
    return SynchronizedMovement(
        **_opened(identifier, timestamp, severity),
        window="5m",
        direction=direction,
        synchronization_ratio=len(affected) / len(SYMBOLS),
        average_change_pct=change_pct,
        usual_ratio=0.31,
        affected_symbols=affected,
        alert_count=len(affected) // 2,
    )


# The index at the middle of each severity's zone (Calm < 40 < Elevated < 60 < High < 80 < Extreme).
_INDICES: Final = {Severity.LOW: 45.0, Severity.MEDIUM: 55.0, Severity.HIGH: 70.0, Severity.CRITICAL: 90.0}


def _stress(
    rng: random.Random, identifier: str, timestamp: int, severity: Severity, leader: StressMetric
) -> MarketStress:
    """`leader` has the most points; the points of all components add up to the index."""
    index = _INDICES[severity]
    shares = {metric: rng.uniform(0.5, 1.0) for metric in StressMetric} | {leader: 2.0}
    points = {metric: round(index * share / sum(shares.values()), 2) for metric, share in shares.items()}
    components = {
        metric: StressComponent(value=round(value / 10, 3), percentile=min(99.9, 60 + value), points=value)
        for metric, value in points.items()
    }
    return MarketStress(
        **_opened(identifier, timestamp, severity),
        window="15m",
        metric=leader,
        magnitude=components[leader].value,
        stress_index=round(sum(points.values()), 2),
        components=components,
    )


def _sector(
    identifier: str, timestamp: int, severity: Severity, sector: str, performance_pct: float, deviation: float
) -> SectorAnomaly:
    members = list(UNIVERSE[sector])
    return SectorAnomaly(
        **_opened(identifier, timestamp, severity),
        window="15m",
        sector=sector,
        performance_pct=performance_pct,
        deviation=deviation,
        excess_pct=round(0.8 * performance_pct, 2),
        members=len(members),
        members_moving=len(members) - 1,
        affected_symbols=members[:-1],
    )
