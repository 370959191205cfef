"""Our server as the benchmark runs it: the product's application and hub, fed from NATS without a store in between.

python -m benchmarks.peers.ours PORT NATS_URL hub|channels|asgi

`hub`: with the broadcast extension. `asgi`: the same through plain ASGI `send`. `channels`: the Channels tutorial's
design, a group member per socket that filters for itself.
"""

import asyncio
import json
import os
import sys
from collections.abc import Collection
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
os.environ |= {"WS_MAX_CONNECTIONS": "100000", "WS_MAX_CONNECTIONS_PER_ADDRESS": "100000", "LOG_LEVEL": "WARNING"}

import django

django.setup()

import nats
import uvicorn
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from nats.aio.msg import Msg

from anomaly_site.asgi import application
from anomaly_site.ws import hub as hub_module
from anomaly_site.ws.backfill import Change
from anomaly_site.ws.hub import Hub
from anomaly_site.ws.protocol.frames import Cursor
from market.wire.filters import CHANNELS, Channel, Filter

EPOCH = 1


class NothingStored:
    """A store in which nothing was ever missed."""

    async def head(self) -> Cursor | None:
        return None

    async def reaches(self, place: Cursor) -> bool:
        return True

    async def between(
        self, epoch: int, after: int, until: int, channels: Collection[Channel]
    ) -> tuple[list[Change], int]:
        return [], until

    async def ends(self, first: int, before: int) -> list[Cursor]:
        return []

    async def latest(self, wanted: Filter, count: int) -> list[Change]:
        return []


class Bridge:
    """What arrived in one turn of the loop becomes one batch, as one fetch does in the product."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._offset = 0
        self._pending: list[bytes] = []
        self._wake = asyncio.Event()

    async def take(self, message: Msg) -> None:
        self._pending.append(message.data)
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            payloads, self._pending = self._pending, []
            previous, self._offset = self._offset, self._offset + len(payloads)
            messages = list(enumerate(payloads, previous + 1))
            for channel in CHANNELS:
                event = {"type": "anomalies.batch", "channel": str(channel), "epoch": EPOCH, "previous": previous}
                event |= {"head": self._offset, "messages": messages if channel is Channel.ALERTS else []}
                await self._layer.group_send(str(channel), event)


class TutorialConsumer(AsyncJsonWebsocketConsumer):
    """As in the Channels tutorial: every socket joins the group, gets everything and filters for itself."""

    async def connect(self) -> None:
        self.filters: dict[str, Any] = {}
        await self.channel_layer.group_add("alerts", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("alerts", self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.filters = {key: set(values) for key, values in content["filters"].items()}
        await self.send_json({"type": "subscribed"})

    async def alert_message(self, event: dict[str, Any]) -> None:
        alert = event["data"]
        if "symbols" in self.filters and alert["symbol"] not in self.filters["symbols"]:
            return
        if "severities" in self.filters and alert["severity"] not in self.filters["severities"]:
            return
        await self.send(f'{{"type":"alert","channel":"alerts","offset":{event["offset"]},"data":{json.dumps(alert)}}}')


async def main(port: int, nats_url: str, mode: str) -> None:
    layer: Any = get_channel_layer()
    client = await nats.connect(nats_url)
    if mode == "channels":
        app: Any = TutorialConsumer.as_asgi()
        offset = 0

        async def take(message: Msg) -> None:
            nonlocal offset
            offset += 1
            await layer.group_send(
                "alerts", {"type": "alert.message", "offset": offset, "data": json.loads(message.data)}
            )
    else:
        app = application
        hub_module._hub = hub = Hub(layer, NothingStored(), heartbeat_s=15)
        hub.start()
        bridge = Bridge(layer)
        take = bridge.take
        bridging = asyncio.create_task(bridge.run())
    await client.subscribe("bench.alerts", cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.flush()
    ws = "anomaly_site.ws.broadcast:Protocol" if mode == "hub" else "websockets-sansio"
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            ws=ws,
            # As in the peers, no pings while it is measured: a thousand are 30 ms, every 20 s.
            ws_ping_interval=600,
            lifespan="auto",
            log_config=None,
            access_log=False,
            backlog=4096,
        )
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print("listening", flush=True)
    await serving
    if mode != "channels":
        bridging.cancel()


if __name__ == "__main__":
    # uvicorn would choose uvloop by itself; the loop is made here, so this says it.
    import uvloop

    uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
