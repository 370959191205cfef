"""What anybody may publish, and what becomes of it."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.wire.decoding import decode_alert, decode_batch, decode_market
from market.wire.messages import (
    SEVERITIES,
    Alert,
    CandleBatch,
    Direction,
    Explanation,
    InvalidMessage,
    Lifecycle,
    MarketStress,
    Method,
    MethodScore,
    SectorAnomaly,
    Severity,
    SourceKind,
    StressMetric,
    SynchronizedMovement,
    encode,
    interval_ms,
    interval_name,
    unify_symbol,
)
from tests.samples import a_movement, a_sector, a_stress, an_alert

RECEIVED_AT = 1_767_323_045_000
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.integers(1_000_000_000_000, 9_999_999_999_999)


def alert(fields: dict[str, Any] | bytes, subject_token: str = "") -> Alert:
    payload = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return decode_alert(payload, received_at=RECEIVED_AT, subject_token=subject_token)


def market(fields: dict[str, Any], subject_token: str = "") -> Any:
    return decode_market(json.dumps(fields).encode(), received_at=RECEIVED_AT, subject_token=subject_token)


# No control characters: those are refused.
TEXTS = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=80)
ALERTS = st.builds(
    Alert,
    id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,79}", fullmatch=True),
    revision=st.integers(1, 1000),
    symbol=st.from_regex(r"[A-Z0-9]{1,20}", fullmatch=True),
    venue=st.just("binance"),
    interval=st.sampled_from(["1s", "1m", "5m"]),
    method=st.sampled_from(Method),
    severity=st.sampled_from(SEVERITIES),
    direction=st.sampled_from(Direction),
    score=NUMBERS,
    threshold=NUMBERS | st.none(),
    price=NUMBERS | st.none(),
    expected=NUMBERS | st.none(),
    lower=NUMBERS | st.none(),
    upper=NUMBERS | st.none(),
    change_pct=NUMBERS | st.none(),
    timestamp=TIMES,
    detected_at=TIMES,
    state=st.sampled_from(Lifecycle),
    spark=st.lists(NUMBERS, max_size=60),
    incident=st.none() | st.just("m-1"),
    history=st.just(msgspec.UNSET),
    explanation=st.builds(
        Explanation,
        sentence=TEXTS,
        window=st.none() | st.just("15m"),
        baseline_size=st.none() | st.integers(0, 2000),
        observed=NUMBERS | st.none(),
        usual=NUMBERS | st.none(),
        methods=st.lists(st.builds(MethodScore, method=st.sampled_from(Method), score=NUMBERS), max_size=3),
        escalations=st.just([]),
        detector=st.none() | st.just("mad"),
        version=st.none(),
        parameters=st.dictionaries(TEXTS, NUMBERS, max_size=3),
    ),
)


@given(ALERTS)
def test_what_is_encoded_is_decoded_to_the_same(message: Alert) -> None:
    assert decode_alert(encode(message), received_at=0) == message


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


@given(ALERTS, st.integers(1_000_000_000_000, RECEIVED_AT))
def test_a_foreign_spelling_is_the_same_alert(message: Alert, timestamp: int) -> None:
    message = msgspec.structs.replace(message, timestamp=timestamp)
    fields = {_camel(key): value for key, value in json.loads(encode(message)).items()}
    fields["severity"] = fields["severity"].lower()
    fields["score"] = repr(fields["score"])
    fields["timestamp"] = datetime.fromtimestamp(message.timestamp / 1000, UTC).isoformat()
    assert alert(fields) == message


KNOWN_KEYS = st.sampled_from(["symbol", "severity", "score", "timestamp", "direction", "explanation", "type", "metric"])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KNOWN_KEYS | st.text(max_size=10), inner, max_size=6),
    max_leaves=20,
)


def _decoded_or_reason(decode: Callable[..., object], payload: bytes) -> object:
    """Nothing but `InvalidMessage` may come out of a decoder."""
    try:
        return decode(payload, received_at=RECEIVED_AT)
    except InvalidMessage as error:
        return str(error)


@given(JSON)
def test_garbage_is_refused_with_a_reason_and_nothing_else(value: Any) -> None:
    payload = json.dumps(value).encode()
    assert _decoded_or_reason(decode_alert, payload)
    assert _decoded_or_reason(decode_market, payload)


@given(st.binary())
def test_bytes_that_are_not_json_are_refused_with_a_reason(payload: bytes) -> None:
    assert _decoded_or_reason(decode_alert, payload)


@pytest.mark.parametrize("start", [b"[", b'{"a":', b'{"explanation":{"parameters":', b'{"components":'])
def test_what_is_nested_too_deep_is_refused_with_a_reason(start: bytes) -> None:
    payload = start + 10_000 * (b"[" if start == b"[" else b'{"a":')
    for decode in (decode_alert, decode_market):
        with pytest.raises(InvalidMessage, match="nested too deep"):
            decode(payload, received_at=RECEIVED_AT)
    with pytest.raises(InvalidMessage):
        decode_batch(payload)


def test_an_explanation_may_hold_anything_but_not_at_any_depth() -> None:
    def alert_with(levels: int) -> bytes:
        parameters = b'{"a":' * levels + b"[1]" + b"}" * levels
        return b'{"severity":"LOW","score":7,"method":"MAD","explanation":{"parameters":' + parameters + b"}}"

    assert decode_alert(alert_with(15), received_at=RECEIVED_AT, subject_token="ETHUSDT").explanation.parameters["a"]
    for levels in (16, 400, 900):
        with pytest.raises(InvalidMessage, match="nested"):
            decode_alert(alert_with(levels), received_at=RECEIVED_AT, subject_token="ETHUSDT")


def test_the_least_an_alert_may_say() -> None:
    message = alert({"severity": "critical", "score": 7, "method": "mad"}, "ETHUSDT")
    assert (message.symbol, message.severity, message.state) == ("ETHUSDT", Severity.CRITICAL, Lifecycle.OPEN)
    assert message.direction is Direction.UP
    assert message.timestamp == message.detected_at == RECEIVED_AT
    assert message.id == alert({"severity": "critical", "score": 7, "method": "mad"}, "ETHUSDT").id


@pytest.mark.parametrize(
    "given_time",
    [1_700_000_000, "1700000000", 1_700_000_000_000, 1.7e15, "2023-11-14T22:13:20Z", "2023-11-14 22:13:20"],
)
def test_times_in_any_unit(given_time: Any) -> None:
    message = alert({"symbol": "BTCUSDT", "severity": "LOW", "score": 1, "method": "MAD", "timestamp": given_time})
    assert message.timestamp == 1_700_000_000_000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"symbol": "BTCUSDT", "score": 1, "method": "MAD"}, "severity is missing"),
        ({"symbol": "BTCUSDT", "severity": "HIGH", "method": "MAD"}, "score is missing"),
        ({"severity": "HIGH", "score": 1, "method": "MAD"}, "symbol is missing"),
        ({"symbol": "BTCUSDT", "severity": "HUGE", "score": 1, "method": "MAD"}, "HUGE"),
        (
            {"symbol": "BTCUSDT", "severity": "HIGH", "score": "much", "method": "MAD"},
            "score is 'much'; it must be a number",
        ),
        (
            {"symbol": "BTCUSDT", "severity": "HIGH", "score": 1, "method": "MAD", "timestamp": "soon"},
            "timestamp is 'soon'; it must be a time",
        ),
        (
            {"symbol": "BTCUSDT", "severity": "HIGH", "score": 1, "method": "MAD", "timestamp": -5},
            "timestamp is -5; it must be a time",
        ),
        ({"symbol": "X" * 41, "severity": "HIGH", "score": 1, "method": "MAD"}, "symbol"),
        ({"symbol": "🦞USDT", "severity": "HIGH", "score": 1, "method": "MAD"}, "symbol"),
    ],
)
def test_what_is_wrong_is_said(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        alert(fields)


def test_a_foreign_synchronized_move() -> None:
    message = market(
        {
            "marketType": "synchronized",
            "severity": "high",
            "direction": "bearish",
            "syncRatio": 85,
            "symbols": ["btc-usdt"],
        }
    )
    assert isinstance(message, SynchronizedMovement)
    assert message.synchronization_ratio == 0.85
    assert message.affected_symbols == ["BTCUSDT"]
    assert (message.direction, message.alert_count, message.universe) == (Direction.DOWN, None, None)


def test_the_changes_of_a_synchronized_move_are_those_of_its_symbols() -> None:
    fields = {
        "type": "synchronized",
        "severity": "high",
        "direction": "DOWN",
        "ratio": 0.9,
        "symbols": ["btc-usdt", "ETHUSDT"],
    }
    message = market({**fields, "changesPct": [-1.5, -2.5]})
    assert isinstance(message, SynchronizedMovement)
    assert message.changes_pct == [-1.5, -2.5]
    assert b"changes_pct" not in encode(market(fields))
    with pytest.raises(InvalidMessage, match="changes_pct has 1 values for 2 symbols; it needs one value"):
        market({**fields, "changesPct": [-1.5]})
    unheard_of: list[Any] = [None, ["-1.5%"], 3, [None], {}]
    for foreign in unheard_of:
        assert market({**fields, "changesPct": foreign}) == market(fields)


@pytest.mark.parametrize("kind", ["synchronized", "sector"])
def test_symbols_may_be_null_but_nothing_else(kind: str) -> None:
    fields = {"type": kind, "severity": "high", "direction": "DOWN", "ratio": 0.9, "sector": "Meme", "performance": -3}
    assert market({**fields, "symbols": None}) == market(fields)
    for wrong in ("BTCUSDT", 3, {"BTCUSDT": 1}):
        with pytest.raises(InvalidMessage, match="affected_symbols is .*; it must be a list"):
            market({**fields, "symbols": wrong})


def test_a_foreign_stress_and_sector() -> None:
    stress = market({"severity": "medium", "metric": "VOLATILITY", "magnitude": "3.5"}, "MARKET_STRESS")
    assert isinstance(stress, MarketStress)
    assert stress.metric is StressMetric.VOLATILITY
    sector = market({"type": "sector", "severity": "low", "sectorName": "Meme", "performance": -4})
    assert isinstance(sector, SectorAnomaly)
    assert (sector.sector, sector.performance_pct) == ("Meme", -4)


def test_an_unknown_market_type_names_the_known_ones() -> None:
    with pytest.raises(
        InvalidMessage, match="type is 'EARTHQUAKE'; it must be SYNCHRONIZED_MOVEMENT, MARKET_STRESS or SECTOR_ANOMALY"
    ):
        market({"type": "EARTHQUAKE", "severity": "high"})


@pytest.mark.parametrize("spelling", ["btcusdt", "BTC-USDT", "BTC/USDT", "BTC/USDT:USDT", "btc_usdt"])
def test_a_symbol_has_one_spelling(spelling: str) -> None:
    assert unify_symbol(spelling) == "BTCUSDT"


def test_a_symbol_is_not_taken_for_what_is_left_of_it_in_latin_letters() -> None:
    assert unify_symbol("龙虾/usdt") == "龙虾USDT"


@given(st.integers(1, 10_000), st.sampled_from("smhd"))
def test_interval_names_keep_the_length(count: int, unit: str) -> None:
    length = interval_ms(f"{count}{unit}")
    assert interval_ms(interval_name(length)) == length


def test_columns_of_a_batch_have_one_length() -> None:
    fields = {"venue": "v", "interval": "1m", "close_time": RECEIVED_AT, "symbols": ["A"]}
    columns = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    assert decode_batch(encode(CandleBatch(**fields, **columns))).symbols == ["A"]  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match="one value per symbol"):
        decode_batch(json.dumps({**fields, **columns, "close": []}).encode())


@pytest.mark.parametrize(
    ("trades", "taker_buy"),
    [([3], [0.5]), ([None], [None]), ([3], []), ("three", {"BTC": 1}), ([1, 2], [-0.5]), ([-1], [1.0, 2.0]), (7, None)],
)
def test_what_a_batch_knows_of_its_trades_is_kept_and_anything_else_left_out(trades: Any, taker_buy: Any) -> None:
    columns = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    fields = {"venue": "v", "interval": "1m", "close_time": RECEIVED_AT, "symbols": ["A"], **columns}
    batch = decode_batch(json.dumps({**fields, "trades": trades, "taker_buy": taker_buy}).encode())
    known = [value if value in ([3], [0.5], [None]) else [] for value in (trades, taker_buy)]
    assert [batch.trades, batch.taker_buy] == known
    assert decode_batch(encode(batch)) == batch
    assert [batch.only([0]).trades, batch.only([]).trades] == [batch.trades, []]
    plain = json.dumps(fields).encode()
    assert b"trades" not in encode(decode_batch(plain))


# Names of fields that were added later, with what somebody else may have sent under them.
STRANGE = {"source": "my-bot", "excess_pct": "12", "rarity_days": -1, "venue": "Not A Venue!"}


def test_later_fields_that_mean_something_else_are_dropped_and_the_message_is_accepted() -> None:
    one = alert({"symbol": "BTCUSDT", "severity": "HIGH", "method": "MAD", "score": 9, **STRANGE, "venue": "binance"})
    assert (one.source, one.excess_pct, one.rarity_days) == (None, None, None)
    other = market({"type": "MARKET_STRESS", "severity": "LOW", "metric": "breadth", **STRANGE})
    assert (other.source, other.rarity_days, other.venue) == (None, None, None)


def test_candles_with_a_strange_source_are_accepted_without_it() -> None:
    columns = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    given = {"venue": "binance", "interval": "1m", "close_time": RECEIVED_AT, "symbols": ["BTCUSDT"], **columns}
    assert decode_batch(json.dumps(given | {"source": "my-bot"}).encode()).source is None
    assert decode_batch(json.dumps(given | {"source": "replay"}).encode()).source == "replay"
    with pytest.raises(InvalidMessage, match="close_time"):
        decode_batch(json.dumps(given | {"source": "my-bot", "close_time": "noon"}).encode())


LEAST: dict[str, Any] = {"symbol": "BTCUSDT", "severity": "HIGH", "method": "MAD", "score": 9}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # What alerting systems write.
        ({"severity": "P1"}, {"severity": "CRITICAL"}),
        ({"severity": "p4"}, {"severity": "LOW"}),
        ({"severity": "error"}, {"severity": "HIGH"}),
        ({"severity": "Warning"}, {"severity": "MEDIUM"}),
        ({"status": "firing"}, {"state": "OPEN"}),
        ({"status": "resolved"}, {"state": "CLOSED"}),
        ({"direction": -1}, {"direction": "DOWN"}),
        ({"direction": "1"}, {"direction": "UP"}),
        ({"side": "sell"}, {"direction": "DOWN"}),
        ({"id": 4711}, {"id": "4711"}),
        # Intervals: a bare number is of minutes, as TradingView writes it.
        ({"interval": "1H"}, {"interval": "1h"}),
        ({"interval": "D"}, {"interval": "1d"}),
        ({"interval": "W"}, {"interval": "7d"}),
        ({"interval": 60}, {"interval": "1h"}),
        ({"interval": "15"}, {"interval": "15m"}),
        ({"interval": "90s"}, {"interval": "90s"}),
        ({"exchange": "Gate.io"}, {"venue": "gateio"}),
        # Null, and NaN and Infinity as Python writes them, are nothing.
        ({"interval": None, "venue": None, "spark": None, "state": None, "revision": None}, {"interval": "1m"}),
        ({"price": math.nan, "threshold": math.inf}, {"price": None, "threshold": None}),
        ({"explanation": {"sentence": "up", "methods": None}}, {"venue": "external"}),
    ],
)
def test_what_others_write_is_understood(given: dict[str, Any], expected: dict[str, Any]) -> None:
    message = msgspec.to_builtins(alert(LEAST | given))
    assert {name: message[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"severity": 1},
            "severity is 1, which may mean either end; it must be LOW, MEDIUM, HIGH or CRITICAL, or P1 to P4",
        ),
        ({"interval": "1M"}, "interval is '1M', which may mean minutes or months; write 1m for minutes"),
        ({"interval": "soon"}, "interval is 'soon'; it must be a length like 1s, 5m, 1h or 1d"),
        ({"interval": 0}, "interval is 0; it must be a length like 1s, 5m, 1h or 1d"),
        ({"direction": "sideways"}, "direction is 'sideways'; it must be UP or DOWN"),
        ({"state": "pending"}, "state is 'pending'; it must be OPEN, ESCALATED or CLOSED"),
        (
            {"venue": "???"},
            r"venue is '\?\?\?'; it must be up to 40 letters, digits, _ and -, like binance or okx-swap",
        ),
        ({"symbol": {"base": "BTC"}}, "symbol is {'base': 'BTC'}; it must be a text like BTCUSDT"),
        ({"symbol": ["BTCUSDT"]}, r"symbol is \['BTCUSDT'\]; it must be a text like BTCUSDT"),
        ({"score": math.nan}, "score is missing; it must be a number"),
        (
            {"timestamp": RECEIVED_AT + 9 * 3_600_000},
            r"is 9 h ahead of its arrival: local time without its zone\? .*00:00\+09:00, or send UTC",
        ),
        (
            {"timestamp": RECEIVED_AT + 40 * 86_400_000},
            "is 40 days ahead of its arrival; check the publisher's clock and its unit of time",
        ),
    ],
)
def test_what_could_mean_two_things_is_refused_with_the_words_to_use(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        alert(LEAST | given)


def test_a_clock_that_is_a_little_ahead_is_forgiven() -> None:
    assert alert(LEAST | {"timestamp": RECEIVED_AT + 110_000}).timestamp == RECEIVED_AT + 110_000
    with pytest.raises(InvalidMessage, match="2 min ahead of its arrival"):
        alert(LEAST | {"timestamp": RECEIVED_AT + 130_000})


@pytest.mark.parametrize("message", [an_alert(), a_movement(), a_stress(), a_sector()], ids=lambda each: each.id)
def test_a_message_in_our_shape_is_foreign_without_a_source(message: Any) -> None:
    decode: Any = decode_alert if isinstance(message, Alert) else decode_market
    arrived = message.timestamp - 130_000
    with pytest.raises(InvalidMessage, match="2 min ahead of its arrival"):
        decode(encode(message), received_at=arrived)
    assert decode(encode(message), received_at=arrived + 20_000) == message
    assert decode(encode(message), received_at=0) == message  # what is stored is read again
    ours = msgspec.structs.replace(message, source=SourceKind.LIVE)
    assert decode(encode(ours), received_at=arrived) == ours


@pytest.mark.parametrize(
    ("fields", "absent"),
    [
        (
            {"type": "synchronized", "direction": "DOWN", "ratio": 0.9, "symbols": ["BTCUSDT"]},
            {"average_change_pct", "usual_ratio", "alert_count", "universe"},
        ),
        ({"type": "stress", "metric": "volatility"}, {"magnitude", "stress_index", "universe"}),
        (
            {"type": "sector", "sector": "Meme", "performance": -4},
            {"deviation", "members", "members_moving", "universe"},
        ),
    ],
    ids=["synchronized", "stress", "sector"],
)
def test_a_figure_that_is_left_out_is_null(fields: dict[str, Any], absent: set[str]) -> None:
    found = market(fields | {"severity": "high"})
    assert {name for name in absent if getattr(found, name) is not None} == set()
    assert {name: value for name, value in json.loads(encode(found)).items() if name in absent} == dict.fromkeys(absent)
    # What is stored, sent and read again means the same.
    assert decode_market(encode(found), received_at=0) == found


def test_a_market_type_may_be_in_camel_case() -> None:
    assert isinstance(market({"severity": "low", "sector": "Meme", "performance": -4}, "SectorAnomaly"), SectorAnomaly)
