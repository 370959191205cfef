"""How the roles and background tasks of this process do, for `/status` and `/readyz` of every web process.

    with health("bridge") as state:
        with state.doing("store a batch in the database"):
            …                                                # reported while it lasts longer than SLOW_S
        state.ok()
        state.failing(f"a batch could not be stored: {cause(error)}")
    note("analyze", "An engine was reset …")                 # happened once

A web process reads its own process's reports directly, and asks the other processes on core NATS (`ASK`): each answers
with its own at once (`answering`). No stream, bucket or table is needed, so the database's faults arrive through NATS,
and those of NATS' storage do not matter. `/status` is public: the texts must not contain hosts, users or file names,
which error texts of databases have. `cause` gives a text without them.
"""

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Annotated, Final, Self

import msgspec
import nats.errors
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError
from msgspec import Meta
from nats.aio.client import Client
from nats.aio.msg import Msg

# Every NATS client may ask and answer. No stream has this subject.
ASK: Final = "health.ask"

# A role's work that lasts longer than this is reported, with what it waits for.
SLOW_S: Final = 4.0
# A role that was started again counts as failing until it has run for this long.
PROVEN_S: Final = 7.0
# Failures with less than this between them are in a row.
IN_A_ROW_S: Final = 90.0
# How long and how many events of one kind stay in `problems`.
EVENT_S: Final = 3_600.0
_MAX_EVENTS: Final = 20
# The wall clock is corrected by less than this without being set.
CLOCK_STEP_S: Final = 10.0
_MAX_TEXT: Final = 300
_MAX_PARTS: Final = 100

_Text = Annotated[str, Meta(max_length=_MAX_TEXT)]


class PartReport(msgspec.Struct, frozen=True):
    """One role or background task: `reason` it fails or None, `failures` in a row, events of the last hour."""

    name: Annotated[str, Meta(max_length=60)]
    reason: _Text | None = None
    failures: Annotated[int, Meta(ge=0)] = 0
    restarts: bool = False
    doing: _Text | None = None
    doing_ms: Annotated[int, Meta(ge=0)] = 0
    events: Annotated[list[_Text], Meta(max_length=_MAX_EVENTS)] = []


class ProcessReport(msgspec.Struct, frozen=True):
    """All parts of one process. `process` is its identity, another one after each start."""

    process: Annotated[str, Meta(max_length=64)]
    parts: Annotated[list[PartReport], Meta(max_length=_MAX_PARTS)]


class Health:
    """The state of one role or background task, reported for the length of a `with` or `async with` block."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reason: str | None = None
        self._failures = 0
        self._failed_at: float | None = None
        self._started_at: float | None = None
        self._doing: tuple[str, float] | None = None

    def __enter__(self) -> Self:
        _parts.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _parts.remove(self)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def ok(self) -> None:
        """The work succeeds: what `failing` reported is over."""
        self._reason = None

    def failing(self, reason: str) -> None:
        """The work fails, for this public reason, until `ok` is called."""
        self._reason = _public(reason)

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Work that may hang. `what` completes the sentence "has been trying for 5 s to …"."""
        outer, self._doing = self._doing, (_public(what), _now_s())
        try:
            yield
        finally:
            self._doing = outer

    # For the owner of background tasks, which starts a task again that fails.

    def started(self) -> None:
        self._started_at = _now_s()

    def crashed(self, error: BaseException) -> None:
        now = _now_s()
        in_a_row = self._failed_at is not None and now - self._failed_at < IN_A_ROW_S
        self._failures = self._failures + 1 if in_a_row else 1
        self._failed_at, self._started_at = now, None
        self._reason = _public(cause(error))

    def report(self) -> PartReport:
        now = _now_s()
        doing, since = self._doing or (None, now)
        proven = self._started_at is not None and now - self._started_at > PROVEN_S
        crashing = self._failed_at is not None and not proven
        return PartReport(
            name=self.name,
            reason=self._reason if crashing or self._failed_at is None else None,
            failures=self._failures if crashing else 0,
            restarts=crashing,
            doing=doing if now - since > SLOW_S else None,
            doing_ms=round((now - since) * 1000),
        )


_process: Final = uuid.uuid4().hex
_parts: Final[list[Health]] = []
_events: Final[dict[str, deque[tuple[float, str]]]] = {}


def health(name: str) -> Health:
    """A new report under this name. Several of the same name may exist, such as one for each ingested venue."""
    return Health(name)


def note(name: str, sentence: str) -> None:
    """Something that happened once to a role and needs attention: a public sentence, in `problems` for an hour.

    Of each role, the last 20 are kept.
    """
    _events.setdefault(name, deque(maxlen=_MAX_EVENTS)).append((_now_s(), _public(sentence)))


class WallClock:
    """Whether somebody set the wall clock: it then moves apart from the clock that nobody can set."""

    def __init__(self) -> None:
        self._apart_s: float | None = None
        self._set_at: float | None = None

    def step_s(self, wall_s: float, running_s: float) -> float:
        """By how many seconds the wall clock is ahead of where it would be if nobody had set it; 0 if nobody has.

        What is not set back within an hour counts as right.
        """
        apart_s = wall_s - running_s
        step_s = 0.0 if self._apart_s is None else apart_s - self._apart_s
        if abs(step_s) < CLOCK_STEP_S:
            self._set_at = None
        elif self._set_at is None:
            self._set_at = running_s
        if self._set_at is None or running_s - self._set_at > EVENT_S:
            self._apart_s, step_s = apart_s, 0.0
        return step_s


def _clock_events() -> list[str]:
    step_s = _wall_clock.step_s(*_clocks())
    if not step_s:
        return []
    size, direction = f"{abs(round(step_s, -1)):.0f} s", "ahead" if step_s > 0 else "back"
    return [f"The system clock was set {size} {direction}: check it. Anomalies detected since then have its times."]


def _clocks() -> tuple[float, float]:
    """The wall clock and one that nobody can set, which goes on while the machine is suspended, in seconds."""
    return time.time(), time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


_wall_clock: Final = WallClock()


def this_process() -> ProcessReport:
    parts = [part.report() for part in tuple(_parts)]
    if clock := _clock_events():
        parts.append(PartReport("clock", events=clock))
    oldest = _now_s() - EVENT_S
    for name, events in tuple(_events.items()):
        if recent := [text for at, text in tuple(events) if at > oldest]:
            parts.append(PartReport(name, events=recent))
    return ProcessReport(_process, parts[:_MAX_PARTS])


@contextlib.asynccontextmanager
async def answering(client: Client) -> AsyncIterator[None]:
    """Answer the questions of web processes for the length of a block."""

    async def answer(message: Msg) -> None:
        if message.reply:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.publish(message.reply, msgspec.json.encode(this_process()))

    subscription = await client.subscribe(ASK, cb=answer)
    try:
        yield
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):  # the connection may be gone
            await subscription.unsubscribe()


async def ask(client: Client, wait_s: float) -> list[ProcessReport]:
    """The answers that arrive within `wait_s` seconds, one for each process; this process included."""
    answers = {_process: this_process()}

    async def take(message: Msg) -> None:
        with contextlib.suppress(msgspec.MsgspecError):
            report = msgspec.json.decode(message.data, type=ProcessReport)
            if len(answers) < _MAX_PARTS and report.process != _process:
                answers[report.process] = report

    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox, cb=take)
    try:
        await client.publish(ASK, b"", reply=inbox)
        await client.flush(timeout=max(1, round(wait_s)))
        await asyncio.sleep(wait_s)
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
    return list(answers.values())


# --- Causes -----------------------------------------------------------------------------------------------------------

MALFORMED: Final = (
    "the database file is damaged. Stop all processes, remove the file with the files beside it whose names end in "
    "-wal and -shm, put a backup in its place, and start again"
)
NOT_MIGRATED: Final = "the database lacks a table or column: run `manage.py migrate`"
# What the texts of SQLite and PostgreSQL contain → the cause, without hosts, users and file names.
_DATABASE_CAUSES: Final = (
    (("malformed", "not a database"), MALFORMED),
    (("disk is full", "no space left", "could not extend file", "diskfull"), "the disk of the database is full"),
    (("locked", "lock timeout", "lock_timeout"), "the database is locked by another process or connection"),
    (("no such table", "no such column", "has no column", 'relation "', 'column "'), NOT_MIGRATED),
    (("readonly", "read-only"), "the database accepts no writes: check its permissions and whether it is a standby"),
    (("unable to open",), "the database file cannot be opened: check DATABASE_URL and the permissions of its folder"),
    (("disk i/o error",), "the disk of the database reports errors"),
    (("too many clients", "too many connections", "connection slots"), "the database has no free connection"),
    (
        ("authentication failed", "does not exist", "no pg_hba.conf"),
        "the database refuses the connection: check DATABASE_URL",
    ),
    (("starting up", "shutting down"), "the database is starting or shutting down"),
)


def cause(error: BaseException) -> str:
    """The cause of an error in words that may be public. For a group of errors: of the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, DatabaseError):
        text = str(error).lower()
        for words, public in _DATABASE_CAUSES:
            if any(word in text for word in words):
                return public
        if isinstance(error, OperationalError | InterfaceError):
            return "the database does not answer"
        return f"the database reports an error ({type(error).__name__})"
    if isinstance(error, nats.errors.Error) or type(error).__module__.startswith("nats."):
        return f"NATS does not answer as expected ({type(error).__name__})"
    return type(error).__name__


def text_of(error: BaseException) -> str:
    """The error's text for the log; its type if it has none (as a timeout)."""
    return str(error).strip() or type(error).__name__


def _public(text: str) -> str:
    """One line that fits a report."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TEXT else f"{line[: _MAX_TEXT - 1]}…"


def _now_s() -> float:
    return time.monotonic()
