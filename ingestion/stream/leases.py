"""Leases in a NATS bucket: of several processes of one role, one works for a venue, and the others stand by.

An entry names its holder, a fencing number, and how far the holder has published. It is written by compare and set.
The holder renews it every `RENEW_S` and trusts it for `TRUST_S` from when it began to renew. A process that stands by
takes over when the entry has not changed for `TTL_S`. Both measure that with their own clock, so clocks need not agree.

Entries have no expiry in NATS: the fencing number then rises as long as the bucket exists. Without one, it starts at
the time of day in ms, or above the highest one that the database has, whichever is more.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
import nats.errors
import nats.js.errors
from django.conf import settings
from msgspec import Meta
from nats.aio.client import Client
from nats.js.api import KeyValueConfig

from ingestion.stream.health import note
from ingestion.stream.metrics import LEASE_CHANGES, LEASES
from ingestion.stream.nats import TRANSIENT
from market import files
from market.clock import now_ms

logger = logging.getLogger(__name__)

BUCKET: Final = "LEASES"
RENEW_S: Final = 1.0
TRUST_S: Final = 2.0
TTL_S: Final = 3.0
LOOK_S: Final = 0.5
_ANSWER_S: Final = 1.0
_VERBS: Final = {"analyze": "analysed", "ingest": "ingested"}
_MOST_LISTED: Final = 300
_MOST_BYTES: Final = 2**20
_WRONG_LAST_SEQUENCE: Final = 10071
_ERRORS: Final = (*TRANSIENT, nats.errors.Error, nats.js.errors.Error)
# Fencing numbers of this process start above this one (`Leases.floor`).
Floor = Callable[[str], Awaitable[int]]

_Text = Annotated[str, Meta(max_length=120)]
_Number = Annotated[int, Meta(ge=0, le=2**62)]


class Place(msgspec.Struct, frozen=True, order=True):
    """Everything up to `offset` of the stream's incarnation `epoch` was published."""

    epoch: _Number = 0
    offset: _Number = 0


class Entry(msgspec.Struct, frozen=True):
    """`owner` is the same after a restart, `process` is not. `shown` is for people: host and process id."""

    owner: _Text
    process: _Text
    shown: _Text
    fence: _Number
    place: Place = Place()
    released: bool = False


@dataclass(slots=True)
class Identity:
    """Who asks for a lease. `stable`: no other process has this owner while this one lives."""

    owner: str
    process: str
    shown: str
    stable: bool
    path: Path
    lock: int | None = None

    def locks(self) -> bool:
        """Whether this process is the one of its kind that writes in this DATA_DIR; it may become that."""
        if self.lock is None:
            self.lock = _locked(self.path)
        return self.lock is not None


@contextlib.contextmanager
def identity(name: str) -> Iterator[Identity]:
    """Who this process is for the length of a block.

    The owner is kept in `DATA_DIR/leases/<name>`, which is locked meanwhile: the kernel ends the lock when the process
    ends. So a process that finds it free knows that the one before is gone, and takes its leases over at once.
    """
    host, process = socket.gethostname()[:60], uuid.uuid4().hex
    shown = f"{host}/{os.getpid()}"
    path = settings.DATA_DIR / "leases" / name
    descriptor = _locked(path)
    try:
        owner = _owner(path, host) if descriptor is not None else process
        me = Identity(owner, process, shown, descriptor is not None, path, descriptor)
    except OSError as error:
        logger.warning("Leases: %s cannot be used (%s); a restart waits %.0f s for its leases", path, error, TTL_S)
        me = Identity(process, process, shown, False, path, descriptor)
    try:
        yield me
    finally:
        if me.lock is not None:
            os.close(me.lock)


def _locked(path: Path) -> int | None:
    """The descriptor of the locked file; None if another process has it, or the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE)
    except OSError as error:
        logger.warning("Leases: %s cannot be opened (%s); a restart waits %.0f s for its leases", path, error, TTL_S)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _owner(path: Path, host: str) -> str:
    """Of a folder that was copied to another host it is another one."""
    text = path.read_text(errors="replace").strip()
    if len(text) != 32 or not text.isalnum():
        text = uuid.uuid4().hex
        path.write_text(text)
    return f"{text}@{host}"


class Lease:
    """One entry, as this process sees it. `step` renews it, or takes it if nobody renews it."""

    def __init__(self, client: Client, key: str, me: Identity, floor: Floor) -> None:
        self.key = key
        self.entry: Entry | None = None
        self.mine = False
        # What to write with the next renewal.
        self.place = Place()
        self._client = client
        self._me = me
        self._floor = floor
        self._revision = 0
        self._unchanged_since_s = 0.0
        self._trusted_until_s = float("-inf")
        self._looked = self._said = False
        self._lock = asyncio.Lock()

    @property
    def valid(self) -> bool:
        """Whether this process may publish now."""
        return self.mine and _now_s() < self._trusted_until_s

    @property
    def fence(self) -> int:
        return self.entry.fence if self.mine and self.entry else 0

    @property
    def holder(self) -> str:
        """Host and process id; empty if nobody holds it."""
        return "" if self.entry is None or self.entry.released else self.entry.shown

    async def step(self) -> None:
        """Renew or look. Raises nothing: what NATS does not answer is tried again with the next step."""
        async with self._lock:
            with contextlib.suppress(*_ERRORS):
                if self.mine:
                    await self._renew()
                if not self.mine:
                    await self._look()

    async def release(self) -> None:
        """Let another process take over at once."""
        async with self._lock:
            if self.mine and self.entry is not None:
                self.mine = False
                with contextlib.suppress(*_ERRORS):
                    await self._write(msgspec.structs.replace(self.entry, place=self.place, released=True))
                LEASES.labels(self.key).set(0)

    async def _renew(self) -> None:
        begun_s = _now_s()
        entry = msgspec.structs.replace(self.entry, place=self.place) if self.entry else None
        if entry is None:
            self.mine = False
            return
        if await self._write(entry):
            self.entry, self._trusted_until_s = entry, begun_s + TRUST_S
            return
        found = await self._read()
        if found is not None and found.process == self._me.process:
            self.entry = found  # a renewal whose answer was late
            return
        self.mine = self._said = False
        self._unchanged_since_s, self._looked = _now_s(), True
        LEASES.labels(self.key).set(0)
        LEASE_CHANGES.labels(self.key, "lost").inc()
        logger.warning("Stands by: %s by %s now", _said(self.key), self.holder or "nobody")

    async def _look(self) -> None:
        before = self._revision
        found = await self._read()
        now_s = _now_s()
        if self._revision != before or not self._looked:
            self._unchanged_since_s = now_s
        first, self._looked = not self._looked, True
        # Of its predecessor's only the first look: two processes with one owner, of a copied folder, would take turns.
        again = found is not None and (
            found.process == self._me.process or (first and self._me.stable and found.owner == self._me.owner)
        )
        if found is None or found.released or again or now_s - self._unchanged_since_s >= TTL_S:
            await self._take(found, now_s)
        if not self.mine and not self._said and self.holder:
            self._said = True
            logger.info("Stands by: %s by %s", _said(self.key), self.holder)

    async def _take(self, found: Entry | None, begun_s: float) -> None:
        if found is not None and found.owner == self._me.owner:
            fence = found.fence
        else:
            fence = max(found.fence + 1 if found else 0, now_ms(), await self._floor(self.key) + 1)
        self.place = max(self.place, found.place) if found else self.place
        entry = Entry(self._me.owner, self._me.process, self._me.shown, fence, self.place)
        if not await self._write(entry):
            await self._read()
            self._unchanged_since_s = _now_s()
            return
        self.entry, self.mine, self._said = entry, True, False
        self._trusted_until_s = begun_s + TRUST_S
        LEASES.labels(self.key).set(1)
        LEASE_CHANGES.labels(self.key, "taken").inc()
        logger.info(
            "Holds the lease: %s by this process, %s (in /status %s)",
            _said(self.key),
            self._me.shown,
            entry.process[:8],
        )

    async def _write(self, entry: Entry) -> bool:
        """Whether the entry was still the one that this process knows. Raises what NATS raises."""
        try:
            answer = await self._client.jetstream().publish(
                self._subject,
                msgspec.json.encode(entry),
                timeout=_ANSWER_S,
                headers={"Nats-Expected-Last-Subject-Sequence": str(self._revision)},
            )
        except nats.js.errors.APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return False
            raise
        except nats.js.errors.NoStreamResponseError:
            await ensure_bucket(self._client)
            raise
        self._revision = answer.seq
        return True

    async def _read(self) -> Entry | None:
        """The entry, and with it `_revision`; None if there is none, or what is there is none."""
        try:
            message = await self._client.jetstream(timeout=_ANSWER_S).get_last_msg(f"KV_{BUCKET}", self._subject)
        except nats.js.errors.NotFoundError:
            self._revision, self.entry = 0, None
            return None
        self._revision = message.seq or 0
        try:
            self.entry = msgspec.json.decode(message.data or b"", type=Entry)
        except msgspec.MsgspecError:
            logger.warning("The entry %s in the bucket %s is not a lease; it is replaced", self.key, BUCKET)
            self.entry = None
        return self.entry

    @property
    def _subject(self) -> str:
        return f"$KV.{BUCKET}.{self.key}"


class Unleased:
    """In place of a lease where there is none: without JetStream this process may always publish."""

    mine = valid = True
    fence = 0
    holder = ""
    entry: Entry | None = None

    def __init__(self) -> None:
        self.place = Place()

    async def step(self) -> None: ...

    async def release(self) -> None: ...


async def entries(client: Client, role: str = "*") -> dict[str, Entry]:
    """All entries by their key, as `analyze.binance`; empty without the bucket. Raises nats-py's errors."""
    try:
        info = await client.jetstream().stream_info(f"KV_{BUCKET}", subjects_filter=f"$KV.{BUCKET}.{role}.>")
    except nats.js.errors.NotFoundError:
        return {}
    found = {}
    for subject in sorted(info.state.subjects or ())[:_MOST_LISTED]:
        with contextlib.suppress(nats.js.errors.NotFoundError, msgspec.MsgspecError):
            message = await client.jetstream().get_last_msg(f"KV_{BUCKET}", subject)
            found[subject.removeprefix(f"$KV.{BUCKET}.")] = msgspec.json.decode(message.data or b"", type=Entry)
    return found


async def available(client: Client, role: str) -> bool:
    """Whether this process can have leases; else it works without, as before there were any, and says so."""
    error: Exception | None = None
    for _ in range(2):
        try:
            await ensure_bucket(client)
            return True
        except _ERRORS as found:
            error = found
    sentence = (
        f"The {role} role works without a lease, because NATS does not let it use the bucket {BUCKET}: start no "
        "second one, and run `manage.py nats_config` again."
    )
    logger.warning("%s (%s)", sentence, str(error) or type(error).__name__)
    note(role, sentence)
    return False


async def ensure_bucket(client: Client) -> None:
    """Raises nats-py's errors."""
    stream = client.jetstream(timeout=_ANSWER_S)
    try:
        await stream.stream_info(f"KV_{BUCKET}")
    except nats.js.errors.NotFoundError:
        config = KeyValueConfig(bucket=BUCKET, max_bytes=_MOST_BYTES, replicas=settings.NATS_REPLICAS)
        await stream.create_key_value(config)


def _said(key: str) -> str:
    """A lease in words: `venue binance is analysed`."""
    role, _, venue = key.partition(".")
    return f"venue {venue} is {_VERBS.get(role, 'held')}"


def _now_s() -> float:
    """A clock that nobody can set, and that goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
