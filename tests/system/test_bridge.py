"""The data path over real NATS: nothing missing, nothing twice, and nobody's garbage stops it."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg

from ingestion.stream.nats import message_id
from market.wire.decoding import decode_alert, decode_market
from tests.system import PATIENCE_S
from tests.system.conftest import Command, System, receive_until, wait_for_status, wait_until

pytestmark = pytest.mark.system


async def _published_ids(url: str) -> set[str]:
    """The ids of all anomalies that NATS took, read from the stream itself."""
    client = await nats.connect(url)
    try:
        context = client.jetstream()
        state = (await context.stream_info("ANOMALIES")).state
        ids = set()
        for sequence in range(state.first_seq or 1, (state.last_seq or 0) + 1):
            message = await context.get_msg("ANOMALIES", sequence)
            decode = decode_alert if (message.subject or "").startswith("alerts.") else decode_market
            ids.add(message_id(decode(message.data or b"", received_at=0)).rpartition(":")[0])
        return ids
    finally:
        await client.close()


def _stored_ids(system: System) -> list[str]:
    return [row[0] for row in system.rows("SELECT id FROM alerts_alert UNION ALL SELECT id FROM market_marketanomaly")]


def _went_on(system: System, ingest: Command) -> Callable[[], bool]:
    """Whether more has been stored than now, or nothing more is to come."""
    before = len(_stored_ids(system))
    return lambda: len(_stored_ids(system)) > before or "ended after" in ingest.output


async def test_a_bridge_killed_again_and_again_misses_nothing_of_a_crash(system: System, shared_data: Path) -> None:
    recording = shared_data / "klines" / "binance_spot_1m_2021-05-12_2021-05-20.parquet"
    system.up("--only", "nats,web")
    system.start("analyze")
    bridge = system.start("nats_bridge")
    ingest = system.start("ingest", "--source", "replay", "--file", str(recording), "--speed", "max")
    for _ in range(4):
        await asyncio.to_thread(wait_until, _went_on(system, ingest))
        bridge.stop(signal.SIGKILL)
        bridge = system.start("nats_bridge")
    await asyncio.to_thread(ingest.wait_for, "ended after")

    async def complete() -> bool:
        return await _published_ids(system.nats_url) == set(_stored_ids(system))

    async with asyncio.timeout(PATIENCE_S):
        before = -1
        while not (before == len(_stored_ids(system)) > 100 and await complete()):
            before = len(_stored_ids(system))
            await asyncio.sleep(1)
    stored = _stored_ids(system)
    assert len(stored) == len(set(stored))

    crash = "from=2021-05-19T11:00:00Z&to=2021-05-19T14:00:00Z&min_severity=HIGH"
    market = (await asyncio.to_thread(system.get, f"/market?{crash}"))["results"]
    assert {"SYNCHRONIZED_MOVEMENT", "MARKET_STRESS"} <= {anomaly["type"] for anomaly in market}


async def test_anyone_may_publish_and_garbage_stops_nothing(system: System) -> None:
    await asyncio.to_thread(system.up, "--only", "nats,bridge,web")
    # The page is announced first. Until the bridge has made the stream, nothing keeps what anyone publishes.
    await asyncio.to_thread(wait_for_status, system, lambda status: "ANOMALIES" in status["streams"], "the stream")
    client = await nats.connect(system.nats_url)
    rejected: asyncio.Queue[Msg] = asyncio.Queue()
    await client.subscribe("rejected.>", cb=rejected.put)
    try:
        async with system.ws() as socket:
            await socket.send(json.dumps({"type": "subscribe", "filters": {"symbols": ["BTCUSDT"]}}))
            await receive_until(socket, lambda seen: any(f["type"] == "subscribed" for f in seen))
            await client.publish("alerts.BTCUSDT", b"\xff not json")
            await client.publish("alerts.BTCUSDT", b'{"severity": "dreadful", "score": 4}')
            await client.publish(
                "alerts.BTCUSDT",
                b'{"alertId": "mine-1", "symbol": "btc/usdt", "severity": "high", "zScore": "-5.5",'
                b' "method": "z-score", "changePct": -2.5, "currentPrice": 60000, "timestamp": "2026-01-02T03:04:05Z"}',
            )
            frames = await receive_until(socket, lambda seen: any(f["type"] == "alert" for f in seen))
        alert = next(frame for frame in frames if frame["type"] == "alert")["data"]
        assert (alert["symbol"], alert["severity"], alert["method"]) == ("BTCUSDT", "HIGH", "Z_SCORE")
        assert (alert["direction"], alert["score"], alert["price"]) == ("DOWN", -5.5, 60000)
        assert alert["timestamp"] == 1767323045000
        for reason in ("not JSON", "dreadful"):
            message = await asyncio.wait_for(rejected.get(), PATIENCE_S)
            assert message.subject == "rejected.alerts.BTCUSDT"
            assert reason in (message.headers or {})["Reason"]
        assert (await asyncio.to_thread(system.get, "/alerts/mine-1"))["change_pct"] == -2.5
    finally:
        await client.close()


async def test_a_message_may_hold_several_and_none_comes_again(system: System) -> None:
    """Items of one message are one unit, to sockets and to REST; a known revision is not sent, whoever repeats it."""
    await asyncio.to_thread(system.up, "--only", "nats,bridge,web")
    await asyncio.to_thread(wait_for_status, system, lambda status: "ANOMALIES" in status["streams"], "the stream")
    client = await nats.connect(system.nats_url)
    rejected: asyncio.Queue[Msg] = asyncio.Queue()
    await client.subscribe("rejected.>", cb=rejected.put)

    def item(number: int, revision: int = 1, **fields: object) -> dict[str, object]:
        return {
            "id": f"mine-{number}", "revision": revision, "symbol": "BTCUSDT", "severity": "HIGH", "score": 5,
            "method": "MAD", "timestamp": 1_767_323_045_000, **fields,
        }  # fmt: skip

    async def publish(subject: str, message: object) -> None:
        await client.publish(subject, json.dumps(message).encode())

    try:
        async with system.ws() as socket:
            await socket.send(json.dumps({"type": "subscribe", "filters": {"channels": ["alerts"]}}))
            await receive_until(socket, lambda seen: any(f["type"] == "subscribed" for f in seen))
            await publish("alerts.BTCUSDT", [item(3), item(1), item(2, severity="dreadful"), item(4)])
            # No header `Nats-Msg-Id`: NATS takes each of them again, as it does of any message after two minutes.
            await publish("alerts.BTCUSDT", [item(1), item(3)])
            await publish("alerts.btc.usdt", {"data": item(1, severity="LOW")})
            await publish("alerts.BTCUSDT", [item(1, 3), item(1, 2), item(3)])
            await publish("alerts.BTCUSDT", item(1, 2))
            await publish("alerts.OTHER", {"data": [item(5)]})
            frames = await receive_until(
                socket, lambda seen: any(f.get("data", {}).get("id") == "mine-5" for f in seen)
            )
        alerts = [frame for frame in frames if frame["type"] == "alert"]
        told = [(f["offset"], f["data"]["id"], f["data"]["revision"], f.get("more", False)) for f in alerts]
        assert told == [
            (1, "mine-3", 1, True),
            (1, "mine-1", 1, True),
            (1, "mine-4", 1, False),
            (4, "mine-1", 3, False),
            (6, "mine-5", 1, False),
        ]
        message = await asyncio.wait_for(rejected.get(), PATIENCE_S)
        assert message.headers is not None
        assert message.headers["Reason"].startswith("item 3 of 4: severity")
        assert (message.headers["Item"], message.headers["Offset"]) == ("3", "1")
        assert json.loads(message.data)["id"] == "mine-2"
        epoch = (await asyncio.to_thread(system.get, "/alerts"))["cursor"]["epoch"]
        page = await asyncio.to_thread(system.get, f"/alerts?since={epoch}:0&limit=1")
        assert [(row["offset"], row["id"]) for row in page["results"]] == [(1, "mine-3"), (1, "mine-4")]
        assert page["cursor"]["offset"] == 1
        page = await asyncio.to_thread(system.get, f"/alerts?since={epoch}:1&limit=1")
        assert [(row["offset"], row["id"]) for row in page["results"]] == [(4, "mine-1")]
    finally:
        await client.close()


async def test_a_plain_nats_server_works_at_most_once(system: System, tmp_path: Path) -> None:
    """Without JetStream there is nothing to resume from, and the log says so."""
    ports = tmp_path / "ports"
    ports.mkdir()
    config = tmp_path / "plain.conf"
    config.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\n')
    from ingestion.stream.nats_server import find_binary

    process = await asyncio.create_subprocess_exec(
        str(find_binary()), "-c", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        urls: list[str] = []

        def says_its_port() -> bool:
            with contextlib.suppress(StopIteration, ValueError):  # no file yet, or not all of it
                urls.extend(json.loads(next(ports.glob("*.ports")).read_text())["nats"])
            return bool(urls)

        await asyncio.to_thread(wait_until, says_its_port, what="the server's port")
        url = urls[0]
        system.env["NATS_URL"] = url
        up = await asyncio.to_thread(system.up, "--only", "nats,bridge,web")
        await asyncio.to_thread(up.wait_for, "has no JetStream")
        async with system.ws("/ws/market") as socket:
            await receive_until(socket, lambda seen: any(f["type"] == "subscribed" for f in seen))
            client = await nats.connect(url)
            anomaly = b'{"sector": "Meme", "severity": "high", "performance": "-4.5", "id": "s-1"}'

            async def publish() -> None:
                while True:  # nothing keeps what comes before the bridge listens
                    await client.publish("market.SECTOR_ANOMALY", anomaly)
                    await asyncio.sleep(0.2)

            publishing = asyncio.create_task(publish())
            frames = await receive_until(socket, lambda seen: any(f["type"] == "market" for f in seen))
            publishing.cancel()
            await client.close()
        assert frames[-1]["data"]["performance_pct"] == -4.5
        assert await asyncio.to_thread(up.stop) == 0
    finally:
        process.terminate()
        await process.wait()
