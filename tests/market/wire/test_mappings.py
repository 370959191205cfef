"""Alerts as TradingView and Prometheus' Alertmanager send them."""

import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.wire.decoding import decode_alert
from market.wire.messages import InvalidMessage, encode
from tests.compat import ROOT

DOCS = ROOT / "docs"
RECEIVED_AT = 1_767_323_045_000  # 2026-01-02T03:04:05Z


def alert(fields: dict[str, Any], token: str = "") -> dict[str, Any]:
    message = decode_alert(json.dumps(fields).encode(), received_at=RECEIVED_AT, subject_token=token)
    found: dict[str, Any] = msgspec.to_builtins(message)
    return found


def refusal(fields: dict[str, Any], token: str = "") -> str:
    with pytest.raises(InvalidMessage) as refused:
        alert(fields, token)
    return str(refused.value)


# What people put into the message of an alert, filled in by TradingView.
TRADINGVIEW: dict[str, Any] = {
    "ticker": "BTCUSDT", "exchange": "BINANCE", "close": 60100.5, "time": "2026-01-02T03:00:00Z", "interval": "60",
    "volume": 12.5, "plot_0": 71.2, "strategy.order.action": "buy",
}  # fmt: skip


def test_tradingview_s_alert_is_read() -> None:
    found = alert(TRADINGVIEW)
    expected = {
        "symbol": "BTCUSDT", "venue": "binance", "interval": "1h", "method": "EXTERNAL", "severity": "MEDIUM",
        "direction": "UP", "score": 0.0, "price": 60100.5, "change_pct": None, "timestamp": 1_767_322_800_000,
        "detected_at": RECEIVED_AT, "state": "OPEN", "revision": 1,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["explanation"]["parameters"] == {
        "tradingview": {
            "bar": {"time": "2026-01-02T03:00:00Z", "close": 60100.5, "volume": 12.5},
            "plots": {"plot_0": 71.2},
        }
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"timenow": "2026-01-02T03:04:03Z"}, {"timestamp": 1_767_323_043_000}),
        ({"time": None, "timenow": "2026-01-02T03:04:03Z"}, {"timestamp": 1_767_323_043_000}),
        ({"time": None}, {"timestamp": RECEIVED_AT}),
        ({"close": "60100.5", "volume": "12.5"}, {"price": 60100.5}),
        ({"interval": "D"}, {"interval": "1d"}),
        ({"interval": "30S"}, {"interval": "30s"}),
        ({"exchange": "BINANCE_DLY"}, {"venue": "binance"}),
        ({"exchange": None}, {"venue": "external"}),
        ({"ticker": "BTCUSDT.P"}, {"symbol": "BTCUSDT", "venue": "binanceusdm"}),
        ({"ticker": "BINANCE:BTCUSDT.P", "exchange": None}, {"symbol": "BTCUSDT", "venue": "binanceusdm"}),
        ({"ticker": "BINANCE:BTCUSDT"}, {"symbol": "BTCUSDT", "venue": "binance"}),
        ({"plot_0": math.nan}, {"price": 60100.5}),
        ({"strategy.order.action": "sell"}, {"direction": "DOWN"}),
        ({"strategy.order.action": None, "action": "sell"}, {"direction": "DOWN"}),
        ({"strategy.order.action": None, "strategy.market_position": "short"}, {"direction": "DOWN"}),
        ({"strategy.market_position": "flat"}, {"direction": "UP"}),
        ({"strategy.order.action": None, "direction": "down"}, {"direction": "DOWN"}),
        ({"strategy.order.action": None, "open": 60160.66}, {"direction": "DOWN", "change_pct": -0.1}),
        ({"open": 60160.66}, {"direction": "UP", "change_pct": None}),
        ({"strategy.order.action": "{{strategy.order.action}}", "open": 60000}, {"direction": "UP"}),
        ({"severity": "critical"}, {"severity": "CRITICAL"}),
        ({"method": "volume_spike", "score": 7}, {"method": "VOLUME", "score": 7}),
        ({"score": -3.5, "strategy.order.action": None}, {"score": -3.5, "direction": "DOWN"}),
        ({"price": 60000}, {"price": 60000}),
    ],
)
def test_variants_of_tradingview_s_alert(change: dict[str, Any], expected: dict[str, Any]) -> None:
    found = alert(TRADINGVIEW | change)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)


def test_the_message_to_paste_is_read() -> None:
    """The one in docs/data.md, filled in by TradingView."""
    values = {
        "ticker": "BTCUSDT.P", "exchange": "BINANCE", "interval": "60", "time": "2026-01-02T03:00:00Z",
        "timenow": "2026-01-02T03:04:03Z", "open": "60000", "close": "60100.5", "volume": "5", "plot_0": "71.2",
    }  # fmt: skip
    [template] = re.findall(r"```json\n(.*?)```", (DOCS / "data.md").read_text(), re.DOTALL)
    message = re.sub(r"\{\{(.*?)\}\}", lambda found: values.get(found[1], found[0]), template)
    found = alert(json.loads(message))
    assert (found["direction"], found["price"], found["severity"]) == ("UP", 60100.5, "HIGH")
    assert (found["timestamp"], found["explanation"]["sentence"]) == (1_767_323_043_000, "RSI above 70")


def test_tradingview_s_objects_are_read_and_its_secrets_are_not_kept() -> None:
    """A template that is passed around, with the bar and the order in objects of their own."""
    found = alert(
        {
            "passphrase": "opensesame", "time": "2026-01-02T03:04:03Z", "exchange": "BYBIT", "ticker": "ETHUSDT",
            "bar": {"time": "2026-01-02T03:04:00Z", "open": 3000, "close": 3003, "volume": 5},
            "strategy": {
                "position_size": 1, "order_action": "sell", "order_contracts": 1, "order_price": 3003,
                "order_id": "Long", "market_position": "flat", "prev_market_position": "long",
            },
        }
    )  # fmt: skip
    expected = {
        "symbol": "ETHUSDT",
        "venue": "bybit",
        "direction": "DOWN",
        "price": 3003,
        "timestamp": 1_767_323_043_000,
    }
    assert {name: found[name] for name in expected} == expected
    assert "opensesame" not in json.dumps(found)


def test_alerts_of_tradingview_are_told_apart_and_a_repetition_is_known() -> None:
    assert alert(TRADINGVIEW)["id"] == alert(dict(TRADINGVIEW))["id"] == "tv-" + alert(TRADINGVIEW)["id"][3:]
    changes: list[dict[str, Any]] = [
        {}, {"message": "RSI"}, {"message": "MACD"}, {"plot_0": 1}, {"ticker": "ETHUSDT"}, {"interval": "5"},
        {"strategy.order.id": "a"}, {"time": "2026-01-02T02:00:00Z"}, {"strategy.order.action": "sell"},
    ]  # fmt: skip
    assert len({alert(TRADINGVIEW | change)["id"] for change in changes}) == len(changes)
    assert alert(TRADINGVIEW | {"message": "RSI"})["explanation"]["sentence"] == "RSI"
    assert alert(TRADINGVIEW | {"id": "mine"})["id"] == "mine"


def test_what_had_everything_before_keeps_its_id() -> None:
    """Of an alert without the names of TradingView's placeholders, and of one with them that need nothing of them."""
    fields = {"ticker": "BTCUSDT", "severity": "HIGH", "method": "MAD", "score": 9, "time": "2026-01-02T03:00:00Z"}
    more = {"close": 5, "timenow": "2026-01-02T03:04:03Z", "action": "sell"}
    assert alert(fields | more)["id"] == alert(fields)["id"]
    assert (alert(fields | more)["price"], alert(fields | more)["direction"]) == (5, "DOWN")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ticker": None}, "symbol is missing"),
        ({"ticker": "{{tick}}"}, "ticker is '{{tick}}': TradingView did not fill in {{tick}}; check its"),
        ({"strategy.order.action": None}, 'direction is missing: add "direction": "UP" to the message of the alert'),
        ({"strategy.order.action": "close"}, "direction is 'close'; it must be UP or DOWN"),
        ({"interval": "1M"}, "interval is '1M', which may mean minutes or months"),
        ({"close": "1,234.5"}, "price is '1,234.5'; it must be a number without commas, like 1234.5"),
        ({"method": "MAD"}, "score is missing; it must be a number"),
        ({"severity": 2}, "severity is 2, which may mean either end"),
        ({"timenow": "2026-01-02T12:04:05"}, "timestamp 2026-01-02T12:04:05Z is 9 h ahead of its arrival"),
    ],
)  # fmt: skip
def test_what_tradingview_does_not_say_is_not_invented(change: dict[str, Any], reason: str) -> None:
    assert refusal(TRADINGVIEW | change).startswith(reason)


# One alert of a webhook of version 4.
FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {
        "alertname": "PriceSpike", "severity": "critical", "symbol": "BTCUSDT", "exchange": "binance",
        "direction": "down", "job": "prices",
    },
    "annotations": {"summary": "BTCUSDT fell by 5 %", "value": "-5.2"},
    "startsAt": "2026-01-02T03:00:00.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus.example.org:9090/graph?g0.expr=x&g0.tab=1",
    "fingerprint": "1a30ba71cca2921f",
}  # fmt: skip
RESOLVED = FIRING | {"status": "resolved", "endsAt": "2026-01-02T03:03:20Z"}


def labelled(labels: dict[str, Any], annotations: dict[str, Any] | None = None) -> dict[str, Any]:
    """The firing alert with other labels; null takes one away."""
    merged = {name: value for name, value in (FIRING["labels"] | labels).items() if value is not None}
    return FIRING | {"labels": merged, "annotations": FIRING["annotations"] if annotations is None else annotations}


def test_an_alert_of_the_alertmanager_fires_and_is_resolved() -> None:
    expected = {
        "id": "am-1a30ba71cca2921f-1767322800123", "revision": 1, "state": "OPEN", "symbol": "BTCUSDT",
        "venue": "binance", "severity": "CRITICAL", "method": "EXTERNAL", "direction": "DOWN", "score": -5.2,
        "timestamp": 1_767_322_800_123, "detected_at": RECEIVED_AT,
    }  # fmt: skip
    found = alert(FIRING)
    assert {name: found[name] for name in expected} == expected
    assert found["explanation"] == {"sentence": "BTCUSDT fell by 5 %", "parameters": {"labels": FIRING["labels"]}}
    expected |= {"revision": 2, "state": "CLOSED", "timestamp": 1_767_323_000_000}
    assert {name: alert(RESOLVED)[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (labelled({"symbol": None, "ticker": "eth-usdt"}), {"symbol": "ETHUSDT"}),
        (labelled({"symbol": None, "pair": "ETH/USDT"}), {"symbol": "ETHUSDT"}),
        (labelled({"symbol": None, "instrument": "ETHUSDT"}), {"symbol": "ETHUSDT"}),
        (labelled({"severity": "warning"}), {"severity": "MEDIUM"}),
        (labelled({"severity": None, "level": "P2"}), {"severity": "HIGH"}),
        (labelled({"exchange": None}), {"venue": "external"}),
        (labelled({"exchange": None, "venue": "okx-swap"}), {"venue": "okx-swap"}),
        (labelled({"timeframe": "5m", "method": "mad", "score": "-7"}), {"interval": "5m", "method": "MAD"}),
        (labelled({"direction": None, "side": "buy"}), {"direction": "UP"}),
        (labelled({"direction": None}, {"change_pct": "-5.2%"}), {"direction": "DOWN", "change_pct": -5.2, "score": 0}),
        (labelled({"direction": None}, {"score": "-3"}), {"direction": "DOWN", "score": -3}),
        (labelled({}, {}), {"score": 0}),
        (labelled({}, {"value": "five per cent"}), {"score": 0}),
        (FIRING | {"annotations": None}, {"score": 0}),
        (FIRING | {"endsAt": None}, {"state": "OPEN", "revision": 1}),
        # As Prometheus itself and the API of version 2 write them.
        (FIRING | {"status": None, "endsAt": "2026-01-02T03:08:00Z"}, {"state": "OPEN", "revision": 1}),
        (FIRING | {"status": None, "endsAt": "2026-01-02T03:03:20Z"}, {"state": "CLOSED", "revision": 2}),
        (FIRING | {"status": {"state": "active", "silencedBy": []}}, {"state": "OPEN", "revision": 1}),
        (FIRING | {"startsAt": "2026-01-02T12:00:00.000000000+09:00"}, {"timestamp": 1_767_322_800_000}),
    ],
)  # fmt: skip
def test_variants_of_the_alertmanager_s_alert(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    found = alert(fields)
    assert {name: found[name] for name in expected} == expected


def test_an_episode_without_fingerprint_has_one_id() -> None:
    """Fingerprints came with version 0.21 of the Alertmanager."""
    old = {name: value for name, value in FIRING.items() if name != "fingerprint"}
    assert alert(old)["id"] == alert(old | {"status": "resolved"})["id"]
    assert alert(old)["id"] != alert(old | {"labels": FIRING["labels"] | {"symbol": "ETHUSDT"}})["id"]
    assert alert(FIRING)["id"] != alert(FIRING | {"startsAt": "2026-01-02T03:01:00Z"})["id"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (labelled({"symbol": None}), "symbol is missing: the alert needs a label symbol, ticker, pair or instrument; "
                                     "it has alertname, direction, exchange, job and severity"),
        (labelled({"severity": None}), "severity is missing: the alert needs a label severity"),
        (labelled({"severity": "page"}), "severity is 'page'; it must be LOW, MEDIUM, HIGH or CRITICAL"),
        (labelled({"severity": "2"}), "severity is '2', which may mean either end"),
        (labelled({"direction": None}), "direction is missing: the alert needs a label direction (UP or DOWN, or long"),
        (labelled({"method": "mad"}), "score is missing; it must be a number"),
        (FIRING | {"startsAt": None}, "startsAt is missing; it must be the time at which the alert began firing"),
        (FIRING | {"startsAt": "soon"}, "startsAt is 'soon'; it must be a time"),
        (FIRING | {"status": "suppressed"}, "state is 'suppressed'; it must be OPEN, ESCALATED or CLOSED"),
        (FIRING | {"startsAt": "2026-01-02T12:04:05Z"}, "timestamp 2026-01-02T12:04:05Z is 9 h ahead of its arrival"),
    ],
)  # fmt: skip
def test_what_the_alertmanager_does_not_say_is_not_invented(fields: dict[str, Any], reason: str) -> None:
    """The subject names no symbol either: alerts of many share it."""
    assert refusal(fields, "PROMETHEUS").startswith(reason)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=9), SCALARS, max_size=2)
PLACES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (TRADINGVIEW, (name,)) for name in (*TRADINGVIEW, "strategy", "bar", "timenow", "open", "message")
]
PLACES += [(FIRING, (name,)) for name in FIRING]
PLACES += [(FIRING, (part, name)) for part in ("labels", "annotations") for name in (*FIRING[part], "score", "method")]


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_whatever_stands_in_them_they_are_read_or_refused(changes: list[tuple[Any, Any]]) -> None:
    fields = json.loads(json.dumps(changes[0][0][0]))
    for (_, path), value in changes:
        inner = fields
        for key in path[:-1]:
            inner = inner[key] if isinstance(inner.get(key), dict) else inner
        inner[path[-1]] = value
    payload = json.dumps(fields).encode()
    try:
        encode(decode_alert(payload, received_at=RECEIVED_AT, subject_token="ETHUSDT"))
    except InvalidMessage as error:
        reason = str(error)
    else:
        reason = "none"
    assert reason.isprintable()
