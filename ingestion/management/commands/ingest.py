import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from nats.aio.client import Client

from ingestion.daemon import run_in_loop, run_role
from ingestion.feed import restart_candles, run_ingest
from ingestion.nats import NatsUnavailable
from ingestion.sources import SourceError
from ingestion.sources.options import add_source_options, source_from_options


class Command(BaseCommand):
    help = (
        "Play a source of candles into NATS (subjects candles.<venue>.<interval>). "
        "Example: `manage.py ingest --source replay --file candles.parquet --speed max`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_source_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            source = source_from_options(options)

            async def ingest(client: Client, stop: asyncio.Event) -> None:
                await restart_candles(source, client)
                await run_ingest(source, client, stop)

            self.stdout.write(f"Playing {source.describe()}")
            run_in_loop(run_role("ingest", ingest))
        except (NatsUnavailable, SourceError) as error:
            raise CommandError(str(error)) from None
