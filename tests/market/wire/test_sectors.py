"""The sector map: big enough for sector anomalies to mean something, and found whatever the pair's spelling."""

from collections import Counter

import pytest

from market.wire.messages import unify_symbol
from market.wire.sectors import default_sectors, sectors_for


def test_the_map_is_broad_and_every_sector_is_populated() -> None:
    sectors = default_sectors()
    assert len(sectors) >= 320
    sizes = Counter(sector for memberships in sectors.values() for sector in memberships)
    assert len(sizes) >= 14
    assert min(sizes.values()) >= 8, "a sector of a few coins parts from the market by chance"
    assert "Stablecoin" not in sizes


def test_the_map_is_well_formed() -> None:
    for symbol, memberships in default_sectors().items():
        assert symbol == unify_symbol(symbol)
        assert memberships
        assert len(set(memberships)) == len(memberships)
        assert all(name == name.strip() and 0 < len(name) <= 80 for name in memberships)


@pytest.mark.parametrize(
    ("symbol", "same_as"),
    [
        ("ETHUSDC", "ETHUSDT"),
        ("ETHBTC", "ETHUSDT"),
        ("BTCFDUSD", "BTCUSDT"),
        ("BTCEUR", "BTCUSDT"),
        ("1000PEPEUSDT", "PEPEUSDT"),
        ("1000000MOGUSDT", "MOGUSDT"),
        ("1MBABYDOGEUSDT", "BABYDOGEUSDT"),
        ("1INCHUSDT", "1INCHUSDT"),
        ("WUSDT", "WUSDT"),
    ],
)
def test_quotes_and_multipliers_are_stripped(symbol: str, same_as: str) -> None:
    assert sectors_for(symbol) == default_sectors()[same_as]


@pytest.mark.parametrize("symbol", ["NOBODYUSDT", "USDT", "USDCUSDT", "", "BTC"])
def test_what_the_map_does_not_know_has_no_sector(symbol: str) -> None:
    assert sectors_for(symbol) == ()
