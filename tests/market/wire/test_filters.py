"""What filters mean, and what is refused."""

from typing import Any

import pytest

from market.wire.filters import (
    CHANNELS,
    MAX_FILTER_VALUES,
    Channel,
    Filter,
    FilterTooLarge,
    InvalidFilter,
    parse_filters,
)
from tests.anomaly_site.ws.world import alert, sector, stress, synchronized


def compiled(**filters: Any) -> Filter:
    wanted, warnings = parse_filters(filters, channels=CHANNELS)
    assert warnings == []
    return wanted


def test_values_are_brought_into_their_one_spelling() -> None:
    effective = compiled(
        symbols=["btc-usdt", "BTC/USDT:USDT"], severities=["high"], methods=["z-score"], types=["market_stress"]
    ).effective
    assert (effective.symbols, effective.severities, effective.methods, effective.types) == (
        ["BTCUSDT"], ["HIGH"], ["Z_SCORE"], ["MARKET_STRESS"],
    )  # fmt: skip
    assert effective.channels == ["alerts", "market"]


@pytest.mark.parametrize(
    ("asked", "venue"), [("Binance", "binance"), ("okx-swap", "okx-swap"), ("BINANCE FUTURES", "binanceusdm")]
)
def test_a_venue_is_known_by_its_names(asked: str, venue: str) -> None:
    wanted = compiled(venues=[asked])
    assert wanted.effective.venues == [venue]
    assert not wanted.wants(Channel.ALERTS, alert()), "it is of another venue"
    assert compiled(venues=["simulated"]).wants(Channel.ALERTS, alert())
    assert wanted.wants(Channel.MARKET, stress()), "it is over all venues"


def test_what_is_unknown_is_named_and_left_out() -> None:
    wanted, warnings = parse_filters({"severities": ["HIGH", "URGENT"], "coins": []}, channels=CHANNELS)
    assert wanted.effective.severities == ["HIGH"]
    assert warnings == ["unknown filter 'coins'", "unknown severity 'URGENT' (known: LOW, MEDIUM, HIGH, CRITICAL)"]


@pytest.mark.parametrize("key", ["severities", "methods", "symbols", "channels"])
def test_a_list_with_nothing_known_matches_nothing(key: str) -> None:
    wanted, warnings = parse_filters({key: ["???"]}, channels=CHANNELS)
    assert not wanted.wants(Channel.ALERTS, alert())
    assert warnings[-1] == f"{key} names nothing known, so it matches nothing"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"symbols": "BTCUSDT"}, InvalidFilter),
        ({"symbols": [1]}, InvalidFilter),
        ({"symbols": {"a": 1}}, InvalidFilter),
        ({"symbols": ["X"] * (MAX_FILTER_VALUES + 1)}, FilterTooLarge),
        ({"symbols": ["X" * 81]}, FilterTooLarge),
    ],
)
def test_what_is_no_filter(raw: dict[str, Any], kind: type[InvalidFilter]) -> None:
    with pytest.raises(InvalidFilter) as error:
        parse_filters(raw, channels=CHANNELS)
    assert type(error.value) is kind


def test_warnings_are_few() -> None:
    _, warnings = parse_filters({"methods": [f"M{number}" for number in range(500)]}, channels=CHANNELS)
    assert len(warnings) == 20
    assert warnings[-1] == "and 482 more"


@pytest.mark.parametrize(
    ("filters", "payload", "wanted"),
    [
        ({}, stress(), True),
        ({"symbols": ["ETHUSDT"]}, synchronized(symbols=["BTCUSDT", "ETHUSDT"]), True),
        ({"symbols": ["ETHUSDT"]}, synchronized(symbols=["BTCUSDT"]), False),
        ({"symbols": ["ETHUSDT"]}, stress(), True),
        ({"sectors": ["defi"]}, sector(name="DeFi"), True),
        ({"sectors": ["L1"]}, sector(name="DeFi"), False),
        ({"sectors": ["L1"]}, stress(), True),
        ({"types": ["MARKET_STRESS"]}, stress(), True),
        ({"types": ["MARKET_STRESS"]}, sector(), False),
        ({"severities": ["CRITICAL"]}, stress(), False),
        ({"methods": ["MAD"]}, stress(), True),
        ({"channels": ["alerts"]}, stress(), False),
    ],
)
def test_market_rules(filters: dict[str, Any], payload: bytes, wanted: bool) -> None:
    assert compiled(**filters).wants(Channel.MARKET, payload) is wanted
