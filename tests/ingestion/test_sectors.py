"""`refresh_sectors`, the refresh in the background, and what the analysis makes of another map."""

import asyncio
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from ingestion import sectors
from ingestion.analysis.analysis import Analysis
from market import coingecko
from market.detectors.panel import Panel
from market.detectors.sector import Sectors
from market.models import SectorOverride, StoredSectorMap
from market.selectors import sector_map
from market.services import store_sector_map
from market.wire.decoding import decode_market, decode_stress
from market.wire.messages import Anomaly, CandleBatch, SectorAnomaly, encode
from market.wire.sectors import SectorMap, built_in_map
from tests.market.coingecko_server import CoinGeckoServer, running, status
from tests.samples import T0, a_sector

DAY_MS = 86_400_000


@pytest.fixture
def gecko(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CoinGeckoServer]:
    monkeypatch.setattr(coingecko, "KEYLESS_PER_MINUTE", 60_000.0)
    with running() as server:
        settings.DATA_DIR, settings.COINGECKO_URL, settings.COINGECKO_API_KEY = tmp_path, server.root, ""
        yield server


def refresh_sectors(*arguments: str) -> str:
    output = StringIO()
    call_command("refresh_sectors", *arguments, stdout=output)
    return output.getvalue()


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_refresh_sectors_puts_a_map_in_force(gecko: CoinGeckoServer) -> None:
    output = refresh_sectors()
    assert "5 coins with sectors" in output
    assert "PEPE means Pepe (rank 30), not 1 other coin with this ticker." in output
    assert "CoinGecko has no category for Layer 2," in output
    assert "In force: coingecko-" in output
    assert sector_map().sectors_for("DOGEUSDT") == ("Layer 1", "Meme")
    assert not [headers for _, _, headers in gecko.requests if "x-cg-demo-api-key" in headers]


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_stores_nothing(gecko: CoinGeckoServer) -> None:
    assert "5 coins with sectors" in refresh_sectors("--dry-run")
    assert sector_map() == built_in_map()


@pytest.mark.django_db(transaction=True)
def test_only_when_due(gecko: CoinGeckoServer) -> None:
    refresh_sectors()
    gecko.requests.clear()
    assert "is not due for a refresh" in refresh_sectors("--if-due", "--no-cache")
    assert gecko.requests == []
    StoredSectorMap.objects.update(fetched_at="2020-01-01T00:00:00Z")
    assert "old, expired" in refresh_sectors("--show")
    assert gecko.requests == []
    refresh_sectors("--if-due", "--no-cache")
    assert gecko.requests


@pytest.mark.django_db(transaction=True)
def test_a_refresh_that_fails_is_one_sentence_and_changes_nothing(gecko: CoinGeckoServer) -> None:
    refresh_sectors()
    before = sector_map()
    gecko.faults = [status(401)]
    with pytest.raises(CommandError, match=r"rejected the API key.*The current map stays in use\."):
        refresh_sectors("--no-cache")
    gecko.coins = gecko.coins[:1]
    with pytest.raises(CommandError, match=r"1 coins with sectors, and the stored map 5\. Use --force to store it"):
        refresh_sectors("--no-cache")
    assert sector_map() == before
    refresh_sectors("--force")
    assert sector_map().version != before.version


# --- In the background -----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_an_old_map_is_refreshed_by_itself_and_a_failure_is_tried_again(
    gecko: CoinGeckoServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sectors, "backoff", lambda **_: iter([0.01] * 100))
    gecko.faults = [status(401), status(403)]
    stop = asyncio.Event()
    task = asyncio.create_task(sectors.run_sectors(stop))
    async with asyncio.timeout(30):
        while not await StoredSectorMap.objects.aexists():
            await asyncio.sleep(0.02)
    stop.set()
    await task
    assert len([record for record in caplog.records if "refresh failed" in record.message]) == 2
    assert await StoredSectorMap.objects.acount() == 1


@pytest.mark.parametrize(("age_days", "due"), [(0, False), (3, False), (4, True), (9, True)])
def test_a_map_is_due_from_half_of_its_time_on(settings: Settings, age_days: int, due: bool) -> None:
    settings.SECTOR_MAX_AGE_S = 7 * 86_400.0
    assert sectors.is_due(SectorMap("coingecko", "1", T0, {}), T0 + age_days * DAY_MS) is due
    assert sectors.is_due(built_in_map(), T0)


async def test_without_a_key_nobody_is_asked(gecko: CoinGeckoServer, settings: Settings) -> None:
    settings.COINGECKO_URL = ""
    await sectors.run_sectors(asyncio.Event())
    assert gecko.requests == []


@pytest.mark.django_db(transaction=True)
async def test_whoever_follows_is_told_of_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sectors, "RELOAD_EVERY_S", 0.01)
    seen: asyncio.Queue[SectorMap] = asyncio.Queue()
    async with sectors.watched_sector_map(seen.put_nowait), asyncio.timeout(30):
        assert await seen.get() == built_in_map()
        await SectorOverride.objects.acreate(base="PEPE", sectors="AI")
        assert (await seen.get()).sectors_for("PEPEUSDT") == ("AI",)
        await asyncio.to_thread(store_sector_map, "coingecko", [coingecko.Coin("X", "x", "X", 1, 0, ("AI",))], T0)
        assert (await seen.get()).sectors_for("XUSDT") == ("AI",)
    assert seen.empty()


# --- In the analysis -------------------------------------------------------------------------------------------------

MEMES = [f"MEME{n}USDT" for n in range(8)]
OTHERS = [f"COIN{n}USDT" for n in range(24)]


def a_map(fetched_at: int | None = None, *, memes: int = 8) -> SectorMap:
    return SectorMap("test", "1", fetched_at, {f"MEME{n}": ("Meme",) for n in range(memes)})


def market(minutes: int, jump: float, seed: int = 5) -> Iterator[CandleBatch]:
    """Quiet 1-minute candles; in the last three minutes the memes rise by `jump`, the rest does not."""
    rng = np.random.default_rng(seed)
    symbols = MEMES + OTHERS
    prices = np.full(len(symbols), 100.0)
    for minute in range(1, minutes + 1):
        before = prices
        step = rng.normal(0, 0.0005, len(symbols))
        if minute > minutes - 3:
            step[: len(MEMES)] += jump / 3
        prices = before * np.exp(step)
        yield CandleBatch(
            venue="test",
            interval="1m",
            close_time=T0 // 60_000 * 60_000 + minute * 60_000,
            symbols=symbols,
            open=before.tolist(),
            high=np.maximum(before, prices).tolist(),
            low=np.minimum(before, prices).tolist(),
            close=prices.tolist(),
            volume=[10.0] * len(symbols),
        )


def sector_anomalies(analysis: Analysis, batches: Iterator[CandleBatch]) -> list[SectorAnomaly]:
    found: list[Anomaly] = []
    for batch in batches:
        found += analysis.update(batch, batch.close_time + 50)
    found += analysis.close(T0 + DAY_MS)
    return [anomaly for anomaly in found if isinstance(anomaly, SectorAnomaly)]


@pytest.mark.parametrize(("fetched_at", "degraded"), [(None, False), (T0, False), (T0 - 8 * DAY_MS, True)])
def test_what_an_expired_map_finds_says_so(fetched_at: int | None, degraded: bool) -> None:
    analysis = Analysis(max_sector_age_ms=7 * DAY_MS)
    analysis.use(a_map(fetched_at))
    found = sector_anomalies(analysis, market(120, 0.12))
    assert [anomaly.sector for anomaly in found]
    assert {anomaly.sector for anomaly in found} == {"Meme"}
    assert {anomaly.degraded for anomaly in found} == {degraded}


def test_another_map_takes_effect_on_symbols_seen_before() -> None:
    analysis = Analysis()
    batches = list(market(240, 0.12))
    nothing: list[SectorAnomaly] = []
    for batch in batches[:120]:
        nothing += [found for found in analysis.update(batch, batch.close_time) if isinstance(found, SectorAnomaly)]
    assert nothing == []
    analysis.use(a_map())
    assert {anomaly.sector for anomaly in sector_anomalies(analysis, iter(batches[120:]))} == {"Meme"}


def test_the_live_index_shows_every_sector_of_the_map_in_force() -> None:
    analysis = Analysis()
    batches = list(market(240, 0.12))
    sector_anomalies(analysis, iter(batches[:120]))
    sectors = []
    for later in (a_map(), None):
        (index,) = analysis.stress()
        assert decode_stress(encode(index)) == index
        sectors.append([sector.sector for sector in index.sectors] if index.sectors else [])
        if later is not None:
            analysis.use(later)
            assert analysis.stress()  # before the first batch with the new map
            sector_anomalies(analysis, iter(batches[120:]))
    assert sectors[0] != sectors[1]
    assert "Meme" in sectors[1]


def test_a_sector_keeps_what_it_learnt_while_most_members_stay() -> None:
    panel = Panel("1m")
    known = Sectors(
        panel, SectorMap("", "", None, {"A": ("One", "Two"), "B": ("One", "Two"), "C": ("One",)}).sectors_for
    )
    panel.symbols += ["AUSDT", "BUSDT", "CUSDT"]
    known.enrol()
    known.age[:] = [7, 9]
    known.variance.total[:], known.variance.weight[:] = [0.7, 0.9], [1.0, 1.0]

    later = SectorMap("", "", None, {"A": ("New", "Two"), "B": ("Two",), "C": ("One",)})
    moved = known.regrouped(later.sectors_for)
    ages = dict(zip(moved.names, moved.age.tolist(), strict=True))
    assert ages == {"Two": 9, "New": 0, "One": 0}
    assert moved.members == {"Two": [0, 1], "New": [0], "One": [2]}
    assert moved.variance.total.tolist()[moved.names.index("Two")] == 0.9

    assert moved.regrouped(later.sectors_for).age.tolist() == moved.age.tolist(), "two changes before the next candle"
    nothing = moved.regrouped(SectorMap("", "", None, {}).sectors_for)
    assert nothing.names == []


def test_degraded_is_on_the_wire_only_when_true() -> None:
    plain, marked = a_sector("m1"), a_sector("m1", degraded=True)
    assert b"degraded" not in encode(plain)
    assert b'"degraded":true' in encode(marked)
    assert [decode_market(encode(anomaly), received_at=T0) for anomaly in (plain, marked)] == [plain, marked]
