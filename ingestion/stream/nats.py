"""NATS: where to find it, the streams and subjects, publishing without loss.

Two JetStream streams carry the data. `ANOMALIES` has `alerts.<SYMBOL>` and `market.<TYPE>`: its sequence number is the
`offset` of every cursor that clients see, with the stream's incarnation as its `epoch`. `CANDLES` brings
`candles.<venue>.<interval>` to the analysis. `feed.<venue>` and `stress.<venue>` are core NATS: only their latest value
matters. What does not validate goes to `rejected.<original subject>`, kept in `REJECTED` for inspection.
"""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self

import nats.errors
import nats.js.errors
from django.conf import settings
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig, StreamInfo

from ingestion.stream import tracing
from ingestion.stream.address import server_url as server_url
from ingestion.stream.address import shown as shown
from ingestion.stream.backoff import backoff
from ingestion.stream.health import note
from ingestion.stream.login import Connection, options, refusal
from ingestion.stream.login import NatsRefused as NatsRefused
from ingestion.stream.login import NatsUnavailable as NatsUnavailable
from ingestion.stream.metrics import PUBLISH_RETRIES, PUBLISHED
from market.clock import now_ms
from market.printable import without_credentials
from market.wire.messages import Alert, Anomaly, CandleBatch, Feed, MarketType, SourceKind, StressIndex, encode
from market.wire.signing import HEADER, derived, message_token, sign

logger = logging.getLogger(__name__)

ANOMALIES: Final = "ANOMALIES"
CANDLES: Final = "CANDLES"
REJECTED: Final = "REJECTED"
ANOMALY_SUBJECTS: Final = ("alerts.>", "market.>")

# Of candles: which run of a source published them. What they show of a replay is found again in each run.
RUN_HEADER: Final = "Anomaly-Run"

# Within this window the server drops a second message of the same Nats-Msg-Id, so a publisher may retry.
DUPLICATE_WINDOW_S: Final = 120
ACK_TIMEOUT_S: Final = 5.0
# What of an existing stream follows the settings.
_CHANGEABLE: Final = ("max_age", "num_replicas")
CHANGE_S: Final = 2.0
# The server works on the first attempt with this id: a cluster without a leader takes a while.
_IN_PROGRESS: Final = 10158
# How long a connection may take to send what waits, and to close.
CLOSE_S: Final = 1

# Errors that end when the network, the server or its storage is back; any other error is raised.
TRANSIENT: Final = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.NoServersError,
    nats.errors.StaleConnectionError,
    nats.js.errors.NoStreamResponseError,
    nats.js.errors.ServiceUnavailableError,
    nats.js.errors.ServerError,
    nats.js.errors.TooManyStalledMsgsError,
    OSError,
)


async def connect(url: str | None = None, *, name: str, timeout_s: float = 5.0) -> Client:
    """A connection that reconnects for ever once it is made. Raises `NatsUnavailable`, `NatsRefused` for good."""
    url = url or server_url()

    async def on_error(error: Exception) -> None:
        text = str(error)
        if denied := re.match(r"nats: '?permissions violation (.+?)'?$", text, re.IGNORECASE):
            note("nats", f"NATS does not permit this to {name}: {denied[1]}. Run `manage.py nats_config` again.")
        logger.warning("NATS (%s): %s", name, text or type(error).__name__)

    async def on_reconnect() -> None:
        logger.info("NATS (%s): connected again", name)

    client, refused = Connection(), asyncio.get_running_loop().create_future()
    connecting = asyncio.ensure_future(
        client.connect(
            name=name,
            error_cb=_quiet_until_connected(on_error, refused, url),
            reconnected_cb=on_reconnect,
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            reconnect_time_wait=0.5,  # type: ignore[arg-type]
            max_reconnect_attempts=-1,
            **options(url),
        )
    )
    try:
        done, _ = await asyncio.wait({connecting, refused}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise TimeoutError
        done.pop().result()
        return client
    except (TimeoutError, OSError, ValueError, nats.errors.Error) as error:
        raise refusal(error, url) or NatsUnavailable(
            f"No NATS server answers at {shown(url)} ({without_credentials(str(error)) or 'timed out'}). "
            "Start one with `manage.py up --only nats`, or set NATS_URL."
        ) from error
    finally:
        for attempt in (connecting, refused):
            if not attempt.cancel() and not attempt.cancelled():
                attempt.exception()


def _quiet_until_connected(callback: Any, refused: asyncio.Future[None], url: str) -> Any:
    """The client reports every refused attempt; before the first connection the caller's error says it once.

    The client would try a login that is refused for ever: the first refusal ends `refused` with it.
    """

    async def on_error(error: Exception) -> None:
        if not refused.done() and (said := refusal(error, url)):
            refused.set_exception(said)
        elif not isinstance(error, ConnectionRefusedError | nats.errors.NoServersError):
            await callback(error)

    return on_error


@asynccontextmanager
async def connection(url: str | None = None, *, name: str) -> AsyncIterator[Client]:
    """A connection for the length of a block; what was published is sent before it closes, if the server is there."""
    client = await connect(url, name=name)
    try:
        yield client
    finally:
        await _close(client, name)


async def _close(client: Client, name: str) -> None:
    """Send what was published and close, in about `CLOSE_S` seconds. Raises nothing of a server that is away."""
    try:
        if client.is_connected:
            await client.flush(timeout=CLOSE_S)
    except (*TRANSIENT, nats.errors.Error):
        pass
    if client.pending_data_size:
        logger.warning("NATS (%s): the connection was closed before all messages were sent", name)
        # Nobody takes them any more. The client would write them to its last connection, and fail if that is closed.
        client._pending.clear()
        client._pending_data_size = 0
    with contextlib.suppress(TimeoutError, RuntimeError, OSError, nats.errors.Error):
        await asyncio.wait_for(client.close(), CLOSE_S)


def subject(message: Anomaly) -> str:
    if isinstance(message, Alert):
        return f"alerts.{message.symbol}"
    return f"market.{market_type(message)}"


def market_type(message: Anomaly) -> MarketType:
    return MarketType(str(message.__struct_config__.tag))


def message_id(message: Anomaly | CandleBatch, run: str = "", fence: int = 0) -> str:
    """The `Nats-Msg-Id`: the same content published again within the window is stored once.

    Under another fencing number it is another message. Otherwise one that a former holder of the lease sent too late,
    which the bridge refuses, would keep the same one of the present holder out of the stream.
    """
    if isinstance(message, CandleBatch):
        return f"{message.venue}:{message.interval}:{message.close_time}:{run}"
    # What a recording shows may be found again within the window, when it is played again.
    again = f":{run}" if run and message.source is SourceKind.REPLAY else ""
    fenced = f":f{fence}" if fence else ""
    return f"{message.id}:{message.revision}{again}{fenced}"


async def has_jetstream(client: Client) -> bool:
    """Whether this server keeps streams (a plain NATS server answers nothing there)."""
    try:
        await client.jetstream().account_info()
    except (nats.js.errors.Error, nats.errors.NoRespondersError):
        return False
    return True


async def jetstream_health(client: Client, streams: Sequence[str] = (ANOMALIES, CANDLES, REJECTED)) -> str | None:
    """A sentence if the server cannot write to one of `streams`, as after a full disk; None if it can, or is away.

    It asks to delete a message that no stream has, which writes nothing: a stream whose files cannot be written
    answers with the error of the write that failed, and does so until the server is started again.
    """
    request = json.dumps({"seq": 2**62, "no_erase": True}).encode()
    for stream in streams:
        try:
            answer = await client.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", request, timeout=1)
            error = str(json.loads(answer.data)["error"]["description"])
        except (*TRANSIENT, nats.errors.Error, KeyError, TypeError, ValueError):
            continue
        if failed := re.match(r"(?:write|open|sync|truncate|rename) .*: (.+)", error):
            return f"NATS cannot store messages in {stream} ({failed[1]}): make room on its disk, then restart it."
    return None


async def ensure_streams(client: Client) -> None:
    """Create the streams that are missing. Each has a bound: oldest out first.

    A user that may not create streams needs none to be missing.
    """
    for config in _streams():
        try:
            await client.jetstream().stream_info(str(config.name))
        except nats.js.errors.NotFoundError:
            await client.jetstream().add_stream(config)


async def follow_settings(client: Client, *names: str) -> None:
    """Give these streams what the settings say now: how long they keep, on how many servers they are.

    For the one role that looks after a stream; the others have no right to change it. What cannot be done now is left.
    """
    if not await has_jetstream(client):
        return
    with contextlib.suppress(*TRANSIENT, nats.js.errors.Error):
        await ensure_streams(client)
        for config in _streams():
            if config.name in names:
                await _change(client, (await client.jetstream().stream_info(str(config.name))).config, config)


def _streams() -> Sequence[StreamConfig]:
    gigabyte, replicas = 2**30, settings.NATS_REPLICAS
    return (
        StreamConfig(
            name=ANOMALIES,
            subjects=list(ANOMALY_SUBJECTS),
            max_age=settings.ANOMALY_RETENTION.total_seconds(),
            max_bytes=2 * gigabyte,
            duplicate_window=DUPLICATE_WINDOW_S,
            discard=DiscardPolicy.OLD,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=CANDLES,
            subjects=["candles.>"],
            max_age=settings.CANDLE_STREAM_RETENTION_S,
            max_bytes=gigabyte // 2,
            duplicate_window=DUPLICATE_WINDOW_S,
            discard=DiscardPolicy.OLD,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=REJECTED,
            subjects=["rejected.>"],
            max_msgs=10_000,
            max_bytes=64 * 2**20,
            num_replicas=replicas,
        ),
    )


async def _change(client: Client, there: StreamConfig, wanted: StreamConfig) -> None:
    """Give an existing stream what the settings say now. That the server refuses is a problem that operators see."""
    wishes = {name: value for name in _CHANGEABLE if (value := getattr(wanted, name)) is not None}
    changed = {name: value for name, value in wishes.items() if value != getattr(there, name)}
    if not changed:
        return
    said = " and ".join(f"{name} {getattr(there, name):g} instead of {value:g}" for name, value in changed.items())
    if "max_age" in changed:
        changed["max_age"] = round(changed["max_age"] * 1e9)
    api, name = f"{client.jetstream()._prefix}.STREAM", wanted.name
    try:
        # All else as the server has it: the client does not know every setting of every server.
        config = json.loads((await client.request(f"{api}.INFO.{name}", timeout=CHANGE_S)).data)["config"]
        request = json.dumps(config | changed).encode()
        answer = json.loads((await client.request(f"{api}.UPDATE.{name}", request, timeout=CHANGE_S)).data)
        refused = answer.get("error", {}).get("description", "")
    except (*TRANSIENT, nats.errors.Error, ValueError, KeyError) as error:
        refused = str(error) or type(error).__name__
    if refused:
        note("nats", f"Stream {name} has {said}, and NATS does not change it: {without_credentials(refused)}.")
        logger.warning("Stream %s has %s, and NATS does not change it: %s", name, said, refused)
    else:
        logger.info("Stream %s had %s: changed", name, said)


def _always() -> bool:
    return True


class Publisher:
    """Publishes anomalies and candles; returns when the server has them.

    With JetStream every message carries its `Nats-Msg-Id` and is sent again until it is acknowledged, so a message is
    stored once whatever fails in between. On a plain server a message is sent at most once.

    Anomalies are signed with the key of this installation. A `Nats-Msg-Id` depends on that key, too: nobody else can
    use one up before the message that it is for.
    """

    def __init__(self, client: Client, *, jetstream: bool, run: str = "") -> None:
        self._client = client
        self.run = run
        self.jetstream = jetstream
        self._key = derived(settings.SECRET_KEY)
        self._context: JetStreamContext = client.jetstream(publish_async_max_pending=1_000)

    @classmethod
    async def open(cls, client: Client, *, run: str = "") -> Self:
        """`run` sets the candles of this publisher, and the anomalies of a replay, apart from those of any other: a
        recording may be played again."""
        jetstream = await has_jetstream(client)
        if jetstream:
            await ensure_streams(client)
        else:
            logger.warning("NATS at %s has no JetStream: messages are delivered at most once.", client.connected_url)
        return cls(client, jetstream=jetstream, run=run)

    async def publish(
        self,
        *messages: Anomaly | CandleBatch,
        signed: bool = True,
        fence: int = 0,
        may: Callable[[], bool] = _always,
        trace: str = "",
    ) -> int:
        """Return when the server has all messages. Raises `nats.js.errors.APIError` when it refuses one for good.

        `signed` false: these repeat what somebody else may have said. `fence` goes into the signature. `may` is asked
        before every attempt: when it says no, publishing ends, and the others are not sent. `trace`: the context of
        `tracing.span`. Returns how many were sent.
        """
        pending: Sequence[Anomaly | CandleBatch] = messages
        for delay in backoff(first_s=0.1, cap_s=5.0):
            if may():
                pending = await self._try(pending, signed, fence, trace)
            if not pending or not may():
                sent = messages[: len(messages) - len(pending)]
                for message in sent:
                    PUBLISHED.labels(_subject(message).partition(".")[0]).inc()
                return len(sent)
            PUBLISH_RETRIES.inc()
            logger.warning("NATS has not acknowledged %d message(s); sending again in %.1f s", len(pending), delay)
            await asyncio.sleep(delay)
        raise AssertionError("backoff never ends")

    async def _try(
        self, messages: Sequence[Anomaly | CandleBatch], signed: bool, fence: int, trace: str
    ) -> Sequence[Anomaly | CandleBatch]:
        """Send all; return those from the first unacknowledged on, so that order survives a retry."""
        if not self.jetstream:
            for message in messages:
                subject, payload, headers = self._prepared(message, signed, fence, trace)
                await self._client.publish(subject, payload, headers=headers)
            return ()
        sent = []
        try:
            for message in messages:
                subject, payload, headers = self._prepared(message, signed, fence, trace)
                sent.append(
                    await self._context.publish_async(subject, payload, wait_stall=ACK_TIMEOUT_S, headers=headers)
                )
        except TRANSIENT:
            pass
        for index, acknowledged in enumerate(sent):
            try:
                await asyncio.wait_for(acknowledged, ACK_TIMEOUT_S)
            except (*TRANSIENT, TimeoutError, nats.js.errors.APIError) as error:
                if isinstance(error, nats.js.errors.APIError) and not _passes(error):
                    raise
                for later in sent[index + 1 :]:
                    later.cancel()
                return messages[index:]
        return messages[len(sent) :]

    def _prepared(
        self, message: Anomaly | CandleBatch, signed: bool, fence: int, trace: str
    ) -> tuple[str, bytes, dict[str, str]]:
        """Subject, payload and headers of a message."""
        to, payload, id = _subject(message), encode(message), message_id(message, self.run, fence)
        headers = {"Nats-Msg-Id": f"{id}:{message_token(self._key, id)}"}
        if isinstance(message, CandleBatch):
            headers |= {RUN_HEADER: self.run} if self.run else {}
        elif signed:
            headers[HEADER] = sign(self._key, to, payload, fence=fence)
        if trace:
            headers[tracing.HEADER] = trace
        return to, payload, headers


def _passes(error: nats.js.errors.APIError) -> bool:
    """Whether a refusal ends by itself."""
    return isinstance(error, TRANSIENT) or error.err_code == _IN_PROGRESS


async def publish_latest(client: Client, message: Feed | StressIndex) -> None:
    """Publish on core NATS, signed, what the next one replaces. Raises `TRANSIENT`."""
    to, payload = f"{'feed' if isinstance(message, Feed) else 'stress'}.{message.venue}", encode(message)
    await client.publish(to, payload, headers={HEADER: sign(derived(settings.SECRET_KEY), to, payload)})


def _subject(message: Anomaly | CandleBatch) -> str:
    if isinstance(message, CandleBatch):
        return f"candles.{message.venue}.{message.interval}"
    return subject(message)


def stream_created(info: StreamInfo) -> int:
    """When the stream was created, in epoch ms. Raises `NatsUnavailable` when the server does not say."""
    if info.created is None:
        raise NatsUnavailable(
            f"The NATS server does not report when stream {info.config.name} was created; 2.9 or later is needed."
        )
    return created_ms(info.created)


def created_ms(created: datetime | None) -> int:
    """When a stream was created, in epoch ms; now if the server does not say.

    Rounded to the nearest millisecond, not down as everywhere else: the cursors that clients keep hold this number.
    """
    return now_ms() if created is None else round(created.timestamp() * 1000)
