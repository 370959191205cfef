"""What comes in is bounded, and no text in it is a command to whoever shows it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.printable import controls
from market.wire.bounds import LARGEST, LARGEST_OF_ALL, PARAMETERS, SENTENCE
from market.wire.decoding import decode_alert, decode_feed, decode_market, decode_stress
from market.wire.messages import Alert, Explanation, InvalidMessage, encode
from market.wire.unpacking import decode_items
from tests.samples import T0, a_movement, a_sector, an_alert

CLIPBOARD = "\x1b]52;c;aGk=\x07"
RECEIVED_AT = T0 + 1_000


def alert_of(**changes: Any) -> Alert:
    return decode_alert(encode(an_alert(**changes)), received_at=RECEIVED_AT)


def reason_of(decode: Callable[..., Any], payload: bytes, **options: Any) -> str:
    with pytest.raises(InvalidMessage) as refused:
        decode(payload, **options)
    return str(refused.value)


def foreign(**changes: Any) -> bytes:
    fields = {"symbol": "BTCUSDT", "method": "MAD", "severity": "HIGH", "score": 9, "timestamp": T0, "id": "a"}
    return json.dumps(fields | changes).encode()


@pytest.mark.parametrize("hostile", [CLIPBOARD, "\u202eUSDT", "\0", "\x7f", "\x9b2J", "\u200b", "\ufeff", "\U000e0041"])
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("explanation.sentence", lambda text: {"explanation": {"sentence": f"up {text}"}}),
        ("explanation.sentence", lambda text: {"message": f"up {text}"}),
        ("explanation.window", lambda text: {"explanation": {"window": text}}),
        ("explanation.detector", lambda text: {"explanation": {"detector": text}}),
        ("explanation.version", lambda text: {"explanation": {"version": text}}),
        ("explanation.parameters", lambda text: {"explanation": {"parameters": {"a": [{"b": text}]}}}),
        ("explanation.parameters", lambda text: {"explanation": {"parameters": {text: 1}}}),
        ("symbol", lambda text: {"symbol": f"BTC{text}USDT"}),
        ("venue", lambda text: {"venue": f"bin{text}ance"}),
        ("id", lambda text: {"id": f"a{text}"}),
        ("incident", lambda text: {"incident": f"m{text}"}),
    ],
)
def test_control_characters_are_refused_in_every_text(field: str, change: Any, hostile: str) -> None:
    reason = reason_of(decode_alert, foreign(**change(hostile)), received_at=RECEIVED_AT)
    assert field in reason or field == "symbol"
    assert not controls(reason)


@pytest.mark.parametrize(
    ("field", "payload"),
    [
        ("sector", encode(a_sector(sector=f"Meme{CLIPBOARD}"))),
        ("window", encode(a_movement(window=CLIPBOARD))),
        ("affected_symbols[0]", encode(a_movement(affected_symbols=[f"BTC{CLIPBOARD}"]))),
    ],
)
def test_and_in_those_of_market_anomalies(field: str, payload: bytes) -> None:
    reason = reason_of(decode_market, payload, received_at=RECEIVED_AT)
    assert reason.startswith(field)
    assert not controls(reason)


def test_and_in_reports_of_feeds_and_the_stress_index() -> None:
    feed = {"venue": "x", "source": "live", "state": "ok", "interval": "1m", "symbols": 1, "age_ms": 0, "timestamp": T0}
    assert "reason has the control character" in reason_of(decode_feed, json.dumps(feed | {"reason": "\x07"}).encode())
    index = {
        "venue": "x", "interval": "1m", "timestamp": T0, "stress_index": 1, "metric": "breadth", "components": {},
        "universe": 1,
    }  # fmt: skip
    move = {"sector": "Meme\x07", "performance_pct": 1, "deviation": None, "members": 3}
    window = {"return_pct": 1, "breadth": {"up": 1, "flat": 0, "down": 0}, "sectors": [move]}
    for change in ({"sectors": [move]}, {"windows": {"5m": window}}):
        assert "sector has the control" in reason_of(decode_stress, json.dumps(index | change).encode())
    big = json.dumps(index | {"x": "x" * LARGEST}).encode()
    assert "at most 65,536" in reason_of(decode_stress, big)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("BTC fell.\nSince 12:00\r\n\tby 5 %\n", "BTC fell. Since 12:00 by 5 %"),
        ("a\u2028b\x85c\x0bd", "a b c d"),
        ("a  b\u00a0c 龙虾 🚀", "a  b\u00a0c 龙虾 🚀"),
        ("", ""),
    ],
)
def test_line_breaks_and_tabs_in_a_sentence_are_spaces(sent: str, read: str) -> None:
    assert alert_of(explanation=Explanation(sentence=sent)).explanation.sentence == read
    assert decode_alert(foreign(message=sent), received_at=RECEIVED_AT).explanation.sentence == read


def test_an_id_of_the_content_is_the_one_of_before() -> None:
    sent = {"ticker": "BTCUSDT", "exchange": "BINANCE", "time": T0, "action": "buy", "close": 1, "message": "a\nb"}
    first = decode_alert(json.dumps(sent).encode(), received_at=RECEIVED_AT)
    stored = decode_alert(json.dumps(sent).encode(), received_at=0)
    assert (first.id, first.explanation.sentence) == (stored.id, "a b")


def test_line_breaks_in_parameters_stay() -> None:
    labels = {"labels": {"runbook": "a\n\tb\r\n"}}
    assert alert_of(explanation=Explanation(parameters=labels)).explanation.parameters == labels


def test_what_was_stored_before_is_still_read() -> None:
    hostile = an_alert(explanation=Explanation(sentence=CLIPBOARD + "x" * 9_000, parameters={"a": "x" * LARGEST}))
    assert decode_alert(encode(hostile), received_at=0) == hostile
    sector = a_sector(sector=f"Meme{CLIPBOARD}")
    assert decode_market(encode(sector), received_at=0) == sector


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"explanation": {"sentence": "x" * 501}}, "explanation.sentence has 501 characters; at most 500 are allowed"),
        ({"message": "é" * 501}, "explanation.sentence has 501 characters; at most 500 are allowed"),
        ({"explanation": {"window": "x" * 81}}, "explanation.window has 81 characters; at most 80 are allowed"),
        (
            {"explanation": {"methods": [{"method": "MAD", "score": 1}] * 101}},
            "explanation.methods has 101 rows; at most 100 are allowed",
        ),
        (
            {"explanation": {"parameters": {"a": "x" * PARAMETERS}}},
            "explanation.parameters has 16,392 bytes; at most 16,384 are allowed",
        ),
        ({"anything": "x" * LARGEST}, "the message has 65,662 bytes; at most 65,536 are allowed"),
    ],
)
def test_sizes_are_bounded(changes: dict[str, Any], reason: str) -> None:
    found = reason_of(decode_alert, foreign(**changes), received_at=RECEIVED_AT)
    assert found.split(" ", 3)[0] == reason.split(" ", 3)[0]
    assert found.rpartition(";")[2] == reason.rpartition(";")[2]
    assert alert_of(explanation=Explanation(sentence="x" * SENTENCE)).explanation.sentence == "x" * SENTENCE


def test_a_list_of_ten_thousand_symbols_is_no_large_message() -> None:
    symbols = [f"{number:X}LONGNAMEUSDT" for number in range(10_000)]
    whole = a_movement(affected_symbols=symbols, changes_pct=[-1.2345678901234567] * 10_000)
    payload = encode(whole)
    assert LARGEST < len(payload) < LARGEST_OF_ALL
    assert decode_market(payload, received_at=RECEIVED_AT) == whole
    padded = payload[:-1] + b',"more":"' + b"x" * LARGEST + b'"}'
    reason = reason_of(decode_market, padded, received_at=RECEIVED_AT)
    assert "beside its lists of symbols; at most 65,536 are allowed" in reason
    assert "at most 1,048,576" in reason_of(decode_market, b"{" + b" " * LARGEST_OF_ALL, received_at=RECEIVED_AT)


def test_every_item_of_a_message_has_the_bound_of_one() -> None:
    many = b"[" + b",".join(encode(an_alert(f"a{n}", spark=[1.2345678] * 60)) for n in range(100)) + b"]"
    assert len(many) > LARGEST
    found = decode_items("alerts.x", many, received_at=RECEIVED_AT)
    assert [part.anomaly is not None for part in found] == [True] * 100
    [refused] = decode_items("alerts.x", foreign(x="x" * LARGEST), received_at=RECEIVED_AT)
    assert "at most 65,536 are allowed" in refused.reason


JSON = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.text(), st.dictionaries(st.text(), JSON, max_size=3))
def test_what_comes_in_has_no_command_to_a_terminal(sentence: str, parameters: dict[str, Any]) -> None:
    explanation = Explanation(sentence=sentence, parameters=parameters)
    [part] = decode_items("alerts.x", encode(an_alert(explanation=explanation)), received_at=RECEIVED_AT)
    assert not controls(part.reason)
    found = part.anomaly
    if found is None:
        return
    assert isinstance(found, Alert)
    assert not controls(found.explanation.sentence)
    text = msgspec.json.encode(found.explanation.parameters).decode()
    assert not controls(text.replace(" ", ""))
