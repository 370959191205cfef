"""What the preview of a route says is what the deliverer sends when the same days come again."""

import asyncio
import contextlib
import io
from collections.abc import Iterator
from datetime import time
from typing import Any, cast

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from anomaly_site.models import AuditEntry
from ingestion.delivery import role
from ingestion.delivery.preview import Preview, Replay, is_night
from ingestion.delivery.role import Deliverer
from ingestion.delivery.sending import Senders
from ingestion.delivery.store import rules_of, take_lease
from ingestion.management.commands import route as command
from ingestion.models import Channel, Outgoing, Route
from ingestion.stream.incarnation import Position
from ingestion.stream.nats import NatsUnavailable, subject
from ingestion.stream.reader import Reader, Received
from market.wire.messages import Anomaly, Lifecycle, Severity, SourceKind, encode
from market.wire.signing import derived, sign
from tests.alerts.delivery.plans import LIVE, planned, routes, rules
from tests.samples import T0, a_movement, an_alert

HOUR_MS = 3_600_000
KEY = derived(settings.SECRET_KEY)


def days_of_anomalies() -> list[Received]:
    """Seven days: every 100 minutes an alert from opening to closing; once or twice a day an incident of 15 symbols."""
    found: list[tuple[int, Anomaly]] = []
    for number in range(100):
        at = T0 + number * 100 * 60_000
        changes: dict[str, Any] = {"source": SourceKind.SIMULATED if number % 9 == 0 else SourceKind.LIVE}
        changes |= {"timestamp": at, "severity": list(Severity)[number % 3], "symbol": f"S{number % 5}USDT"}
        found.append((at, an_alert(f"a{number}", **changes)))
        changes["severity"] = list(Severity)[number % 3 + 1]
        found.append((at + 90_000, an_alert(f"a{number}", revision=2, **changes)))
        found.append((at + 400_000, an_alert(f"a{number}", revision=3, state=Lifecycle.CLOSED, **changes)))
        if number % 9 == 3:
            incident = {"source": SourceKind.LIVE, "timestamp": at, "venue": "binance"}
            found.append((at + 200, a_movement(f"m{number}", **incident)))
            found += [
                (at + 300 + part * 40, an_alert(f"p{number}-{part}", incident=f"m{number}", symbol=f"P{part}USDT",
                                                source=SourceKind.LIVE, timestamp=at))
                for part in range(15)
            ]  # fmt: skip
    received = []
    for offset, (at, anomaly) in enumerate(sorted(found, key=lambda pair: pair[0]), start=1):
        payload = encode(anomaly)
        signature = sign(KEY, subject(anomaly), payload)
        received.append(Received(subject(anomaly), payload, offset, at, at * 1000, signature))
    return received


class Recorded:
    """A reader that is at the last message taken."""

    fault, repeated_until = "", 0
    position = Position(T0, 0, T0)

    def at(self, message: Received) -> None:
        self.position = Position(T0, message.offset, T0, message.time_us)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["webhook", "telegram"])
async def test_the_preview_is_what_is_sent(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    route = await database_sync_to_async(_route)(kind)
    rules = rules_of(route)
    stream, end = days_of_anomalies(), T0 + 9 * 24 * HOUR_MS
    replay = Replay(rules)
    await database_sync_to_async(replay.take)(stream)
    await database_sync_to_async(replay.until)(end)
    assert 50 < len(replay.messages) < 1_000
    lease = 7
    await database_sync_to_async(take_lease)(lease)
    clock = T0
    monkeypatch.setattr(role, "now_ms", lambda: clock)
    reader, stored = Recorded(), Recorded.position
    deliverer = _deliverer(lease)
    await deliverer._look(first=True)
    for number, batch in enumerate(together(stream)):
        reader.at(batch[-1])
        clock = batch[-1].received_at
        stored = await _step(deliverer, batch, reader, stored)
        if number % 3 == 0:  # killed, and started again from what is stored
            deliverer = _deliverer(lease)
            await deliverer._look(first=True)
            clock += 400
            await _step(deliverer, [], reader, stored)
    clock = end + HOUR_MS
    await _step(deliverer, [], reader, stored)
    sent = await database_sync_to_async(lambda: list(Outgoing.objects.order_by("planned_at", "pk")))()
    if kind == "webhook":
        assert sorted(row.pk for row in sent) == sorted(message.id for message in replay.messages)
        return
    shown = {message.subject: message for message in replay.messages}
    assert {row.pk: row.title for row in sent} == {name: message.text.title for name, message in shown.items()}


def together(stream: list[Received]) -> Iterator[list[Received]]:
    """What arrived within a minute, up to 20 messages."""
    batch: list[Received] = []
    for message in stream:
        if batch and (message.received_at - batch[0].received_at > 60_000 or len(batch) == 20):
            yield batch
            batch = []
        batch.append(message)
    yield batch


def _deliverer(lease: int) -> Deliverer:
    class Silent:
        async def start_due(self) -> None: ...

    class Fine:
        def ok(self) -> None: ...

        def failing(self, reason: str) -> None:
            raise AssertionError(reason)

        def doing(self, what: str) -> Any:
            return contextlib.nullcontext()

    return Deliverer(cast(Any, None), lease, cast(Senders, Silent()), cast(Any, Fine()))


async def _step(deliverer: Deliverer, batch: list[Received], reader: Recorded, stored: Position) -> Position:
    return await deliverer._step(batch, cast(Reader, reader), stored, asyncio.Event())


def _route(kind: str) -> Route:
    channel = Channel.objects.create(name=kind, kind=kind, address="-1", secret="s")
    route = Route.objects.create(
        name=kind,
        channel=channel,
        filters={"severities": ["MEDIUM", "HIGH", "CRITICAL"]},
        quiet_from=time(23),
        quiet_until=time(7),
        time_zone="Europe/Berlin",
        breaks_quiet=int(Severity.CRITICAL.rank),
        per_minute=2,
        since="2020-01-01T00:00Z",
    )
    return Route.objects.select_related("channel").get(pk=route.pk)


@given(st.integers(0, 10_000))
@hypothesis(suppress_health_check=[HealthCheck.too_slow])
def test_the_night_is_nine_hours(minute: int) -> None:
    nights = sum(is_night(T0 + (minute + 60 * hour) * 60_000, "Asia/Tokyo") for hour in range(24))
    assert nights == 9


def test_the_summary_says_how_much_it_is() -> None:
    found = Preview([], T0, "UTC", days=7).summary()
    assert found.startswith("In the last 7 days: 0 messages, 0 of them at night (22:00 to 07:00, UTC), and 0 changes")
    assert (
        Preview([], T0, "UTC")
        .summary()
        .startswith("Since 2025-10-09 08:54 UTC, the oldest message that was read: 0 messages")
    )


def test_a_change_of_a_message_is_no_message_where_it_can_be_changed() -> None:
    arrivals = [(0, an_alert(**LIVE)), (60_000, an_alert(revision=2, severity=Severity.CRITICAL, **LIVE))]
    for edits, said in ((True, "1 message, 0 of them at night"), (False, "2 messages, 0 of them at night")):
        messages = planned(routes(rules(edits=edits)), arrivals)
        assert said in Preview(messages, T0, "UTC", 7, edits).summary()


def _run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("route", *arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.django_db
def test_channels_and_routes_are_set_up_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(route: Route) -> Preview:
        raise NatsUnavailable("NATS does not answer.")

    monkeypatch.setattr(command, "preview_of", away)
    said = _run("channel", "ops", "webhook", "--address", "https://hooks.example.org/x")
    secret = Channel.objects.get().secret
    assert secret in said
    assert "No preview" in _run(
        "add", "all", "ops", "--severity", "high", "--quiet", "23:00-07:00", "--breaks", "CRITICAL"
    )
    route = Route.objects.get()
    assert route.filters == {"severities": ["HIGH", "CRITICAL"]}
    listed = _run("list")
    assert "all: {'severities': ['HIGH', 'CRITICAL']}, live prices" in listed
    assert secret not in listed
    _run("test", "ops")
    assert Outgoing.objects.get().title == "Test"
    _run("remove", "all")
    assert not Route.objects.exists()


@pytest.mark.django_db
def test_a_route_is_changed_in_the_terminal_by_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.Command, "_show", lambda *_: None)
    User.objects.create(username="ann", is_superuser=True)
    _run("channel", "ops", "webhook", "--address", "https://hooks.example.org/x")
    assert "--owner USER" in _run("add", "boss", "ops")
    every = (
        "--off --owner ann --severity HIGH --symbols BTCUSDT --changes opens,closes --sources live,replay "
        "--zone Asia/Tokyo --quiet 23:00-07:00 --breaks CRITICAL --daily 08:00 --per-minute 3 "
        "--escalate-after 10 --escalate-to boss"
    )
    assert "--owner USER" not in _run("add", "night", "ops", *every.split())
    Route.objects.filter(name="night").update(book=b"{}")
    listed = _run("list")
    for words in (
        "switched off", "when it opens, closes", "quiet 23:00 to 07:00 Asia/Tokyo but for CRITICAL and above",
        "one digest a day at 08:00", "at most 3 a minute", "to boss if not acknowledged in 10 min", "of ann",
        "has no owner", "https://hooks.example.org/…",
    ):  # fmt: skip
        assert words in listed
    before = Route.objects.get(name="night")
    _run("set", "night", "--quiet", "none", "--breaks", "none", "--daily", "none", "--symbols", "")
    _run("set", "night", "--escalate-after", "0", "--per-minute", "0", "--changes", "")
    route = Route.objects.get(name="night")
    assert (route.quiet_from, route.quiet_until, route.breaks_quiet, route.daily_at) == (None, None, None, None)
    assert (route.escalate_after_min, route.escalate_to, route.per_minute, len(route.changes)) == (None, None, 0, 4)
    assert (route.filters, route.sources) == ({"severities": ["HIGH", "CRITICAL"]}, ["live", "replay"])
    assert (route.time_zone, route.owner, route.enabled) == ("Asia/Tokyo", before.owner, False)
    assert route.book == b"{}", "what it remembers is the deliverer's"
    _run("set", "night", "--on")
    assert Route.objects.get(name="night").book is None
    secret = Channel.objects.get().secret
    Channel.objects.update(enabled=False, disabled_reason="answered 410")
    assert Channel.objects.get().secret not in _run("set-channel", "ops", "--on", "--owner", "ann")
    assert (Channel.objects.get().enabled, Channel.objects.get().disabled_reason) == (True, "")
    said = _run("set-channel", "ops", "--rotate")
    assert Channel.objects.get().secret in said
    assert Channel.objects.get().previous_secret == secret
    actors = set(AuditEntry.objects.values_list("actor", "action"))
    assert actors == {("command line", "add"), ("command line", "change")}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["channel", "x", "webhook", "--address", "https://10.0.0.1/x"], "is not a public address"),
        (["channel", "x", "telegram", "--secret", "123:abc"], "A secret in the command line is seen by others"),
        (["channel", "x", "apprise"], "is not delivered to"),
        (["add", "x", "nowhere"], "There is no channel nowhere"),
        (["preview", "x"], "There is no route x"),
        (["set", "x", "--on"], "There is no route x"),
        (["set-channel", "x", "--on"], "There is no channel x"),
    ],
)
def test_what_cannot_be_is_refused_in_words(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        _run(*arguments)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--zone", "Mars/Base"], "'Mars/Base' is unknown"),
        (["--types", "CRASH"], "unknown type 'CRASH'"),
        (["--sources", "paper"], "Expected a list of some of live, replay, simulated"),
        (["--quiet", "07:00-07:00"], "Quiet hours need a start and another time"),
        (["--escalate-after", "5"], "Escalation needs the minutes and the other route"),
        (["--escalate-to", "y"], "There is no route y"),
        (["--owner", "bob"], "There is no user bob"),
    ],
)
def test_a_route_that_could_not_be_followed_is_refused(options: list[str], said: str) -> None:
    Channel.objects.create(name="ops", kind="webhook", address="https://hooks.example.org/x", secret="s")
    with pytest.raises(CommandError, match=said):
        _run("add", "x", "ops", *options)
