"""The sector map in force: what was fetched, over what ships with the project, under what reviewers say."""

from typing import Any

import pytest
from django.test import Client

from market.coingecko import Coin
from market.models import SectorMember, SectorOverride, StoredSectorMap
from market.selectors import sector_map
from market.services import ShrunkMap, advance, sequenced, store, store_sector_map
from market.wire.sectors import built_in_map
from tests.samples import EPOCH, T0, a_sector

pytestmark = pytest.mark.django_db


def coin(base: str, *sectors: str, rank: int | None = 1, namesakes: int = 0) -> Coin:
    return Coin(base, base.lower(), base.title(), rank, namesakes, sectors)


def test_before_anything_is_fetched_the_map_that_ships_serves() -> None:
    known = sector_map()
    assert known == built_in_map()
    assert known.sectors_for("1000PEPEUSDC") == ("Meme",)
    assert not known.expired(10**15, 1.0)


def test_a_fetched_map_wins_where_it_knows_a_coin() -> None:
    store_sector_map("coingecko", [coin("PEPE", "AI"), coin("NEWCOIN", "Meme", "DeFi")], T0)
    known = sector_map()
    assert (known.source, known.fetched_at) == ("coingecko", T0)
    assert known.sectors_for("PEPEUSDT") == ("AI",)
    assert known.sectors_for("NEWCOINUSDT") == ("Meme", "DeFi")
    assert known.sectors_for("DOGEUSDT") == built_in_map().sectors["DOGE"]


def test_an_override_wins_over_every_map() -> None:
    for given in ("Oracle;AI", ""):
        SectorOverride.objects.update_or_create(base="PEPE", defaults={"sectors": given})
        assert sector_map().sectors_for("1000PEPEUSDT") == tuple(filter(None, given.split(";")))
        store_sector_map("coingecko", [coin("PEPE", "Meme")], T0)
        assert sector_map().sectors_for("1000PEPEUSDT") == tuple(filter(None, given.split(";")))
        assert sector_map().overrides == 1


def test_the_newest_map_serves_and_few_are_kept() -> None:
    versions = [str(store_sector_map("coingecko", [coin("X", f"S{n}")], T0 + n)) for n in range(5)]
    assert sector_map().version == versions[-1]
    assert sector_map().sectors_for("XUSDT") == ("S4",)
    assert StoredSectorMap.objects.count() == SectorMember.objects.count() == 3
    StoredSectorMap.objects.all()[0].delete()
    assert sector_map().version == versions[-2]


def test_a_map_that_lost_most_of_its_coins_is_not_stored() -> None:
    many = [coin(f"C{n}", "Meme") for n in range(9)]
    before = store_sector_map("coingecko", many, T0)
    with pytest.raises(ShrunkMap, match=r"coingecko has 4 coins with sectors, and the stored map 9\."):
        store_sector_map("coingecko", many[:4], T0 + 1)
    with pytest.raises(ShrunkMap):
        store_sector_map("coingecko", [], T0 + 1, even_if_shrunk=True)
    assert sector_map().version == str(before)
    assert store_sector_map("coingecko", many[:4], T0 + 1, even_if_shrunk=True).members.count() == 4


def test_a_map_expires_by_its_age() -> None:
    store_sector_map("coingecko", [coin("X", "Meme")], T0)
    known = sector_map()
    assert (known.age_ms(T0 + 500), known.age_ms(T0 - 500)) == (500, 0)
    assert (known.expired(T0 + 1_000, 1_000), known.expired(T0 + 1_001, 1_000)) == (False, True)


# --- In the admin ----------------------------------------------------------------------------------------------------

ADMIN = "/admin/market/sectoroverride/"


def test_overrides_are_edited_in_the_admin(admin_client: Client) -> None:
    form = {"base": " pepe ", "sectors": " AI ; Oracle;;AI", "note": "not a meme any more"}
    assert admin_client.post(f"{ADMIN}add/", form).status_code == 302
    assert sector_map().sectors_for("PEPEUSDT") == ("AI", "Oracle")
    override = SectorOverride.objects.get()
    admin_client.post(f"{ADMIN}{override.pk}/change/", form | {"sectors": ""})
    assert sector_map().sectors_for("PEPEUSDT") == ()
    admin_client.post(f"{ADMIN}{override.pk}/delete/", {"post": "yes"})
    assert sector_map().sectors_for("PEPEUSDT") == ("Meme",)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"base": "-", "sectors": "AI"}, "letters or digits"),
        ({"base": "X", "sectors": "A" * 81}, "at most 80 printable characters"),
        ({"base": "X", "sectors": "A\tB"}, "at most 80 printable characters"),
    ],
)
def test_an_override_nobody_could_mean_is_refused(admin_client: Client, form: dict[str, str], reason: str) -> None:
    assert reason in admin_client.post(f"{ADMIN}add/", form).content.decode()
    assert not SectorOverride.objects.exists()


@pytest.mark.parametrize("degraded", [True, False])
def test_an_anomaly_by_an_expired_map_says_so(admin_client: Client, degraded: bool) -> None:
    assert advance(EPOCH, 0, 1)
    store([sequenced(EPOCH, 1, a_sector("m1", degraded=degraded))])
    html = admin_client.get("/admin/market/marketanomaly/m1/change/").content.decode()
    assert ("an expired sector map" in html) is degraded
    assert admin_client.get("/market/m1").json().get("degraded", False) is degraded


def test_what_was_fetched_is_shown_and_not_edited(admin_client: Client) -> None:
    stored = store_sector_map("coingecko", [coin("PEPE", "Meme", namesakes=3)], T0)
    member = stored.members.get()
    shown: Any = admin_client.get("/admin/market/sectormember/?q=pepe")
    assert "Meme" in shown.content.decode()
    assert admin_client.post(f"/admin/market/sectormember/{member.pk}/change/", {"base": "X"}).status_code == 403
    assert str(stored) in admin_client.get("/admin/market/storedsectormap/").content.decode()
    admin_client.post(f"/admin/market/storedsectormap/{stored.pk}/delete/", {"post": "yes"})
    assert not StoredSectorMap.objects.exists()
