"""Changed messages in NATS, as any publisher may send them."""

import random
import time
from collections import Counter
from typing import Any

import msgspec
import nats

from tests.samples import a_movement, a_sector, a_stress, an_alert
from tests.system.attack.hostile import changed_bytes, changed_json
from tests.system.attack.target import Found, Target, arrives


def _messages(now_ms: int) -> list[tuple[str, Any]]:
    times: dict[str, Any] = {"timestamp": now_ms, "detected_at": now_ms}
    made = [an_alert(**times), a_movement(**times), a_stress(**times), a_sector(**times)]
    subjects = ("alerts.BTCUSDT", "market.SYNCHRONIZED_MOVEMENT", "market.MARKET_STRESS", "market.SECTOR_ANOMALY")
    others = [
        ("alerts.tradingview", {"ticker": "BTCUSDT", "exchange": "BINANCE", "close": 60_100.5, "time": now_ms}),
        ("stress.binance", {"venue": "binance", "interval": "1m", "timestamp": now_ms, "stress_index": 3.5,
                            "metric": "breadth", "components": {}, "universe": 320}),
        ("feed.binance", {"venue": "binance", "source": "live", "state": "ok", "symbols": 3, "timestamp": now_ms}),
    ]  # fmt: skip
    return [*zip(subjects, map(msgspec.to_builtins, made), strict=True), *others]


async def messages(on: Target, chance: random.Random, count: int) -> Found:
    found = Found(count)
    reasons: Counter[str] = Counter()

    async def reject(message: Any) -> None:
        reasons[(message.headers or {}).get("Reason", "no reason")[:60]] += 1

    client = await nats.connect(on.system.nats_url)
    try:
        await client.subscribe("rejected.>", cb=reject)
        for number in range(count):
            subject, message = chance.choice(_messages(time.time_ns() // 1_000_000))
            if chance.random() < 0.5:
                message = message | {"id": f"x{number}"}
            if chance.random() < 0.1:
                subject = f"{subject.partition('.')[0]}.{chance.choice(('a.b', '龙', '-', 'A' * 200))}"
            data = changed_json(chance, message)
            await client.publish(subject, changed_bytes(chance, data, ()) if chance.random() < 0.2 else data)
            if number % 100 == 0:
                await client.flush()
        await client.flush()
        await arrives(on)  # the bridge is through with them
        await client.flush()
    finally:
        await client.close()
    found.became = Counter({"rejected": reasons.total(), "different reasons": len(reasons)})
    for table in ("alerts_alert", "market_marketanomaly"):
        found.became[f"rows in {table}"] = on.system.rows(f"SELECT count(*) FROM {table}")[0][0]
    found.wrong += ["a message was rejected without a reason"] * bool(reasons["no reason"])
    return found
