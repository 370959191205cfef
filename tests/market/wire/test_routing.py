"""The index finds the clients that asking every filter would find."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from market.wire.filters import CHANNELS, AlertRoute, MarketRoute, parse_filters
from market.wire.messages import MarketType, Method, Severity
from market.wire.routing import Index

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
SECTORS = ["DeFi", "L1"]
VENUES = ["binance", "okx-swap"]


def some(values: Iterable[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from([str(value) for value in values]), max_size=3, unique=True)


filter_lists = st.fixed_dictionaries(
    {
        "channels": some(CHANNELS), "symbols": some(SYMBOLS), "severities": some(Severity),
        "methods": some(Method), "types": some(MarketType), "sectors": some(SECTORS),
        "venues": some(VENUES),
    }
)  # fmt: skip
alert_routes = st.builds(
    AlertRoute,
    st.sampled_from(SYMBOLS),
    st.sampled_from(list(map(str, Severity))),
    st.sampled_from(list(map(str, Method))),
    st.sampled_from(VENUES),
)
market_routes = st.builds(
    MarketRoute,
    st.sampled_from(list(map(str, MarketType))),
    st.sampled_from(list(map(str, Severity))),
    st.none() | some(SYMBOLS),
    st.none() | st.sampled_from(SECTORS),
    st.none() | st.sampled_from(VENUES),
)


def asked(lists: dict[str, list[str]], key: str, value: str | None) -> bool:
    """The rule as the protocol states it, without masks and sets."""
    return not lists[key] or value in lists[key]


def expects(lists: dict[str, list[str]], route: AlertRoute | MarketRoute) -> bool:
    if not asked(lists, "severities", route.severity):
        return False
    if route.venue is not None and not asked(lists, "venues", route.venue):
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
            index.set(member, parse_filters(lists, channels=CHANNELS)[0])
            everybody[member] = lists
    for member in list(everybody):
        index.discard(member)
    assert not index._by_symbol
    assert not len(index)
