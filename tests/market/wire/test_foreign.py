"""What one value of a foreign message means: what can mean one thing is read, the rest refused with what to write."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Direction, InvalidMessage, Lifecycle, Severity, encode
from tests.compat import ROOT

RECEIVED_AT = 1_767_323_045_000
ALERT: dict[str, Any] = {"symbol": "BTCUSDT", "severity": "HIGH", "method": "MAD", "score": 9}
MOVE: dict[str, Any] = {"type": "synchronized", "severity": "HIGH", "direction": "UP", "ratio": 0.9, "avgChange": 2}


def alert(fields: dict[str, Any]) -> dict[str, Any]:
    payload = json.dumps(ALERT | fields).encode()
    message: dict[str, Any] = msgspec.to_builtins(decode_alert(payload, received_at=RECEIVED_AT))
    return message


def market(fields: dict[str, Any], token: str = "") -> dict[str, Any]:
    payload = json.dumps(fields).encode()
    message: dict[str, Any] = msgspec.to_builtins(decode_market(payload, received_at=RECEIVED_AT, subject_token=token))
    return message


READ: dict[str, dict[Any, list[Any]]] = {
    "severity": {
        "CRITICAL": ["critical", "P1", "p1", "P0", "sev1", "SEV0", "Fatal", "severe", "crit", "emergency",
                     "Severity.CRITICAL", "<Severity.CRITICAL: 'CRITICAL'>", " CRITICAL "],
        "HIGH": ["High", "P2", "error", "ERR", "major", "sev2", "Severity.HIGH"],
        "MEDIUM": ["medium", "P3", "warning", "warn", "moderate", "sev3"],
        "LOW": ["low", "P4", "P5", "info", "informational", "notice", "sev4"],
    },
    "state": {
        "OPEN": ["open", "firing", "active", "alerting", "triggered", "Lifecycle.OPEN", None, "", "None"],
        "ESCALATED": ["escalated"],
        "CLOSED": ["closed", "resolved", "ended", "resolve"],
    },
    "direction": {
        "UP": ["up", "buy", "long", "bullish", 1, "1", "+1", 1.0, "1.0", "+", "Direction.UP", "↑", "rising"],
        "DOWN": ["Down", "SELL", "short", "bearish", -1, "-1", -1.0, "-1.0", "\u22121", "Direction.DOWN", "↓"],
    },
    "interval": {
        "1m": ["1m", "1", 1, "1min", "1 minute", "PT1M", None, "", "N/A"],
        "5m": ["5m", 5, "5", 5.0, "5min", "5 minutes", "PT5M", "5mins"],
        "15m": ["15", "15m"], "90s": ["90s", "90S", "90 sec"], "30s": ["30S", "PT30S"],
        "1h": ["1h", "1H", "H", 60, "60", "60m", "1hour", "1 Hour", "PT1H"], "4h": ["4H", 240, "240"],
        "1d": ["D", "1D", "d", 1440, "1day", "P1D", "24h"], "7d": ["W", "1W", "1w", "1week", "P1W", "P7D"],
    },
    "venue": {
        "binance": ["binance", "BINANCE", " Binance "], "gateio": ["Gate.io", "gate.io", "GATE.IO"],
        "external": [None, "", "N/A", "None", "nan"], "okx-swap": ["okx-swap", "OKX-SWAP"], "kucoin": ["KuCoin"],
        "binanceusdm": ["binanceUSDM"], "my_bot": ["my_bot", "My Bot"],
    },
    "id": {"4711": [4711, "4711", 4711.0], "abc-1": ["abc-1"]},
    "revision": {3: [3, "3", 3.0], 1: [None, ""]},
    "score": {3.5: [3.5, "3.5", " 3.5 ", "3.5%", "+3.5", "35e-1"], -3.5: [-3.5, "-3.5", "\u22123.5", "-3.5 %"]},
    "price": {
        1234.5: [1234.5, "1234.5", "1_234.5"],
        None: [None, "", "N/A", "n/a", "-", "–", "nan", "NaN", "None", "null", "inf", math.nan, math.inf, -math.inf],
    },
    "timestamp": {
        1_700_000_000_000: [
            1_700_000_000, "1700000000", 1.7e9, "1.7e9", 1_700_000_000_000, "1700000000000", 1.7e12,
            1_700_000_000_000_000, 1_700_000_000_000_000_000, "1700000000000000000",
            "2023-11-14T22:13:20Z", "2023-11-14T22:13:20", "2023-11-14 22:13:20", "2023-11-14T22:13:20+00:00",
            "2023-11-14 22:13:20+00:00", "2023-11-14T22:13:20.000000", "2023-11-14T22:13:20,000Z", "20231114T221320Z",
            "2023-11-15T07:13:20+09:00", "2023-11-15T07:13:20+0900", "2023-11-14 22:13:20 UTC",
            "2023-11-14T22:13:20 GMT", "Tue, 14 Nov 2023 22:13:20 GMT", "2023-11-14T22:13:20.000000000Z",
        ],
        1_700_000_000_123: [1_700_000_000.123, "1700000000.123", "2023-11-14T22:13:20.123Z", 1_700_000_000_123_000_000],
        RECEIVED_AT: [None, "", "NaT", "None", math.nan],
    },
}  # fmt: skip
NAMES = {"level": "severity", "status": "state", "side": "direction", "timeframe": "interval", "exchange": "venue",
         "alertId": "id", "zScore": "score", "currentPrice": "price", "ts": "timestamp"}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_can_mean_one_thing_is_read(name: str) -> None:
    for meaning, spellings in READ[name].items():
        for spelling in spellings:
            assert alert({name: spelling})[name] == meaning, spelling


@pytest.mark.parametrize(("alias", "name"), NAMES.items())
def test_so_it_is_under_another_name(alias: str, name: str) -> None:
    rest = {key: value for key, value in ALERT.items() if key != name}
    for meaning, spellings in READ[name].items():
        for spelling in (one for one in spellings if name not in ("severity", "score") or one is not None):
            payload = json.dumps(rest | {alias: spelling}).encode()
            message = msgspec.to_builtins(decode_alert(payload, received_at=RECEIVED_AT))
            assert message[name] == meaning, spelling


def test_the_words_in_the_protocol_mean_what_it_says() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text()
    table = text[text.index("Beside our own spelling") : text.index("Absent is what")]
    field, seen = "", 0
    for heading, words in re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.MULTILINE):
        if start := re.match(r"`(\w+)`.*: (\w+)$", heading):
            field, meaning = start[1], start[2]
        elif heading.isupper():
            meaning = heading
        else:
            continue
        for word in re.findall(r"`([^`]+)`", words):
            assert alert({field: word})[field] == meaning, word
            seen += 1
    assert seen > 50


NOBODY_KNOWS: dict[str, list[Any]] = {
    "severity": [1, "1", 4, 5, 0, 2.0, 10, 50, True, "minor", "page", "none", "normal", "HUGE", "", None, [], {}],
    "state": ["pending", "ok", "acknowledged", "muted", 1, 0, True, []],
    "direction": ["-", "sideways", "flat", "neutral", 0, 2, -2.5, True, "close", "both", []],
    "interval": ["1M", "M", "3M", 3600, "86400", 0, "0", "-5", "soon", True, [], "1y", "5T", "1 month", "10R", {}],
    "venue": ["???", "a" * 41, "BINANCE:BTC", True, ["binance"], {"name": "binance"}, "-binance"],
    "id": [4711.5, True, [1], {}, "a b", "x" * 81, "ü"],
    "revision": [0, -1, 1.5, "first", True, 2**31],
    "score": [None, "", "N/A", "much", math.nan, math.inf, "1,234.5", "1.234,5", "1,5", True, [], "3.5 sigma", "0x10"],
    "price": ["1,234.5", "1.234,56", "0,5", "1 234.5", "$5", "60k", "60000 USDT", True, [], {}, "1/2"],
    "timestamp": [
        "soon", "now", True, 0, -5, 20231114, "20231114", 1e21, [], {"$date": 1}, "14/11/2023 22:13", "11/14/2023",
        "2023-11-14T25:00:00Z", "2023-02-30", "Nov 2023", 1, "1999-12-31T23:59:59Z", 10_000_000_000_000_000_000,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NOBODY_KNOWS)
def test_what_could_mean_two_things_is_refused_by_its_name(name: str) -> None:
    for value in NOBODY_KNOWS[name]:
        with pytest.raises(InvalidMessage) as refused:
            alert({name: value})
        assert str(refused.value).startswith(f"{name} is "), value


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"interval": 3600}, "interval is 3600, which may mean seconds or minutes; write 3600s or 3600m"),
        ({"price": "1,234.5"}, "price is '1,234.5'; it must be a number without commas, like 1234.5"),
        ({"severity": "minor"}, "severity is 'minor'; it must be LOW, MEDIUM, HIGH or CRITICAL"),
        ({"score": "N/A"}, "score is 'N/A'; it must be a number"),
        ({"timestamp": "14/11/2023"}, "timestamp is '14/11/2023'; it must be a time like 2024-05-01T12:00:00Z, or"),
    ],
)  # fmt: skip
def test_the_reason_says_what_to_write(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        alert(given)
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize(
    "kind", ["SectorAnomaly", "market.SectorAnomaly", "MarketType.SECTOR_ANOMALY", "sector-anomaly"]
)
def test_a_type_in_any_case_and_with_its_prefix(kind: str) -> None:
    sector = {"severity": "low", "sector": "Meme", "performance": "-4%"}
    assert market(sector, kind) == market(sector | {"type": kind}) == market(sector, "SECTOR_ANOMALY")


def test_a_ratio_may_be_of_per_cent() -> None:
    for spelling, meaning in ((0.9, 0.9), (90, 0.9), ("90%", 0.9), ("0.5%", 0.005), (1, 1), ("100 %", 1)):
        assert market(MOVE | {"ratio": spelling})["synchronization_ratio"] == pytest.approx(meaning)
    assert market(MOVE | {"usualRatio": "40%"})["usual_ratio"] == 0.4


def test_null_and_nan_are_absent_everywhere() -> None:
    """Also inside lists and objects: a message with nothing but what it needs is the same."""
    optional = ("id", "revision", "venue", "interval", "direction", "threshold", "price", "expected", "lower", "upper",
                "change_pct", "timestamp", "detected_at", "state", "spark", "explanation", "incident", "excess_pct",
                "rarity_days", "source", "history", "message")  # fmt: skip
    assert alert(dict.fromkeys(optional)) == alert({})
    assert alert(dict.fromkeys(optional, math.nan)) == alert({})
    assert alert({"spark": [1, None, math.nan, "2.5", "N/A"]})["spark"] == [1, 2.5]
    explanation = {"sentence": None, "methods": [None, {"method": "mad", "score": "3.5"}], "observed": math.nan}
    assert alert({"explanation": explanation})["explanation"] == {"methods": [{"method": "MAD", "score": 3.5}]}
    assert market(MOVE | {"symbols": None, "usualRatio": math.nan, "venue": None, "universe": None}) == market(MOVE)


def test_what_ends_an_anomaly_is_later_than_what_opens_it() -> None:
    """Publishers that do not count send `firing` and `resolved` under one id."""
    states = ({"status": "firing"}, {"status": "escalated"}, {"status": "resolved"})
    assert [alert({"id": "x"} | state)["revision"] for state in states] == [1, 2, 3]
    assert alert({"status": "resolved", "revision": 7})["revision"] == 7


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_read(encoding: str) -> None:
    payload = json.dumps(ALERT).encode(encoding)
    assert decode_alert(payload, received_at=RECEIVED_AT) == decode_alert(
        json.dumps(ALERT).encode(), received_at=RECEIVED_AT
    )


def test_a_message_that_could_not_be_written_again_is_refused() -> None:
    payload = json.dumps(ALERT | {"price": math.nan, "message": "\ud800"}).encode()
    with pytest.raises(InvalidMessage, match="not JSON: it is not UTF-8 text"):
        decode_alert(payload, received_at=RECEIVED_AT)


@pytest.mark.parametrize("source", [[], {}, ["live"], 3, True])
def test_any_value_may_stand_where_our_own_messages_name_their_source(source: Any) -> None:
    assert alert({"source": source})["source"] is None


@given(st.sampled_from([-1, 1]), st.integers(31, 14 * 60 + 5))
def test_local_time_without_its_zone_is_explained(sign: int, minutes: int) -> None:
    """`datetime.now().isoformat()` of a host with another zone than UTC."""
    local = datetime.fromtimestamp(RECEIVED_AT / 1000 + sign * minutes * 60, UTC).replace(tzinfo=None).isoformat()
    if sign < 0:
        assert alert({"timestamp": local})["timestamp"] < RECEIVED_AT
        return
    with pytest.raises(InvalidMessage, match="ahead of its arrival: local time without its zone"):
        alert({"timestamp": local})


def test_a_host_at_utc_plus_nine_reads_what_to_write() -> None:
    with pytest.raises(InvalidMessage) as refused:
        alert({"timestamp": "2026-01-02T12:04:05"})
    assert str(refused.value) == (
        "timestamp 2026-01-02T12:04:05Z is 9 h ahead of its arrival: local time without its zone? A time without a "
        "zone is read as UTC; write the zone, like 2024-05-01T12:00:00+09:00, or send UTC"
    )
    assert alert({"timestamp": "2026-01-02T12:04:05+09:00"})["timestamp"] == RECEIVED_AT


@pytest.mark.parametrize(("interval", "most_ms"), [("1s", 61_000), ("1m", 120_000), ("1h", 3_660_000)])
def test_a_time_may_be_an_interval_and_a_minute_ahead(interval: str, most_ms: int) -> None:
    assert alert({"interval": interval, "timestamp": RECEIVED_AT + most_ms})["timestamp"] == RECEIVED_AT + most_ms
    with pytest.raises(InvalidMessage, match="ahead of its arrival"):
        alert({"interval": interval, "timestamp": RECEIVED_AT + most_ms + 1})


@given(
    st.sampled_from(Severity), st.sampled_from(Direction), st.sampled_from(Lifecycle),
    st.floats(allow_nan=False, allow_infinity=False), st.integers(1_000_000_000_000, RECEIVED_AT),
)  # fmt: skip
def test_python_and_pandas_spellings_mean_what_they_say(
    severity: Severity, direction: Direction, state: Lifecycle, score: float, timestamp: int
) -> None:
    """As `str()` writes enumerations, numbers and times."""
    plain = {"severity": severity, "direction": direction, "state": state, "score": score, "timestamp": timestamp}
    time = datetime.fromtimestamp(timestamp / 1000, UTC)
    spelt = {
        "severity": f"Severity.{severity.name}", "direction": f"Direction.{direction.name}",
        "state": f"Lifecycle.{state.name}", "score": str(score), "timestamp": str(time),
    }  # fmt: skip
    assert alert(spelt) == alert(plain)
    assert encode(decode_alert(json.dumps(ALERT | spelt).encode(), received_at=RECEIVED_AT))
