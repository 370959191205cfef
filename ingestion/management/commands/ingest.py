import asyncio
from typing import Any

from django.core.management.base import CommandError, CommandParser
from nats.aio.client import Client

from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role
from ingestion.feed import forget_last_replay, restart_candles, run_ingest
from ingestion.management.base import ExamplesCommand
from ingestion.management.source_options import add_source_options, sources_from_options
from ingestion.sources import SourceError


class Command(ExamplesCommand):
    help = """\
Publish candles of one or more sources to NATS (subjects candles.<venue>.<interval>).

  manage.py ingest                                                       live prices; simulated if none answers
  manage.py ingest --source live --venue binance,kraken                  two exchanges
  manage.py ingest --source live --top 50 --interval 1m                  the 50 pairs with the largest turnover
  manage.py ingest --source replay --file candles.parquet --speed max    a recording, as fast as possible
  manage.py ingest --source simulated --symbols 200 --seed 7             a simulated market
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_source_options(parser)
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            sources = sources_from_options(options, self.stdout.write)

            async def ingest(client: Client, stop: asyncio.Event) -> None:
                for source in sources:
                    if said := await forget_last_replay(source):
                        self.stdout.write(said)
                    await restart_candles(source, client)
                await asyncio.gather(*(run_ingest(source, client, stop) for source in sources))

            for source in sources:
                self.stdout.write(f"Publishing candles: {source.describe()}")
            run_in_loop(run_role("ingest", ingest, options["metrics_port"]))
        except (*FATAL, SourceError) as error:
            raise CommandError(str(error)) from None
