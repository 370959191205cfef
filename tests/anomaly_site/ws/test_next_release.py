"""What processes of the next release send, on `/ws` of this one: during an update either may be the first."""

import json
from typing import Any

from channels.layers import get_channel_layer

from market.wire.filters import Channel
from tests.anomaly_site.ws.conftest import Connect
from tests.anomaly_site.ws.test_stream import offsets_until_pong
from tests.anomaly_site.ws.world import EPOCH, World, alert, stress

ALERTS, MARKET = Channel.ALERTS, Channel.MARKET


def later(payload: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(payload) | fields, separators=(",", ":")).encode()


async def test_messages_of_later_kinds_reach_clients_and_stop_nothing(connect: Connect, world: World) -> None:
    everything = await connect(subscribe={"filters": {}})
    bitcoin = await connect(subscribe={"filters": {"symbols": ["BTCUSDT"], "severities": ["HIGH"]}})
    of_a_type = await connect(subscribe={"filters": {"types": ["MARKET_STRESS"]}})
    await world.publish(
        (ALERTS, later(alert("a1"), method="LATER", field={"a": [1]})),
        (MARKET, later(stress(), type="LATER_TYPE", field=1)),
        (ALERTS, later(alert("a2"), source="paper", state="PAUSED")),
        (ALERTS, alert("a3")),
    )
    assert await offsets_until_pong(everything) == [1, 2, 3, 4]
    assert await offsets_until_pong(bitcoin) == [1, 2, 3, 4]
    assert await offsets_until_pong(of_a_type) == [1, 3, 4]


async def test_what_a_later_bridge_sends_to_groups_is_passed_over(connect: Connect, world: World) -> None:
    socket = await connect(subscribe={"filters": {}})
    layer = get_channel_layer()
    assert layer is not None
    for event in (
        {"type": "later.event", "data": b"{}"},
        {"type": "live.frame", "channel": "market", "kind": "later", "key": "kraken", "data": b'{"a":1}', "field": 1},
        {"type": "anomalies.batch", "channel": "later", "epoch": EPOCH, "previous": 0, "head": 0, "messages": []},
    ):
        await layer.group_send("market", event)
    await world.publish((ALERTS, alert("a1")))
    assert await offsets_until_pong(socket) == [1]
