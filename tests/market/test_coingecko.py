"""Sectors from CoinGecko, over real HTTP: the contract, and everything that can go wrong with it."""

import asyncio
import csv
import gzip
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from market import coingecko
from market.coingecko import (
    RETRIES,
    TRIES,
    Category,
    CoinGecko,
    CoinGeckoError,
    CoinMarket,
    Fetched,
    ListedCoin,
    categories_of_sectors,
    fetch_sectors,
    meanings,
    retry_after_s,
)
from market.wire.sectors import SectorMap, built_in_map
from tests.market.coingecko_server import (
    CoinGeckoServer,
    Fault,
    breaks_off,
    garbage,
    length_of,
    not_http,
    other_shape,
    running,
    status,
    trickle,
)


@pytest.fixture
def gecko() -> Iterator[CoinGeckoServer]:
    with running() as server:
        yield server


def client(gecko: CoinGeckoServer, cache: Path | None = None, key: str = "", plan: str = "demo") -> CoinGecko:
    return CoinGecko(
        api_key=key,
        plan=plan,
        root=gecko.root,
        cache=cache,
        retries=RETRIES.new(backoff_factor=0, backoff_jitter=0),
        per_minute=60_000,
        timeout_s=2.0,
    )


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def fetched(gecko: CoinGeckoServer, cache: Path | None = None) -> Fetched:
    return await fetch_sectors(client(gecko, cache))


async def test_every_coin_gets_the_sectors_of_its_categories(gecko: CoinGeckoServer) -> None:
    found = await fetched(gecko)
    assert {coin.base: coin.sectors for coin in found.coins} == {
        "BTC": ("Layer 1",),
        "ETH": ("Layer 1",),
        "DOGE": ("Layer 1", "Meme"),
        "PEPE": ("Meme",),
        "WOW": ("Meme",),
    }
    assert "Gaming" in found.missing
    assert "Meme" not in found.missing
    assert abs(found.fetched_at - time.time() * 1000) < 60_000


async def test_an_ambiguous_ticker_means_the_largest_coin(gecko: CoinGeckoServer) -> None:
    """PEPE's fork is a layer 1 and one SAME is a meme; venues list neither."""
    coins = {coin.base: coin for coin in (await fetched(gecko)).coins}
    assert (coins["PEPE"].coin_id, coins["PEPE"].rank, coins["PEPE"].namesakes) == ("pepe", 30, 1)
    assert "SAME" not in coins


def test_rank_decides_whatever_the_order_of_the_answers() -> None:
    markets = [CoinMarket("b", "x", "B", 2), CoinMarket("c", "x", "C", None), CoinMarket("a", "x", "A", 1)]
    for order in itertools.permutations(markets):
        [coin] = meanings(order, {"a": ["AI"], "b": ["Meme"], "c": ["NFT"]}, [ListedCoin(i, "X") for i in "abc"])
        assert coin == ("X", "a", "A", 1, 2, ("AI",))


def test_categories_are_found_by_id_or_by_name() -> None:
    chosen, missing = categories_of_sectors([Category("meme-token-2", "Meme"), Category("oracle", "Price Feeds")])
    assert chosen == {"Meme": ["meme-token-2"], "Oracle": ["oracle"]}
    assert len(missing) == len(coingecko.SECTORS) - 2


def test_the_sectors_are_those_of_the_map_that_ships() -> None:
    assert set(coingecko.SECTORS) == {name for sectors in built_in_map().sectors.values() for name in sectors}


@pytest.mark.parametrize(("plan", "header"), [("demo", "x-cg-demo-api-key"), ("pro", "x-cg-pro-api-key")])
async def test_the_key_goes_into_the_header_of_its_plan(gecko: CoinGeckoServer, plan: str, header: str) -> None:
    gecko.key, gecko.header = "CG-secret", header
    assert len(await client(gecko, key="CG-secret", plan=plan).categories()) == 3
    assert "CG-secret" not in gecko.requests[0][0] + str(gecko.requests[0][1])


async def test_the_plans_have_their_own_roots() -> None:
    roots = [CoinGecko(api_key="k", plan=plan, cache=None).root for plan in ("demo", "pro")]
    assert roots == ["https://api.coingecko.com/api/v3", "https://pro-api.coingecko.com/api/v3"]


@pytest.mark.parametrize(
    "fault",
    [
        status(429),
        status(429, Retry_After="0"),
        status(500),
        status(503, b"no JSON"),
        garbage,
        other_shape,
        breaks_off,
        not_http,
    ],
)
async def test_what_passes_is_tried_again(gecko: CoinGeckoServer, fault: Fault) -> None:
    gecko.faults = [fault, fault]
    assert len((await fetched(gecko)).coins) == 5
    assert [path for path, _, _ in gecko.requests[:3]] == ["/api/v3/coins/categories/list"] * 3


async def test_retry_after_is_honoured(gecko: CoinGeckoServer, caplog: pytest.LogCaptureFixture) -> None:
    gecko.faults = [status(429, Retry_After="1")]
    with caplog.at_level("INFO", "market.coingecko"):
        await client(gecko).categories()
    assert "HTTP 429, too many calls; next try in 1 s" in caplog.text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("30", 30.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("Thu, 01 Jan 99999999999 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 20.0)
    assert retry_after_s(header) == seconds


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(429, Retry_After="3600"), r"rate limit is used up\. Try again in 3600 s"),
        (
            status(401, b'{"status": {"error_message": "Invalid API Key"}}'),
            r"HTTP 401: Invalid API Key.*COINGECKO_PLAN",
        ),
        (status(403), r"rejected the API key"),
        (status(302, Location="http://127.0.0.1:9/"), r"HTTP 302"),
        (status(422, b'{"error": "Missing parameter"}'), r"HTTP 422: Missing parameter"),
        (status(422, b'{"error": "\\u001b]52;c;aGk=\\u0007"}'), r"HTTP 422: \]52;c;aGk=\.$"),
        (status(422, b"[" * 9_999), r"HTTP 422\.$"),
    ],
)
async def test_what_no_retry_mends_is_one_sentence(gecko: CoinGeckoServer, fault: Fault, reason: str) -> None:
    gecko.faults = [fault]
    with pytest.raises(CoinGeckoError, match=reason):
        await client(gecko).categories()
    assert len(gecko.requests) == 1


@pytest.mark.parametrize(
    "length", ["x", "-1", "9" * 5_000, "\u0663".encode().decode("latin-1")], ids=["word", "negative", "long", "digit"]
)
async def test_a_length_that_is_none_is_not_believed(gecko: CoinGeckoServer, length: str) -> None:
    gecko.faults = [length_of(length)]
    assert await client(gecko).categories() == []


@pytest.mark.parametrize("rank", [10**30, 2**31, -1, "1", 1.5])
async def test_a_rank_that_is_none_ends_in_a_sentence(gecko: CoinGeckoServer, rank: Any) -> None:
    body = json.dumps([{"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "market_cap_rank": rank}]).encode()
    gecko.faults = [status(200, body)] * TRIES
    with pytest.raises(CoinGeckoError, match=r"unexpected format .*market_cap_rank"):
        await client(gecko).markets(1)


async def test_tries_come_to_an_end(gecko: CoinGeckoServer) -> None:
    gecko.faults = [status(502)] * 100
    with pytest.raises(
        CoinGeckoError, match=r"did not answer /coins/categories/list in 6 tries; the last error: HTTP 502"
    ):
        await client(gecko).categories()
    assert len(gecko.requests) == coingecko.TRIES


async def test_no_wait_follows_the_last_try(gecko: CoinGeckoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    gecko.faults = [status(503, Retry_After="7")] * coingecko.TRIES
    with pytest.raises(CoinGeckoError, match="did not answer"):
        await client(gecko).categories()
    assert [seconds for seconds in waits if seconds >= 7] == [7] * (coingecko.TRIES - 1)


async def test_waits_grow_up_to_a_bound(gecko: CoinGeckoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    gecko.faults = [status(502)] * 10
    patient = client(gecko)
    patient._retries = RETRIES.new(total=8)
    with pytest.raises(CoinGeckoError, match="in 9 tries"):
        await patient.categories()
    growing = waits[1::2]  # between them, the pace
    expected = [(0, 0), (4, 6), (8, 10), (16, 18), (32, 34), (60, 60), (60, 60), (60, 60)]
    assert all(least <= wait <= most for wait, (least, most) in zip(growing, expected, strict=True))


async def test_an_answer_that_trickles_is_given_up(gecko: CoinGeckoServer) -> None:
    released = threading.Event()
    gecko.faults = [trickle(released)]
    slow = client(gecko)
    slow._timeout_s = 0.3
    assert len(await slow.categories()) == 3
    assert len(gecko.requests) == 2
    released.set()


async def test_nobody_there() -> None:
    gone = CoinGeckoServer(root="http://127.0.0.1:9/api/v3")
    with pytest.raises(CoinGeckoError, match=r"Connection refused"):
        await client(gone).categories()


@pytest.mark.parametrize(("plan", "root"), [("gold", ""), ("demo", "file:///etc"), ("demo", "api.coingecko.com")])
def test_settings_that_make_no_sense_are_refused(plan: str, root: str) -> None:
    with pytest.raises(CoinGeckoError, match=r"COINGECKO_(PLAN|URL)="):
        CoinGecko(api_key="", plan=plan, root=root, cache=None)


async def test_a_refresh_that_broke_off_goes_on_where_it_was(gecko: CoinGeckoServer, tmp_path: Path) -> None:
    complete = await fetched(gecko)
    whole = len(gecko.requests)
    gecko.requests.clear()
    faulty = client(gecko, tmp_path)
    await faulty.categories()
    await faulty.coins()
    gecko.faults = [status(401)]
    with pytest.raises(CoinGeckoError):
        await fetch_sectors(faulty)
    gecko.requests.clear()
    assert (await fetched(gecko, tmp_path)).coins == complete.coins
    assert len(gecko.requests) == whole - 2


async def test_the_age_of_a_map_is_that_of_its_oldest_answer(gecko: CoinGeckoServer, tmp_path: Path) -> None:
    await client(gecko, tmp_path).categories()
    [kept] = files(tmp_path)
    hour_ago = time.time() - 3_600
    os.utime(kept, (hour_ago, hour_ago))
    assert (await fetched(gecko, tmp_path)).fetched_at == int(hour_ago * 1000)


async def test_old_answers_are_asked_for_again_and_thrown_away(gecko: CoinGeckoServer, tmp_path: Path) -> None:
    await client(gecko, tmp_path).markets(77)
    [kept] = files(tmp_path)
    os.utime(kept, (0, 0))
    await fetched(gecko, tmp_path)
    assert not kept.exists()


async def test_garbage_is_not_kept(gecko: CoinGeckoServer, tmp_path: Path) -> None:
    gecko.faults = [garbage] * coingecko.TRIES
    with pytest.raises(CoinGeckoError, match="unexpected format"):
        await client(gecko, tmp_path).categories()
    assert not files(tmp_path)


async def test_a_list_of_categories_without_any_of_ours_is_not_believed(gecko: CoinGeckoServer) -> None:
    gecko.categories = {"x": "Something else"}
    with pytest.raises(CoinGeckoError, match="not its list of categories"):
        await fetched(gecko)


async def test_a_category_gone_meanwhile_is_left_out(gecko: CoinGeckoServer) -> None:
    whole = gecko.answer

    def without_memes(path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, object]:
        return (404, {"error": "gone"}) if query.get("category") == "meme-token" else whole(path, query, headers)

    gecko.answer = without_memes  # type: ignore[method-assign]
    assert {coin.base for coin in (await fetched(gecko)).coins} == {"BTC", "ETH", "DOGE"}


async def test_every_page_of_a_large_category_is_read_up_to_the_bound(gecko: CoinGeckoServer) -> None:
    gecko.coins = [(f"c{n}", f"c{n}", n, ["meme-token"]) for n in range(1, 2_000)]
    found = await fetched(gecko)
    assert len(found.coins) == coingecko.PER_PAGE * coingecko.CATEGORY_PAGES
    pages = [query["page"] for _, query, _ in gecko.requests if query.get("category") == "meme-token"]
    assert pages == ["1", "2"]


def test_real_answers_decode(shared_data: Path) -> None:
    page = msgspec.json.decode(
        (shared_data / "sectors" / "fixture_coins_markets_page1_250.json").read_bytes(), type=list[CoinMarket]
    )
    assert (len(page), page[0].symbol, page[0].market_cap_rank) == (250, "btc", 1)
    examples = json.loads((shared_data / "sectors" / "fixture_coingecko_oas_examples.json").read_text())
    for path, kind in (
        ("/coins/categories/list", Category),
        ("/coins/list", ListedCoin),
        ("/coins/markets", CoinMarket),
    ):
        assert msgspec.convert(examples[path]["example"], list[kind])  # type: ignore[valid-type]


def test_every_sector_has_a_real_category(shared_data: Path) -> None:
    with gzip.open(shared_data / "sectors" / "coingecko_coin_categories_top3000.csv.gz", "rt") as file:
        names = {name for line in file for name in line.rstrip("\n").rpartition(",")[2].split("|")}
    assert not [sector for sector, spellings in coingecko.SECTORS.items() if not set(spellings) & names]


async def test_real_coins_become_a_useful_map(gecko: CoinGeckoServer, shared_data: Path) -> None:
    """3,000 real coins with their categories, and the pairs of a real venue."""
    with gzip.open(shared_data / "sectors" / "coingecko_coin_categories_top3000.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {name for row in rows for name in row["categories"].split("|") if name}
    gecko.categories = {name.lower().replace(" ", "-"): name for name in names}
    ids = {name: id for id, name in gecko.categories.items()}
    gecko.coins = [
        (
            row["coingecko_id"],
            row["symbol"].lower(),
            int(float(row["market_cap_rank"])) if row["market_cap_rank"] else None,
            [ids[name] for name in row["categories"].split("|") if name],
        )
        for row in rows
    ]
    found = await fetched(gecko)
    known = SectorMap("coingecko", "1", 1, {coin.base: coin.sectors for coin in found.coins})
    assert found.missing == []
    assert "Layer 1" in known.sectors_for("BTCUSDT")
    assert known.sectors_for("1000PEPEUSDT") == ("Meme",)
    with (shared_data / "sectors" / "symbol_sectors.csv").open(newline="") as file:
        symbols = [row["symbol"] for row in csv.DictReader(file)]
    covered = [symbol for symbol in symbols if known.sectors_for(symbol)]
    assert len(covered) > 0.7 * len(symbols)
    sizes = Counter(sector for coin in found.coins for sector in coin.sectors)
    assert min(sizes[sector] for sector in coingecko.SECTORS) >= 8
