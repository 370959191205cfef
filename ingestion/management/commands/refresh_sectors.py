import asyncio
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ingestion.management.base import ToolCommand
from ingestion.sectors import coingecko_from_settings, is_due, refresh
from market.clock import now_ms
from market.coingecko import CoinGeckoError, fetch_sectors
from market.selectors import sector_map
from market.services import ShrunkMap
from market.wire.sectors import SectorMap


class Command(ToolCommand):
    help = """\
Fetch the sectors of coins from CoinGecko and store them as the new sector map.
A refresh makes about 40 calls: two minutes with a key of the free Demo plan, longer without a key. Answers are
cached for six hours, so an interrupted refresh continues where it stopped. If it fails, the current map stays in use.

  manage.py refresh_sectors                     fetch, store, show the new map
  manage.py refresh_sectors --if-due            only if the map is older than half of SECTOR_MAX_AGE (for cron)
  manage.py refresh_sectors --dry-run           fetch, store nothing
  manage.py refresh_sectors --show              show the current map; makes no call
  COINGECKO_API_KEY=CG-… manage.py refresh_sectors
  COINGECKO_API_KEY=CG-… COINGECKO_PLAN=pro manage.py refresh_sectors

Is a coin in the wrong sector? Set an override in the admin. It takes precedence over every map, also after a refresh.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-due", action="store_true", help="only if older than half of SECTOR_MAX_AGE")
        parser.add_argument("--dry-run", action="store_true", help="store nothing")
        parser.add_argument("--show", action="store_true", help="show the current map and exit")
        parser.add_argument("--no-cache", action="store_true", help="ignore cached answers")
        parser.add_argument("--force", action="store_true", help="store the map even if most of its coins are gone")

    def handle(self, *args: Any, **options: Any) -> None:
        console = self.console(options)
        try:
            before = sector_map()
            if options["show"]:
                return _show(before, console)
            if options["if_due"] and not is_due(before, now_ms()):
                console.print(f"{before.version} is not due for a refresh ({_age(before)}).")
                return None
            asyncio.run(self._refresh(console, options))
            if not options["dry_run"]:
                _show(sector_map(), console)
        except (CoinGeckoError, ShrunkMap, DatabaseError) as error:
            hint = " Use --force to store it." if isinstance(error, ShrunkMap) else ""
            raise CommandError(f"{error}{hint} The current map stays in use.") from None
        except KeyboardInterrupt:
            raise CommandError("Stopped; nothing was stored. The next refresh uses the cached answers.") from None

    async def _refresh(self, console: Console, options: dict[str, Any]) -> None:
        client = coingecko_from_settings(cached=not options["no_cache"])
        console.print(f"Fetching from {client.root}", style="dim")
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("", total=None)

            def say(done: int, total: int, what: str) -> None:
                progress.update(bar, completed=done, total=total or None, description=what)
                if not console.is_terminal:
                    console.print(f"{done}/{total or '?'} {what}", markup=False)

            if options["dry_run"]:
                fetched = await fetch_sectors(client, say)
            else:
                _, fetched = await refresh(client, say, even_if_shrunk=options["force"])
        console.print(f"{len(fetched.coins)} coins with sectors, {client.calls} calls.")
        if fetched.missing:
            console.print(f"CoinGecko has no category for {', '.join(fetched.missing)}.", style="yellow", markup=False)
        shared = [coin for coin in fetched.coins if coin.namesakes and coin.rank and coin.rank <= 200]
        for coin in shared[:10]:
            others = f"{coin.namesakes} other coin{'s' if coin.namesakes > 1 else ''} with this ticker"
            console.print(f"{coin.base} means {coin.name} (rank {coin.rank}), not {others}.", markup=False)


def _show(known: SectorMap, console: Console) -> None:
    console.print(
        f"In force: {known.version} ({known.source}), {_age(known)}, {len(known.sectors)} coins, "
        f"{known.overrides} overrides.",
        markup=False,
    )
    sizes: dict[str, int] = {}
    for sectors in known.sectors.values():
        for sector in sectors:
            sizes[sector] = sizes.get(sector, 0) + 1
    for sector, size in sorted(sizes.items(), key=lambda item: -item[1]):
        console.print(f"  {size:>5} {sector}", markup=False)


def _age(known: SectorMap) -> str:
    now = now_ms()
    age_ms = known.age_ms(now)
    if age_ms is None:
        return "ships with the project"
    old = f"{timedelta(seconds=age_ms // 1000)} old"
    return f"{old}, expired" if known.expired(now, settings.SECTOR_MAX_AGE_S * 1000) else old
