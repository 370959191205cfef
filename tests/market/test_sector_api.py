"""`GET /sectors` and `GET /symbols`."""

from typing import Any

import pytest
from django.test import Client

from market.coingecko import Coin
from market.models import SectorOverride
from market.services import store_sector_map
from market.wire.sectors import built_in_map
from tests.samples import T0

pytestmark = pytest.mark.django_db


def get(client: Client, path: str) -> Any:
    response = client.get(path)
    assert response.status_code == 200, response.content
    return response.json()


def fetched() -> None:
    store_sector_map("coingecko", [Coin("PEPE", "pepe", "Pepe", 30, 1, ("Meme", "AI"))], T0)


def test_without_a_fetched_map_the_one_that_ships_answers(client: Client) -> None:
    answer = get(client, "/sectors")
    known = built_in_map()
    assert answer["map"]["source"] == "built-in"
    assert (answer["map"]["fetched_at"], answer["map"]["age_ms"], answer["map"]["expired"]) == (None, None, False)
    members = {sector["sector"]: sector["symbols"] for sector in answer["results"]}
    assert sum(map(len, members.values())) == sum(map(len, known.sectors.values()))
    assert "DOGEUSDT" in members["Meme"]
    assert [sector["size"] for sector in answer["results"]] == sorted(map(len, members.values()), reverse=True)


def test_the_map_in_force_tells_its_age(client: Client) -> None:
    fetched()
    answer = get(client, "/sectors")["map"]
    assert answer["version"].startswith("coingecko-")
    assert answer["fetched_at"] == T0
    assert answer["age_ms"] > answer["max_age_ms"]
    assert answer["expired"] is True


def test_symbols_say_where_their_sectors_are_from(client: Client) -> None:
    fetched()
    SectorOverride.objects.create(base="DOGE", sectors="Payments")
    answer = get(client, "/symbols?symbols=1000pepe/usdc,DOGEUSDT&symbol=BTCUSDT,NOBODYUSDT")
    assert [(row["symbol"], row["base"], row["sectors"], row["source"]) for row in answer["results"]] == [
        ("BTCUSDT", "BTC", ["Layer 1", "Payments"], "built-in"),
        ("NOBODYUSDT", None, [], None),
        ("1000PEPEUSDC", "PEPE", ["Meme", "AI"], "coingecko"),
        ("DOGEUSDT", "DOGE", ["Payments"], "override"),
    ]
    assert [(row["name"], row["market_cap_rank"]) for row in answer["results"]][2] == ("Pepe", 30)


def test_symbols_by_sector(client: Client) -> None:
    fetched()
    everything = get(client, "/symbols")["results"]
    assert len(everything) == len(built_in_map().sectors)
    memes = get(client, "/symbols?sectors=Meme")["results"]
    assert memes == [row for row in everything if "Meme" in row["sectors"]]
    assert 0 < len(memes) < len(everything)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("/sectors?sector=Meme", "Unknown parameter"),
        ("/symbols?coin=BTC", "Unknown parameter. Known: format, sector, sectors, symbol, symbols."),
        ("/symbols?symbol=-", "'-' is not a symbol"),
        ("/symbols?symbol=" + "A" * 41, "is not a symbol"),
        ("/symbols?symbols=" + "A," * 1001, "expected at most 1000"),
    ],
)
def test_what_nobody_could_mean_is_refused(client: Client, query: str, reason: str) -> None:
    response = client.get(query)
    assert response.status_code == 400
    assert reason in response.content.decode().replace("&#x27;", "'")
