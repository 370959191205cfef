"""Publishers that attack: over a real NATS server, against the bridge and the real tables."""

import asyncio
from typing import Any

import msgspec
import pytest
from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from nats.aio.client import Client
from nats.aio.msg import Msg
from pytest_django import Settings

from alerts.models import Alert as Row
from ingestion.bridge import run_bridge
from ingestion.stream.health import this_process
from ingestion.stream.nats import ANOMALIES, Publisher, ensure_streams
from market.clock import now_ms
from market.models import MarketAnomaly as MarketRow
from market.wire.messages import Alert, Anomaly, Lifecycle, SourceKind, encode
from market.wire.signing import HEADER, derived, sign
from tests.samples import HISTORY, a_movement, an_alert

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]

OURS = an_alert("a1", source=SourceKind.LIVE, history=HISTORY)
LAST_REVISION = 2**31 - 1


@pytest.fixture
async def reasons(client: Client) -> list[str]:
    """Why messages were rejected, as it comes."""
    found: list[str] = []

    async def take(message: Msg) -> None:
        found.append((message.headers or {})["Reason"])

    await ensure_streams(client)
    await client.subscribe("rejected.>", cb=take)
    return found


async def bridged(client: Client) -> dict[str, dict[str, Any]]:
    """Run the bridge until the stream is read. Returns the rows by id."""
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(run_bridge(client, stop), 30)
    await client.flush()
    return await database_sync_to_async(
        lambda: {row["id"]: dict(row) for model in (Row, MarketRow) for row in model.objects.values()}
    )()


async def attack(client: Client, message: Anomaly, subject: str = "alerts.BTCUSDT", **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    await client.jetstream().publish(subject, encode(message), headers=named or None)


def problems() -> list[str]:
    return [event for part in this_process().parts if part.name == "bridge" for event in part.events]


def later(**changes: Any) -> Alert:
    return msgspec.structs.replace(OURS, revision=LAST_REVISION, **changes)


@pytest.fixture(autouse=True)
def _no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.stream.health._events", {})


async def test_no_publisher_changes_what_is_ours(client: Client, reasons: list[str]) -> None:
    publisher = await Publisher.open(client)
    movement = a_movement("m1", source=SourceKind.LIVE, venue="binance")
    await publisher.publish(OURS, movement)
    before = await bridged(client)
    assert [(row["signed"], row["source"]) for row in before.values()] == [(True, "live")] * 2
    (stolen,) = [
        message.headers[HEADER]
        for message in [await client.jetstream().get_msg(ANOMALIES, 1)]
        if message.headers is not None
    ]
    await attack(client, later(state=Lifecycle.CLOSED))
    await attack(client, later(symbol="ETHUSDT"), "alerts.ETHUSDT")
    await attack(client, msgspec.structs.replace(movement, revision=2), "market.SYNCHRONIZED_MOVEMENT")
    array = b"[" + encode(later()) + b"," + encode(an_alert("b1")) + b"]"
    await client.jetstream().publish("alerts.BTCUSDT", array)
    await attack(client, later(), Anomaly_Signature=stolen)
    await attack(client, OURS, "alerts.ETHUSDT", Anomaly_Signature=stolen)
    await attack(client, OURS, Anomaly_Signature=stolen)  # a repetition
    after = await bridged(client)
    assert after.pop("b1")["signed"] is False
    assert after == before
    assert sum("only its signed messages change it" in reason for reason in reasons) == 4
    assert sum("the signature is not of this message" in reason for reason in reasons) == 2
    assert len(reasons) == 6
    assert [problem.startswith("Messages with a wrong signature were rejected") for problem in problems()] == [True]
    await publisher.publish(msgspec.structs.replace(OURS, revision=2, state=Lifecycle.CLOSED))
    assert (await bridged(client))["a1"]["state"] == "CLOSED"


async def test_an_id_that_was_used_before_us_is_taken_over(client: Client, reasons: list[str]) -> None:
    """By somebody who knows what our next id will be, and the header that NATS compares."""
    fake = later(symbol="ETHUSDT", venue="okx", state=Lifecycle.CLOSED, history=HISTORY[:1])
    await attack(client, fake, Nats_Msg_Id="a1:1")
    assert (await bridged(client))["a1"]["source"] is None
    await (await Publisher.open(client)).publish(OURS)
    row = (await bridged(client))["a1"]
    assert (row["symbol"], row["revision"], row["state"], row["signed"]) == ("BTCUSDT", 1, "OPEN", True)
    chart = await database_sync_to_async(lambda: Row.objects.get().chart)()
    assert len(chart) == len(HISTORY)
    assert not reasons


async def test_one_id_on_two_subjects_stays_with_the_first(client: Client, reasons: list[str]) -> None:
    await attack(client, an_alert("1"))
    await attack(client, an_alert("1", symbol="ETHUSDT", revision=2), "alerts.ETHUSDT")
    assert (await bridged(client))["1"]["symbol"] == "BTCUSDT"
    assert [reason.partition(";")[0] for reason in reasons] == [
        "id '1' is of BTCUSDT on binance, and this message is of ETHUSDT on binance"
    ]


async def test_nobody_pins_a_row_to_the_top(client: Client, reasons: list[str]) -> None:
    future = now_ms() + 86_400_000
    for number, source in enumerate(SourceKind):
        await attack(client, an_alert(f"f{number}", timestamp=future, detected_at=future, source=source))
    await attack(client, an_alert("now", source=SourceKind.LIVE))
    rows = await bridged(client)
    assert {id: row["source"] for id, row in rows.items()} == {"now": None}
    assert b'"source":null' in rows["now"]["payload"].encode()
    assert [reason.startswith("timestamp ") for reason in reasons] == [True] * 3


def rotate(settings: Settings, *fallbacks: str) -> None:
    settings.SECRET_KEY, settings.SIGNING_KEY_FALLBACKS = "a new key", list(fallbacks)


async def test_a_rotation_while_the_bridge_is_down_loses_nothing(
    client: Client, reasons: list[str], settings: Settings
) -> None:
    old = django_settings.SECRET_KEY
    await (await Publisher.open(client)).publish(OURS)
    await bridged(client)
    await (await Publisher.open(client)).publish(msgspec.structs.replace(OURS, revision=2), an_alert("a2"))
    rotate(settings, old)
    await (await Publisher.open(client)).publish(msgspec.structs.replace(OURS, revision=3), an_alert("a3"))
    rows = await bridged(client)
    assert {id: (row["revision"], row["signed"]) for id, row in rows.items()} == {
        "a1": (3, True),
        "a2": (1, True),
        "a3": (1, True),
    }
    assert not reasons
    assert not problems()


async def test_without_the_old_key_its_messages_are_stored_as_those_of_others(
    client: Client, reasons: list[str], settings: Settings
) -> None:
    await (await Publisher.open(client)).publish(OURS, msgspec.structs.replace(OURS, revision=2))
    rotate(settings)
    row = (await bridged(client))["a1"]
    assert (row["revision"], row["signed"], row["source"]) == (2, False, None)
    assert not reasons
    assert ["SIGNING_KEY_FALLBACKS" in problem for problem in problems()] == [True]
    # As soon as both have one key, it is ours again.
    await (await Publisher.open(client)).publish(msgspec.structs.replace(OURS, revision=3))
    row = (await bridged(client))["a1"]
    assert (row["revision"], row["signed"], row["source"]) == (3, True, "live")


async def test_an_array_is_signed_as_a_whole(client: Client, reasons: list[str]) -> None:
    array = b"[" + b",".join(encode(an_alert(f"a{number}")) for number in range(3)) + b"]"
    header = sign(derived(django_settings.SECRET_KEY), "alerts.BTCUSDT", array)
    await client.jetstream().publish("alerts.BTCUSDT", array, headers={HEADER: header})
    assert [row["signed"] for row in (await bridged(client)).values()] == [True] * 3
    await client.jetstream().publish("alerts.BTCUSDT", array.replace(b"a2", b"a9"), headers={HEADER: header})
    assert len(await bridged(client)) == 3
    assert len(reasons) == 1
