"""Buttons of Telegram: a long poll for each bot, which acknowledges what somebody pressed.

Telegram gives the updates of a bot to one poller. The deliverer holds the lease of the database, so it is the only one
here. If another program reads them, or a webhook is set, Telegram answers 409, and `/status` says so.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from django.db import Error as DatabaseError

from ingestion.delivery import acknowledge
from ingestion.delivery.acknowledge import CannotAcknowledge
from ingestion.delivery.http import Http
from ingestion.delivery.sending import Senders, in_thread
from ingestion.delivery.telegram import Declined, Telegram
from ingestion.models import Channel
from ingestion.stream.backoff import backoff
from ingestion.stream.health import Health, cause, health
from ingestion.stream.metrics import DELIVERY_BUTTONS
from market.printable import printable

logger = logging.getLogger(__name__)

NAME: Final = "telegram buttons"
POLL_S: Final = 25
LOOK_EVERY_S: Final = 3.0
FIRST_S: Final = 1.0
CAP_S: Final = 60.0
# After a refusal that another try does not mend by itself.
REFUSED_S: Final = 60.0
MOST_BOTS: Final = 50
_LONGEST_ANSWER: Final = 200


class Sender(msgspec.Struct):
    id: int
    first_name: str = ""
    username: str = ""


class Place(msgspec.Struct):
    message_id: int


class Pressed(msgspec.Struct):
    """`CallbackQuery` of the Bot API. `message` is missing if it is too old for Telegram to say."""

    id: str
    sender: Sender = msgspec.field(name="from")
    data: str = ""
    message: Place | None = None


def bots() -> dict[str, int]:
    """Token → a channel of it, of the bots whose messages have buttons."""
    found = Channel.objects.filter(kind=Channel.Kind.TELEGRAM, enabled=True, routes__owner__isnull=False)
    return dict(found.order_by("-pk").values_list("secret", "pk"))


async def listen(http: Http, senders: Senders) -> None:
    """Poll every bot until cancelled; bots that are new or gone are seen within `LOOK_EVERY_S`."""
    polls: dict[str, asyncio.Task[None]] = {}
    with health(NAME) as state:
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    wanted = await in_thread(bots)()
                    state.ok()
                except DatabaseError as error:
                    state.failing(f"buttons do nothing: {cause(error)}")
                    wanted = {}
                for token in polls.keys() - wanted.keys():
                    polls.pop(token).cancel()
                for token in list(wanted.keys() - polls.keys())[: MOST_BOTS - len(polls)]:
                    polls[token] = group.create_task(poll(http, senders, token, wanted[token]), name="buttons")
                if len(wanted) > len(polls):
                    state.failing(f"buttons of {len(wanted) - len(polls)} bots do nothing: {MOST_BOTS} are read")
                await asyncio.sleep(LOOK_EVERY_S)


async def poll(http: Http, senders: Senders, token: str, channel: int) -> None:
    """Read the updates of a bot until cancelled. `channel`: one of it, which faults name."""
    bot, offset = Telegram(http, token, ""), 0
    delays = backoff(first_s=FIRST_S, cap_s=CAP_S)
    with health(NAME) as state:
        while True:
            try:
                asked = {"offset": offset, "timeout": POLL_S, "allowed_updates": ["callback_query"]}
                updates = await bot.call("getUpdates", asked, timeout_s=POLL_S + 10)
                for number, pressed in _pressed(updates):
                    if pressed is not None:
                        await _take(bot, senders, token, pressed)
                    offset = max(offset, number + 1)
                state.ok()
                delays = backoff(first_s=FIRST_S, cap_s=CAP_S)
            except Exception as error:  # of any kind: what one answer causes ends no poll
                wait_s = _failed(state, error, channel)
                await asyncio.sleep(next(delays) if wait_s is None else wait_s)


def _failed(state: Health, error: Exception, channel: int) -> float | None:
    """Say what is wrong; returns how long to wait, None: as long as after other failures."""
    what = f"buttons in messages of channel {channel} do nothing: "
    if isinstance(error, Declined) and error.status == 409:
        state.failing(
            f"{what}another program reads the updates of its bot, or a webhook is set (409). Give this installation a "
            "bot of its own, or remove the webhook (deleteWebhook)"
        )
        return REFUSED_S
    if isinstance(error, Declined):
        state.failing(f"{what}Telegram answered {error.status}")
        return error.wait_s or (REFUSED_S if error.status in (400, 401, 403, 404) else None)
    if isinstance(error, DatabaseError):
        state.failing(f"{what}{cause(error)}")
        return None
    if not isinstance(error, TimeoutError | OSError):
        logger.warning("Reading the buttons of channel %d failed: %s", channel, type(error).__name__)
    state.failing(f"{what}Telegram does not answer ({type(error).__name__})")
    return None


def _pressed(updates: Any) -> Iterator[tuple[int, Pressed | None]]:
    """The numbers of updates, and the button that each is about; None for one that cannot be read."""
    for update in updates if isinstance(updates, list) else ():
        number = update.get("update_id") if isinstance(update, dict) else None
        if isinstance(number, int):
            try:
                yield number, msgspec.convert(update.get("callback_query"), Pressed)
            except msgspec.ValidationError:
                yield number, None


async def _take(bot: Telegram, senders: Senders, token: str, pressed: Pressed) -> None:
    """Acknowledge, and answer: without an answer the button goes on waiting. Raises `DatabaseError`."""
    sender = pressed.sender
    how = f"by {printable(sender.username or sender.first_name)[:60]} ({sender.id}) in Telegram"
    number = str(pressed.message.message_id) if pressed.message else ""
    try:
        done = await in_thread(_acknowledge)(token, number, pressed.data, how)
        text, alert = str(done), False
    except CannotAcknowledge as error:
        text, alert = str(error), True
    DELIVERY_BUTTONS.labels("refused" if alert else "acknowledged").inc()
    await senders.start_due()
    answer = {"callback_query_id": pressed.id, "text": text[:_LONGEST_ANSWER], "show_alert": alert}
    try:
        await bot.call("answerCallbackQuery", answer, timeout_s=10)
    except Declined as error:  # too late for an answer: it is done all the same
        logger.info("Telegram did not take the answer to a button (%d)", error.status)


def _acknowledge(token: str, message_id: str, data: str, how: str) -> acknowledge.Done:
    return acknowledge.acknowledge(acknowledge.by_button(token, message_id, data), how)
