import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from nats.aio.client import Client

from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role
from ingestion.feed import restart_candles, run_ingest
from ingestion.management.source_options import add_source_options, sources_from_options
from ingestion.sources import SourceError


class Command(BaseCommand):
    help = (
        "Play sources of candles into NATS (subjects candles.<venue>.<interval>). Examples: `manage.py ingest "
        "--source live --venue binance,kraken`; `manage.py ingest --source replay --file candles.parquet --speed max`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_source_options(parser)
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            sources = sources_from_options(options, self.stdout.write)

            async def ingest(client: Client, stop: asyncio.Event) -> None:
                for source in sources:
                    await restart_candles(source, client)
                await asyncio.gather(*(run_ingest(source, client, stop) for source in sources))

            for source in sources:
                self.stdout.write(f"Playing {source.describe()}")
            run_in_loop(run_role("ingest", ingest, options["metrics_port"]))
        except (*FATAL, SourceError) as error:
            raise CommandError(str(error)) from None
