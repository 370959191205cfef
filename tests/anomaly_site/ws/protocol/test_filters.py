from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_site.ws.protocol.filters import AlertRoute, Filter, Index, MarketRoute, parse_filters
from anomaly_site.ws.protocol.frames import CHANNELS, MAX_FILTER_VALUES, Channel, ErrorCode, ProtocolError
from market.wire.messages import MarketType, Method, Severity
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
    ("raw", "code"),
    [
        ({"symbols": "BTCUSDT"}, ErrorCode.INVALID_FILTER),
        ({"symbols": [1]}, ErrorCode.INVALID_FILTER),
        ({"symbols": {"a": 1}}, ErrorCode.INVALID_FILTER),
        ({"symbols": ["X"] * (MAX_FILTER_VALUES + 1)}, ErrorCode.FILTER_TOO_LARGE),
        ({"symbols": ["X" * 81]}, ErrorCode.FILTER_TOO_LARGE),
    ],
)
def test_what_is_no_filter(raw: dict[str, Any], code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as error:
        parse_filters(raw, channels=CHANNELS)
    assert error.value.code is code


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


SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
SECTORS = ["DeFi", "L1"]


def some(values: Iterable[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([str(value) for value in values]), max_size=3, unique=True)


filter_lists = st.fixed_dictionaries(
    {
        "channels": some(CHANNELS), "symbols": some(SYMBOLS), "severities": some(Severity),
        "methods": some(Method), "types": some(MarketType), "sectors": some(SECTORS),
    }
)  # fmt: skip
alert_routes = st.builds(
    AlertRoute,
    st.sampled_from(SYMBOLS),
    st.sampled_from(list(map(str, Severity))),
    st.sampled_from(list(map(str, Method))),
)
market_routes = st.builds(
    MarketRoute,
    st.sampled_from(list(map(str, MarketType))),
    st.sampled_from(list(map(str, Severity))),
    st.none() | some(SYMBOLS),
    st.none() | st.sampled_from(SECTORS),
)


def asked(lists: dict[str, list[str]], key: str, value: str | None) -> bool:
    """The rule as the protocol states it, without masks and sets."""
    return not lists[key] or value in lists[key]


def expects(lists: dict[str, list[str]], route: AlertRoute | MarketRoute) -> bool:
    if not asked(lists, "severities", route.severity):
        return False
    if isinstance(route, AlertRoute):
        return (
            asked(lists, "channels", "alerts")
            and asked(lists, "symbols", route.symbol)
            and asked(lists, "methods", route.method)
        )
    return (
        asked(lists, "channels", "market")
        and asked(lists, "types", route.type)
        and (route.sector is None or asked(lists, "sectors", route.sector))
        and (route.affected_symbols is None or any(asked(lists, "symbols", symbol) for symbol in route.affected_symbols)
             or not lists["symbols"])
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.none() | filter_lists) | alert_routes | market_routes,
        max_size=40,
    )
)
def test_the_index_routes_as_asking_everybody_would(steps: list[Any]) -> None:
    """Subscriptions come, change and go between messages, so that a stale cached answer would show."""
    index: Index[int] = Index()
    everybody: dict[int, dict[str, list[str]]] = {}
    for step in steps:
        if isinstance(step, AlertRoute | MarketRoute):
            routed = index.alert(step) if isinstance(step, AlertRoute) else index.market(step)
            assert len(set(routed)) == len(routed)
            assert set(routed) == {member for member, lists in everybody.items() if expects(lists, step)}
            continue
        member, lists = step
        if lists is None:
            index.discard(member)
            everybody.pop(member, None)
        else:
            index.set(member, compiled(**lists))
            everybody[member] = lists
    for member in list(everybody):
        index.discard(member)
    assert not index._by_symbol
    assert not len(index)
