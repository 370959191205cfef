"""Which subjects of NATS each role needs, and the configuration of a nats-server that permits just that. Pure.

JetStream is asked on subjects, too: `$JS.API.STREAM.INFO.CANDLES`. Answers come to the inbox of who asked, and every
user has inboxes of its own (`_INBOX.<name>.…`; for an nkey the name is its public key), so that none reads another's.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_STREAMS: Final = ("ANOMALIES", "CANDLES", "REJECTED")
_API: Final = "$JS.API"


class Allowed(NamedTuple):
    """The subjects that a user may publish on and subscribe to, besides inboxes."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def __or__(self, other: "Allowed") -> "Allowed":
        return Allowed(*(tuple(dict.fromkeys(a + b)) for a, b in zip(self, other, strict=True)))


def _creates() -> Allowed:
    """Look at the streams, and create those that are missing. An existing stream is not changed by it."""
    asked = [f"{_API}.STREAM.{what}.{name}" for name in _STREAMS for what in ("INFO", "CREATE")]
    return Allowed((f"{_API}.INFO", *asked))


def _looks() -> Allowed:
    return Allowed((f"{_API}.INFO", *(f"{_API}.STREAM.INFO.{name}" for name in _STREAMS)))


def _looks_after(*streams: str) -> Allowed:
    """Change what they keep, as the settings say."""
    return Allowed(tuple(f"{_API}.STREAM.UPDATE.{name}" for name in streams))


def _reads(stream: str) -> Allowed:
    """Read messages in order, with consumers of its own."""
    consumer = f"{_API}.CONSUMER"
    return Allowed(
        (
            f"{_API}.STREAM.MSG.GET.{stream}",
            f"{consumer}.CREATE.{stream}",
            *(f"{consumer}.{what}.{stream}.*" for what in ("INFO", "DELETE", "MSG.NEXT")),
        )
    )


_ANSWERS: Final = Allowed(subscribe=("health.ask",))
_POSITION: Final = Allowed((f"{_API}.STREAM.INFO.KV_POSITIONS", f"{_API}.STREAM.MSG.GET.KV_POSITIONS"))
_ANOMALIES: Final = Allowed(("alerts.>", "market.>"))

_LOOKS_AT_LEASES: Final = Allowed(tuple(f"{_API}.STREAM.{what}.KV_LEASES" for what in ("INFO", "MSG.GET")))


def _leases(role: str) -> Allowed:
    """A lease per venue: entries are read and replaced."""
    return _LOOKS_AT_LEASES | Allowed((f"{_API}.STREAM.CREATE.KV_LEASES", f"$KV.LEASES.{role}.>"))


# The saved analysis in the object store.
_STATE: Final = Allowed(
    (
        *(f"{_API}.STREAM.{what}.OBJ_ANALYSIS" for what in ("INFO", "CREATE", "MSG.GET", "PURGE")),
        f"{_API}.STREAM.NAMES",
        f"{_API}.CONSUMER.CREATE.OBJ_ANALYSIS.>",
        *(f"{_API}.CONSUMER.{what}.OBJ_ANALYSIS.*" for what in ("INFO", "DELETE")),
        f"{_API}.CONSUMER.CREATE.OBJ_ANALYSIS",
        "$JS.FC.OBJ_ANALYSIS.>",
        "$O.ANALYSIS.>",
    )
)

_INGEST: Final = (
    _creates()
    | _looks_after("CANDLES")
    | _ANSWERS
    | _leases("ingest")
    | Allowed(("candles.>", "feed.*", f"{_API}.STREAM.PURGE.CANDLES", f"{_API}.CONSUMER.LIST.CANDLES"))
)
_ANALYZE: Final = (
    _creates()
    | _ANSWERS
    | _ANOMALIES
    | _POSITION
    | _leases("analyze")
    | _STATE
    | _reads("CANDLES")
    | _reads("ANOMALIES")
    | Allowed(("stress.*", f"{_API}.STREAM.CREATE.KV_POSITIONS", "$KV.POSITIONS.>"))
)
_BRIDGE: Final = (
    _creates()
    | _looks_after("ANOMALIES", "REJECTED")
    | _ANSWERS
    | _reads("ANOMALIES")
    | Allowed(("rejected.>",), subscribe=("feed.*", "stress.*"))
)
_HISTORY: Final = _creates() | _ANSWERS | _reads("CANDLES") | _reads("ANOMALIES")
_DELIVER: Final = _creates() | _ANSWERS | _reads("ANOMALIES")
# It publishes what its users send it, reads anomalies for previews of routes, and looks whether streams can be written
# by asking to delete what none has.
_WEB: Final = (
    _looks()
    | _ANSWERS
    | _ANOMALIES
    | _POSITION
    | _LOOKS_AT_LEASES
    | _reads("ANOMALIES")
    | Allowed(("health.ask", *(f"{_API}.STREAM.MSG.DELETE.{name}" for name in _STREAMS)))
)
# A program of somebody else: it publishes anomalies, and reads which were refused.
_PUBLISHER: Final = _looks() | _ANOMALIES | _reads("REJECTED")

USERS: Final[Mapping[str, Allowed]] = {
    "ingest": _INGEST,
    "analyze": _ANALYZE,
    "bridge": _BRIDGE,
    "history": _HISTORY,
    "deliver": _DELIVER,
    "web": _WEB,
    "publisher": _PUBLISHER,
    # All roles in one process.
    "up": _INGEST | _ANALYZE | _BRIDGE | _HISTORY | _WEB | _reads("REJECTED"),
}
# Who asks how the roles do; the others may answer on their inboxes.
_ASKING: Final = ("web", "up")


class User(NamedTuple):
    """A user as the server knows it: `name` is the user's name or the public key of its nkey, which has no password."""

    role: str
    name: str
    password: str = ""


def configuration(users: Sequence[User]) -> str:
    """The `authorization` of nats-server's configuration."""
    names = {user.role: user.name for user in users}
    lines = []
    for role, name, password in users:
        login = f"user: {json.dumps(name)}, password: {json.dumps(password)}" if password else f"nkey: {name}"
        allowed = USERS[role]
        answers = [f"_INBOX.{names[other]}.>" for other in _ASKING if "health.ask" in allowed.subscribe]
        publish = json.dumps([*allowed.publish, *answers])
        subscribe = json.dumps([f"_INBOX.{name}.>", *allowed.subscribe])
        lines.append(
            f"    # {role}\n    {{ {login}, permissions: {{\n"
            f"      publish: {publish}\n      subscribe: {subscribe}\n    }} }}\n"
        )
    return f"authorization {{\n  users: [\n{''.join(lines)}  ]\n}}\n"
