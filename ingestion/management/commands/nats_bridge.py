import asyncio
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from nats.aio.client import Client

from ingestion.bridge import run_bridge
from ingestion.daemon import run_in_loop, run_role
from ingestion.nats import NatsUnavailable


class Command(BaseCommand):
    help = (
        "Take anomalies from NATS (alerts.> and market.>), whoever published them: validate, store, send to the "
        "channel groups of the web processes. What is invalid goes to rejected.<subject>. A second bridge on the same database "
        "stands by."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.CHANNEL_REDIS_URL:
            self.stderr.write(
                "CHANNEL_REDIS_URL is not set: this process stores anomalies, but web processes see them only when "
                "they ask the store. `manage.py up` needs no Redis."
            )
        try:
            run_in_loop(run_role("bridge", _bridge))
        except NatsUnavailable as error:
            raise CommandError(str(error)) from None


async def _bridge(client: Client, stop: asyncio.Event) -> None:
    await run_bridge(client, get_channel_layer(), stop)
