"""Which sectors a symbol belongs to: what a sector map is, and the one that ships with the project.

`market/data/sectors.csv` serves a fresh start without a network. A map fetched from CoinGecko (`market/coingecko.py`)
and what reviewers set in the admin go over it: `market.selectors.sector_map` composes them.
"""

import csv
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Final

from market.wire.coins import coin
from market.wire.quotes import QUOTES

_FILE: Final = Path(__file__).parents[1] / "data" / "sectors.csv"

BUILT_IN: Final = "built-in"


@dataclass(frozen=True, slots=True)
class SectorMap:
    """Ticker of a coin (`BTC`) → its sectors, and where that comes from.

    `version` names the map (it does not count the `overrides` laid over it). `fetched_at` is in epoch ms; None: the map
    that ships with the project, which was never fetched and so does not age.
    """

    source: str
    version: str
    fetched_at: int | None
    sectors: Mapping[str, tuple[str, ...]]
    overrides: int = 0

    def sectors_for(self, symbol: str) -> tuple[str, ...]:
        """The sectors of a pair whatever it is quoted in; empty for a coin the map does not know."""
        base = known_base(symbol, self.sectors)
        return () if base is None else self.sectors[base]

    def age_ms(self, now_ms: int) -> int | None:
        return None if self.fetched_at is None else max(0, now_ms - self.fetched_at)

    def expired(self, now_ms: int, max_age_ms: float) -> bool:
        """Whether it serves only because there is none younger."""
        age_ms = self.age_ms(now_ms)
        return age_ms is not None and age_ms > max_age_ms


@cache
def built_in_map() -> SectorMap:
    content = _FILE.read_bytes()
    rows = csv.DictReader(content.decode().splitlines())
    sectors = {row["base"]: tuple(row["sectors"].split(";")) for row in rows}
    return SectorMap(BUILT_IN, blake2b(content, digest_size=4).hexdigest(), None, MappingProxyType(sectors))


@cache
def default_sectors() -> Mapping[str, tuple[str, ...]]:
    """Symbol against USDT (`BTCUSDT`) → its sectors, large coins first; a coin may be in several.

    >>> default_sectors()["BTCUSDT"]
    ('Layer 1', 'Payments')
    """
    return MappingProxyType({f"{base}USDT": sectors for base, sectors in built_in_map().sectors.items()})


def sectors_for(symbol: str) -> tuple[str, ...]:
    """The sectors of a pair by the map that ships with the project.

    >>> sectors_for("1000PEPEUSDC")
    ('Meme',)
    >>> sectors_for("NOBODYUSDT")
    ()
    """
    return built_in_map().sectors_for(symbol)


def known_base(symbol: str, known: Container[str]) -> str | None:
    """The coin a pair is about, if it is one of those `known`.

    >>> known_base("1000PEPEUSDC", {"PEPE"})
    'PEPE'
    """
    for quote in QUOTES:
        base = symbol.removesuffix(quote)
        if base == symbol:
            continue
        # The name as it stands comes first: 1INCH is a coin, not one of a multiple.
        for candidate in (base, coin(base)[0]):
            if candidate in known:
                return candidate
    return None
