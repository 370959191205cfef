"""What travels on NATS, over `/ws` and out of the REST API: candle batches, alerts and market anomalies.

Every message is a frozen `msgspec` struct in the wire format (snake_case JSON; times are integer epoch milliseconds,
UTC). `market.wire.decoding` reads them from the bytes of any publisher.
"""

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from market.wire.symbols import unify_symbol as unify_symbol

# 2001 … 2286: whatever is outside was not meant as milliseconds.
TimestampMs = Annotated[int, Meta(ge=1_000_000_000_000, lt=10_000_000_000_000)]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:\-]{0,79}$")]
# Capital letters and digits of any script; of ASCII nothing else. `symbols.is_symbol` is the whole rule.
Symbol = Annotated[str, Meta(pattern=r"^[^\x00-/:-@\[-\x7f]{1,40}$")]
VENUE: Final = r"^[a-z0-9][a-z0-9_\-]{0,39}$"
Venue = Annotated[str, Meta(pattern=VENUE)]
Interval = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,3}[smhd]$")]
Label = Annotated[str, Meta(min_length=1, max_length=80)]
Count = Annotated[int, Meta(ge=0)]
Revision = Annotated[int, Meta(ge=1, lt=2**31)]
# See `alerts.detectors.settings.Settings.hash`.
SettingsHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
# A method of ours (`Method`), or of a detector of one's own.
METHOD_NAME: Final = r"^[A-Z][A-Z0-9_]{1,30}\Z"
MethodName = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{1,30}$")]
Ratio = Annotated[float, Meta(ge=0, le=1)]
RarityDays = Annotated[float, Meta(ge=0)]
Symbols = Annotated[list[Symbol], Meta(max_length=10_000)]


class Severity(StrEnum):
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> "Rank":
        return _RANKS[self]


class Rank(IntEnum):
    """A severity as a number: severities are compared, counted and stored by it. NONE is never published or stored."""

    NONE = -1
    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3

    @property
    def severity(self) -> Severity:
        """The severity of this rank. Raises `KeyError` for NONE."""
        return Severity[self.name]


SEVERITIES: Final = tuple(Severity)
_RANKS: Final = {severity: Rank[severity.name] for severity in SEVERITIES}


class Direction(StrEnum):
    UP = "UP"
    DOWN = "DOWN"


class Lifecycle(StrEnum):
    """The life of one anomaly: it opens, may become more severe, and closes."""

    OPEN = "OPEN"
    ESCALATED = "ESCALATED"
    CLOSED = "CLOSED"


class Method(StrEnum):
    """How an alert was found. EXTERNAL: by rules of another publisher that are none of ours.

    Detectors of one's own have other names (`market.wire.methods`).
    """

    Z_SCORE = "Z_SCORE"
    MAD = "MAD"
    EWMA = "EWMA"
    CUSUM = "CUSUM"
    VOLUME = "VOLUME"
    VOLATILITY = "VOLATILITY"
    RESIDUAL = "RESIDUAL"
    EXTERNAL = "EXTERNAL"


# Those that our own detectors use.
DETECTING: Final = tuple(method for method in Method if method is not Method.EXTERNAL)


class MarketType(StrEnum):
    SYNCHRONIZED_MOVEMENT = "SYNCHRONIZED_MOVEMENT"
    MARKET_STRESS = "MARKET_STRESS"
    SECTOR_ANOMALY = "SECTOR_ANOMALY"


class StressMetric(StrEnum):
    VOLATILITY = "volatility"
    BREADTH = "breadth"
    DISPERSION = "dispersion"
    CORRELATION = "correlation"
    TURBULENCE = "turbulence"
    ABSORPTION = "absorption"


class MethodScore(Struct, frozen=True):
    method: MethodName
    score: float


class Escalation(Struct, frozen=True):
    severity: Severity
    timestamp: TimestampMs


class Explanation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an alert was raised: enough to say it in words and to recompute the score."""

    sentence: str = ""
    window: str | None = None
    baseline_size: Count | None = None
    observed: float | None = None
    usual: float | None = None
    methods: list[MethodScore] = []
    escalations: list[Escalation] = []
    detector: str | None = None
    version: str | None = None
    parameters: dict[str, Any] = {}


class SourceKind(StrEnum):
    """Where prices come from: a venue, a recording, or the simulated market."""

    LIVE = "live"
    REPLAY = "replay"
    SIMULATED = "simulated"


class HistoryPoint(Struct, frozen=True):
    """One candle of an alert's chart: the close and the band it was expected in."""

    timestamp: TimestampMs
    close: float
    expected: float | None
    lower: float | None
    upper: float | None


class Alert(Struct, frozen=True, kw_only=True):
    """A per-symbol anomaly. `id` is stable for the episode; `revision` counts its changes from 1.

    `score` is signed and in robust standard deviations unless the method says otherwise; for VOLUME and VOLATILITY it
    is the surge (≥ 0), for EXTERNAL in the publisher's own units, and 0 if it gave none. `direction` is the sign of the
    price's move over its window when the episode opened or turned.
    `excess_pct`: `change_pct` less the market's over the same window, in percentage points. `rarity_days`: a finding as
    strong comes once in so many days for one symbol. `excursion_pct`: of a wick, how far the last candle went from the
    close before it came back; null of anything else. They are null where unknown, as are `source` and `settings`, which
    stands for the settings of the analysis (`GET /settings/<settings>`), from foreign publishers. `history` travels
    with the first revision only: it is frozen when the episode opens, stored, served by `GET /alerts/<id>`, and left
    out of the frames to browsers.
    """

    id: Identifier
    revision: Revision
    symbol: Symbol
    venue: Venue
    interval: Interval
    method: MethodName
    severity: Severity
    direction: Direction
    score: float
    threshold: float | None
    price: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    change_pct: float | None
    timestamp: TimestampMs
    detected_at: TimestampMs
    state: Lifecycle
    spark: Annotated[list[float], Meta(max_length=60)]
    explanation: Explanation
    incident: Identifier | None
    excess_pct: float | None = None
    rarity_days: RarityDays | None = None
    excursion_pct: float | None = None
    source: SourceKind | None = None
    settings: SettingsHash | None = None
    history: Annotated[list[HistoryPoint], Meta(max_length=60)] | msgspec.UnsetType = msgspec.UNSET


class _MarketFields(Struct, frozen=True, kw_only=True):
    """`venue`: null of an anomaly over all venues. `rarity_days`: as strong comes once in so many days.

    A figure that a foreign publisher leaves out is null; our own engine gives all that have no default.
    """

    id: Identifier
    revision: Revision
    severity: Severity
    timestamp: TimestampMs
    detected_at: TimestampMs
    state: Lifecycle
    window: str
    universe: Count | None
    venue: Venue | None = None
    rarity_days: RarityDays | None = None
    source: SourceKind | None = None
    settings: SettingsHash | None = None


class SynchronizedMovement(
    _MarketFields, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="SYNCHRONIZED_MOVEMENT"
):
    """Many symbols move the same way at once. `synchronization_ratio` is their share of the universe.

    `changes_pct`: what each of the affected symbols did over the window; `average_change_pct` is their mean. Left out
    by publishers that do not know.
    """

    direction: Direction
    synchronization_ratio: Ratio
    average_change_pct: float | None
    usual_ratio: Ratio | None
    affected_symbols: Symbols
    alert_count: Count | None
    changes_pct: list[float] = []

    def __post_init__(self) -> None:
        if self.changes_pct and len(self.changes_pct) != len(self.affected_symbols):
            count, size = len(self.changes_pct), len(self.affected_symbols)
            raise ValueError(
                f"changes_pct has {count} values for {size} symbols; it needs one value per affected symbol"
            )


class StressComponent(Struct, frozen=True):
    value: float
    percentile: Annotated[float, Meta(ge=0, le=100)]
    points: float


class MarketStress(_MarketFields, frozen=True, kw_only=True, tag_field="type", tag="MARKET_STRESS"):
    """The market as a whole is under stress. `points` of the components add up to `stress_index` (0–100)."""

    metric: StressMetric
    magnitude: float | None
    stress_index: Annotated[float, Meta(ge=0, le=100)] | None
    components: dict[StressMetric, StressComponent]


class SectorAnomaly(
    _MarketFields, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="SECTOR_ANOMALY"
):
    """A sector departs from the market. `deviation` is signed, in the sector's own robust standard deviations.

    `excess_pct`: by how much, in percentage points over the window, of the same sign as `deviation`.
    `degraded`: the sector map in use has expired. Left out when false.
    """

    sector: Label
    performance_pct: float
    deviation: float | None
    members: Count | None
    members_moving: Count | None
    affected_symbols: Symbols
    degraded: bool = False
    excess_pct: float | None = None


MarketAnomaly = SynchronizedMovement | MarketStress | SectorAnomaly
Anomaly = Alert | MarketAnomaly


class CandleBatch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The candles of one venue and interval that closed together, as columns of equal length.

    Prices are in quote units, `volume` in base units. A symbol without a trade in the interval is absent. `history`:
    the batch is of the time before the source started; a reader that has candles of that time skips it. `source` is
    null, and left out, from foreign publishers. Candles made of trades also have `trades`, their number, and
    `taker_buy`, what takers bought (base units); null where it is unknown, empty (and left out) where all of it is.
    """

    venue: Venue
    interval: Interval
    close_time: TimestampMs
    symbols: Symbols
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    history: bool = False
    source: SourceKind | None = None
    trades: list[Count | None] = []
    taker_buy: list[Annotated[float, Meta(ge=0)] | None] = []

    def __post_init__(self) -> None:
        size = len(self.symbols)
        if not all(len(column) == size for column in (self.open, self.high, self.low, self.close, self.volume)):
            name, other = next((name, len(one)) for name in OHLCV if len(one := getattr(self, name)) != size)
            raise ValueError(f"{name} has {other} values for {size} symbols; every column needs one value per symbol")
        if not (len(self.trades) in (0, size) and len(self.taker_buy) in (0, size)):
            name, other = next((name, len(one)) for name in FLOW if len(one := getattr(self, name)) not in (0, size))
            raise ValueError(f"{name} has {other} values for {size} symbols; it needs one value per symbol, or none")

    def only(self, rows: Iterable[int]) -> "CandleBatch":
        """The candles of some of the symbols."""
        rows = list(rows)
        columns = ("symbols", *OHLCV, *(name for name in FLOW if getattr(self, name)))
        return msgspec.structs.replace(self, **{name: [getattr(self, name)[row] for row in rows] for name in columns})


# The columns of a CandleBatch that hold numbers, in this order.
OHLCV: Final = ("open", "high", "low", "close", "volume")
# Those that only candles made of trades have.
FLOW: Final = ("trades", "taker_buy")


class FeedState(StrEnum):
    OK = "ok"
    WARMING = "warming"
    STALE = "stale"
    ENDED = "ended"


class Feed(Struct, frozen=True, kw_only=True):
    """The state of a venue's feed. `age_ms` is the time since the last batch arrived, as of `timestamp`.

    Of a live venue also `rate`, its ticks per second, `reconnects`, the connections made again so far, and `clock_ms`,
    by how much the clock of the machine that reads it is ahead of the venue's (negative: behind), once that is known.
    `reason`: why this source plays instead of the configured one (`SOURCE=auto` without a venue that answers).
    """

    venue: Venue
    source: SourceKind
    state: FeedState
    interval: Interval
    symbols: Count
    age_ms: Count
    timestamp: TimestampMs
    progress: Ratio | None = None
    rate: Annotated[float, Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET
    reconnects: Count | msgspec.UnsetType = msgspec.UNSET
    clock_ms: int | msgspec.UnsetType = msgspec.UNSET
    reason: Annotated[str, Meta(min_length=1, max_length=500)] | msgspec.UnsetType = msgspec.UNSET


class Breadth(Struct, frozen=True):
    """How many symbols rose, stood still (within 0.05 %) and fell."""

    up: Count
    flat: Count
    down: Count


class SectorMove(Struct, frozen=True):
    """How a sector does. `deviation` as in `SectorAnomaly`; null while it is not known what is usual."""

    sector: Label
    performance_pct: float
    deviation: float | None
    members: Count


class WindowMove(Struct, frozen=True, kw_only=True):
    """The market over one window: `return_pct` is the median symbol's change; `breadth`; `sectors`, largest first.

    `majors`: the change in percent of BTC and ETH, by base asset; one without a price is left out.
    """

    return_pct: float
    breadth: Breadth
    sectors: Annotated[list[SectorMove], Meta(max_length=100)] = []
    majors: Annotated[dict[Symbol, float], Meta(max_length=10)] = {}


class StressIndex(Struct, frozen=True, kw_only=True):
    """The live index of a venue: 0–100, and the components whose points add up to it.

    Beside it the market at a glance, over the last `window`: `breadth`, and `sectors`, largest first. `windows` has the
    same for `1m`, `5m`, `15m` and `1h`; a window shorter than the interval is absent.
    """

    venue: Venue
    interval: Interval
    timestamp: TimestampMs
    stress_index: Annotated[float, Meta(ge=0, le=100)]
    metric: StressMetric
    components: dict[StressMetric, StressComponent]
    universe: Count
    window: Interval | msgspec.UnsetType = msgspec.UNSET
    breadth: Breadth | msgspec.UnsetType = msgspec.UNSET
    sectors: Annotated[list[SectorMove], Meta(max_length=100)] | msgspec.UnsetType = msgspec.UNSET
    windows: Annotated[dict[Interval, WindowMove], Meta(max_length=10)] | msgspec.UnsetType = msgspec.UNSET


class InvalidMessage(ValueError):
    """A message that cannot be read; the text is the reason."""


_encoder: Final = msgspec.json.Encoder()

_INTERVAL_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def interval_ms(interval: str) -> int:
    """Length of an interval such as `1s`, `5m` or `1h` in milliseconds.

    >>> interval_ms("5m")
    300000
    """
    return int(interval[:-1]) * _INTERVAL_MS[interval[-1]]


def interval_name(milliseconds: int) -> str:
    """The name of an interval: the largest unit that divides it.

    >>> interval_name(300_000)
    '5m'
    """
    unit = next(unit for unit in "dhms" if milliseconds % _INTERVAL_MS[unit] == 0)
    return f"{milliseconds // _INTERVAL_MS[unit]}{unit}"


def encode(message: Anomaly | CandleBatch | Feed | StressIndex) -> bytes:
    """The canonical wire form (NaN and infinities become null)."""
    return _encoder.encode(message)


def frame_data(message: Anomaly) -> bytes:
    """What is stored and what browsers get: all but the chart history, which is served by `GET /alerts/<id>`."""
    if isinstance(message, Alert) and message.history is not msgspec.UNSET:
        message = msgspec.structs.replace(message, history=msgspec.UNSET)
    return _encoder.encode(message)
