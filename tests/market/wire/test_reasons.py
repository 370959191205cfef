"""Whatever is wrong with a message, the reason is a sentence that a publisher can act on."""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.wire import messages
from market.wire.decoding import decode_alert, decode_batch, decode_feed, decode_market, decode_stress
from market.wire.messages import InvalidMessage
from market.wire.reasons import ALLOWED, LONGEST, shown

RECEIVED_AT = 1_767_323_045_000
TIME = RECEIVED_AT - 60_000


def alert_of(payload: bytes) -> object:
    return decode_alert(payload, received_at=RECEIVED_AT)


def market_of(payload: bytes) -> object:
    return decode_market(payload, received_at=RECEIVED_AT)


COMMON: dict[str, Any] = {
    "id": "m-1", "revision": 1, "severity": "HIGH", "timestamp": TIME, "detected_at": TIME, "state": "OPEN",
    "window": "5m", "universe": 2, "venue": "binance", "rarity_days": 3.5, "source": "live",
}  # fmt: skip
GLANCE: dict[str, Any] = {
    "return_pct": 0.4, "breadth": {"up": 1, "flat": 0, "down": 1}, "majors": {"BTC": 0.3},
    "sectors": [{"sector": "Meme", "performance_pct": 0.4, "deviation": None, "members": 3}],
}  # fmt: skip
COMPONENT = {"breadth": {"value": 0.86, "percentile": 97.2, "points": 24.1}}
# A message of every kind with every field that it may have, and how it is read.
CANONICAL: list[tuple[Callable[[bytes], object], dict[str, Any]]] = [
    (alert_of, {
        "id": "a-1", "revision": 1, "symbol": "BTCUSDT", "venue": "binance", "interval": "1m", "method": "MAD",
        "severity": "HIGH", "direction": "UP", "score": 9.0, "threshold": 6.0, "price": 1.5, "expected": 1.4,
        "lower": 1.3, "upper": 1.6, "change_pct": 2.5, "timestamp": TIME, "detected_at": TIME, "state": "OPEN",
        "spark": [1.0, 1.5], "incident": "m-1", "excess_pct": 2.0, "rarity_days": 3.5, "source": "live",
        "history": [{"timestamp": TIME, "close": 1.5, "expected": 1.4, "lower": 1.3, "upper": 1.6}],
        "explanation": {
            "sentence": "Up.", "window": "5m", "baseline_size": 40, "observed": 1.5, "usual": 1.4, "detector": "mad",
            "version": "1", "methods": [{"method": "MAD", "score": 9.0}], "parameters": {"a": [1]},
            "escalations": [{"severity": "HIGH", "timestamp": TIME}],
        },
    }),
    (market_of, COMMON | {
        "type": "SYNCHRONIZED_MOVEMENT", "direction": "UP", "synchronization_ratio": 0.9, "average_change_pct": 1.5,
        "usual_ratio": 0.4, "affected_symbols": ["BTCUSDT", "ETHUSDT"], "alert_count": 2, "changes_pct": [1.0, 2.0],
    }),
    (market_of, COMMON | {
        "type": "MARKET_STRESS", "metric": "breadth", "magnitude": 3.5, "stress_index": 70.0, "components": COMPONENT,
    }),
    (market_of, COMMON | {
        "type": "SECTOR_ANOMALY", "sector": "Meme", "performance_pct": -4.0, "deviation": -3.0, "members": 5,
        "members_moving": 4, "affected_symbols": ["BTCUSDT"], "degraded": True, "excess_pct": -3.5,
    }),
    (decode_batch, {
        "venue": "binance", "interval": "1m", "close_time": TIME, "symbols": ["BTCUSDT"], "open": [1.0], "high": [2.0],
        "low": [0.5], "close": [1.5], "volume": [10.0], "history": True, "source": "live",
    }),
    (decode_feed, {
        "venue": "binance", "source": "live", "state": "ok", "interval": "1m", "symbols": 3, "age_ms": 5,
        "timestamp": TIME, "progress": 0.5, "rate": 3.0, "reconnects": 1, "reason": "No venue answers.",
    }),
    (decode_stress, {
        "venue": "binance", "interval": "1m", "timestamp": TIME, "stress_index": 70.0, "metric": "breadth",
        "components": COMPONENT, "universe": 3, "window": "15m", "breadth": GLANCE["breadth"],
        "sectors": GLANCE["sectors"], "windows": {"1m": GLANCE},
    }),
]  # fmt: skip

# Words of msgspec, regular expressions, paths.
QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
LIBRARY = re.compile(
    r"`\w+`|\bExpected\b|Invalid (enum|value)|matching regex|\^\[|\{0,|\$\.|\bat `|codec|malformed|required"
)


def refusal(decode: Callable[[bytes], object], payload: bytes) -> str:
    """The reason for which a message is refused, empty for one that is read."""
    try:
        decode(payload)
    except InvalidMessage as error:
        reason = str(error)
    else:
        return ""
    assert 0 < len(reason) <= LONGEST
    assert reason.isprintable()
    assert not LIBRARY.search(QUOTED.sub("", reason)), reason
    return reason


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a message."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400) | st.just("X" * 5_000)
    | st.sampled_from(["", "N/A", "-1", "None", "1,234.5", "\u202eevil", "\x00\x1b[31m", "HIGH", "1m", 2**70, 1e308])
    | st.lists(st.integers() | st.text(), max_size=3) | st.just([1.5] * 10_000) | st.just([[[[[]]]]])
    | st.dictionaries(st.text(max_size=30), st.integers() | st.text(), max_size=3)
)  # fmt: skip


@given(st.sampled_from(CANONICAL), st.data())
def test_a_reason_is_a_sentence_that_names_the_field(
    canonical: tuple[Callable[[bytes], object], dict[str, Any]], data: st.DataObject
) -> None:
    decode, message = canonical
    message = json.loads(json.dumps(message))
    *parents, last = data.draw(st.sampled_from(list(_places(message))))
    inner: Any = message
    for key in parents:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[last]
    else:
        inner[last] = data.draw(VALUES)
    if reason := refusal(decode, json.dumps(message).encode()):
        field = [*parents, last][0]
        related = {"symbols": "open", "affected_symbols": "changes_pct|symbol"}.get(field, field)
        assert re.search(rf"\b({field}|{related})\b", reason), (field, reason)


@pytest.mark.parametrize(("decode", "message"), CANONICAL)
def test_every_field_that_is_required_is_missed_by_name(
    decode: Callable[[bytes], object], message: dict[str, Any]
) -> None:
    assert not refusal(decode, json.dumps(message).encode())
    for name in message:
        reason = refusal(decode, json.dumps({key: value for key, value in message.items() if key != name}).encode())
        assert not reason or reason.startswith((f"{name} is missing; it must be ", "changes_pct has 2 values for 0"))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_bytes_that_are_no_message_have_a_sentence_too(payload: bytes) -> None:
    for decode, _ in CANONICAL:
        assert refusal(decode, payload)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON: the message is empty"),
        (b'{"venue":', "not JSON: it ends too early, after '{\"venue\":'"),
        (b"{'venue': 1}", "not JSON: \"'venue': 1}\" at character 1 is unexpected"),
        (b'{"venue": "\xff"}', "not JSON: it is not UTF-8 text; it begins with the bytes"),
        (b"[1]", r"the message is \[1\]; it must be a JSON object"),
        (b'{"venue": "\\ud800"}', "not JSON: it is not UTF-8 text"),
        (b"[" * 5_000, "not JSON that can be read: it is nested too deep"),
        (b'{"venue": ' + b"1" * 5_000 + b"}", "not JSON: it has a number that is too long|venue is "),
    ],
)
def test_what_is_wrong_with_bytes_is_said(payload: bytes, reason: str) -> None:
    for decode in (alert_of, market_of, decode_batch, decode_feed, decode_stress):
        with pytest.raises(InvalidMessage, match=reason):
            decode(payload)


@pytest.mark.parametrize(
    ("number", "change", "reason"),
    [
        (0, {"revision": 0}, "revision is 0; it must be a whole number from 1 to 2147483647"),
        (0, {"id": "a b"}, "id is 'a b'; it must be 1 to 80 letters, digits and the signs _ . : - without spaces"),
        (0, {"spark": [1.0] * 61}, "spark has 61 values; 60 are allowed"),
        (0, {"spark": ["a"]}, "spark[0] is 'a'; it must be a number"),
        (0, {"spark": 3}, "spark is 3; it must be a list"),
        (0, {"explanation": {"methods": [{"method": "MAD"}]}}, "explanation.methods[0].score is missing; it must be a"),
        (0, {"explanation": {"methods": [{"method": "AI"}]}}, "explanation.methods[0].method is 'AI'; it must be Z_S"),
        (1, {"synchronization_ratio": -1}, "synchronization_ratio is -1.0; it must be a number from 0 to 1"),
        (1, {"affected_symbols": ["B" * 50] * 2}, "affected_symbols[0]"),
        (1, {"affected_symbols": ["A"]}, "changes_pct has 2 values for 1 symbols; it needs one value per affected"),
        (2, {"components": {"fear": 1}}, "components has the key 'fear'; a key must be volatility, breadth, disper"),
        (2, {"components": {"breadth": {}}}, "components['breadth'].value is missing; it must be a number"),
        (2, {"metric": "fear"}, "metric is 'fear'; it must be volatility, breadth, dispersion, correlation, turbu"),
        (3, {"sector": ""}, "sector is ''; it must be a text of 1 to 80 characters"),
        (4, {"close": [math.nan]}, "close[0] is NaN; it must be a number"),
        (4, {"close": []}, "close has 0 values for 1 symbols; every column needs one value per symbol"),
        (4, {"close_time": "noon"}, "close_time is 'noon'; it must be a time in milliseconds since 1970, like 17645"),
        (4, {"close_time": 1_764_500_000}, "close_time is 1764500000; it must be a time in milliseconds since 1970"),
        (4, {"symbols": ["btc"]}, "symbols[0] is 'btc'; it must be 1 to 40 capital letters and digits, like BTCUS"),
        (4, {"history": "yes"}, "history is 'yes'; it must be true or false"),
        (5, {"state": "fine"}, "state is 'fine'; it must be ok, warming, stale or ended"),
        (5, {"rate": -1}, "rate is -1; it must be a number of 0 or more"),
        (5, {"progress": 2}, "progress is 2; it must be a number from 0 to 1, or null"),
        (6, {"windows": {"1m": {}}}, "windows['1m'].return_pct is missing; it must be a number"),
        (6, {"windows": {"soon": 1}}, "windows has the key 'soon'; a key must be a length like 1s, 5m, 1h or 1d"),
        (6, {"breadth": {"up": True}}, "breadth.up is true; it must be a whole number of 0 or more"),
    ],
)
def test_the_sentence_for_a_field(number: int, change: dict[str, Any], reason: str) -> None:
    decode, message = CANONICAL[number]
    with pytest.raises(InvalidMessage) as refused:
        decode(json.dumps(message | change).encode())
    assert str(refused.value).startswith(reason)


def test_every_pattern_on_the_wire_has_words() -> None:
    patterns: set[str] = set()

    def collect(kind: Any) -> None:
        for item in getattr(kind, "__metadata__", ()):
            patterns.update([item.pattern] if item.pattern else [])

    for kind in vars(messages).values():
        collect(kind)
        for hint in getattr(kind, "__annotations__", {}).values():
            collect(hint)
    known = {item.pattern for kind in ALLOWED for item in getattr(kind, "__metadata__", ()) if item.pattern}
    assert patterns == known
    assert msgspec.Meta in {type(item) for kind in ALLOWED for item in getattr(kind, "__metadata__", ())}


@given(
    st.recursive(
        st.text() | st.floats() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_a_value_is_shown_on_one_short_printable_line(value: Any) -> None:
    assert len(shown(value)) <= 110
    assert shown(value).isprintable()
