"""How the roles do, from their own reports and from what they have not read: one state for each, with a sentence."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from anomaly_site.lag import Lag
from anomaly_site.trends import Trends
from ingestion.stream.health import PartReport, ProcessReport

ROLES: Final = ("ingest", "analyze", "bridge", "history", "sectors", "deliver")
# Without these, anomalies do not reach clients.
_NEEDED: Final = ("analyze", "bridge")
# How long a reader may stand still with messages to read (seconds). History writes every five seconds.
_STANDSTILL_S: Final = {"analyze": 5.0, "bridge": 5.0, "history": 25.0, "deliver": 10.0}
_ENDED_TOO_OFTEN: Final = 2


class _Finding(NamedTuple):
    """`blocks`: a needed role in this state does not work."""

    state: str
    problem: str | None = None
    blocks: bool = True


_OK: Final = _Finding("ok")


def states(
    processes: Sequence[ProcessReport], lags: Mapping[str, Lag], trends: Trends, now_s: float, *, complete: bool
) -> list[dict[str, Any]]:
    """One entry for each known role, and for each background task with a problem.

    `role`, `state`, `problem` (a sentence or None), `events` (sentences), and `ready`: False if anomalies do not reach
    clients. `complete`: all processes were asked, so a role that is not among `processes` does not answer.
    """
    parts: dict[str, list[PartReport]] = {}
    for report in processes:
        for part in report.parts:
            parts.setdefault(part.name, []).append(part)
    if complete:
        trends.answered({p.process: {part.name for part in p.parts}.intersection(ROLES) for p in processes}, now_s)
    found = []
    for name in dict.fromkeys((*ROLES, *parts)):
        finding = _reported(name, parts.get(name, ()))
        if complete and name in ROLES:
            finding = finding or _by_answers(name, trends, now_s)
        if name in lags:
            standstill_s = trends.standstill_s(name, lags[name].offset, lags[name].behind, now_s)
            finding = finding or _by_lag(name, lags[name].behind, standstill_s)
        events = list(dict.fromkeys(event for part in parts.get(name, ()) for event in part.events))
        if finding or events or (name in ROLES and name in parts):
            state, problem, blocks = finding or _OK
            ready = problem is None or not blocks or name not in _NEEDED
            found.append({"role": name, "state": state, "problem": problem, "events": events, "ready": ready})
    return found


def unready(states: Iterable[Mapping[str, Any]]) -> list[str]:
    """The problems because of which anomalies do not reach clients."""
    return [state["problem"] for state in states if not state["ready"]]


def _reported(name: str, parts: Iterable[PartReport]) -> _Finding | None:
    """What the first of its parts with a problem reports."""
    who = f"The {name} role" if name in ROLES else f'The background task "{name}"'
    for part in parts:
        if part.restarts:
            times = f"{part.failures} times in a row " if part.failures > 1 else ""
            problem = f"{who} failed {times}({part.reason}) and is started again; the log has the traceback."
            return _Finding("restarting", problem, blocks=part.failures > 1)
        if part.reason:
            return _Finding("failing", f"{who}: {part.reason}{'' if part.reason.endswith('.') else '.'}")
        if part.doing:
            return _Finding("waiting", f"{who} has been trying for {part.doing_ms / 1000:.0f} s to {part.doing}.")
    return None


def _by_answers(role: str, trends: Trends, now_s: float) -> _Finding | None:
    if absent_s := trends.absent_s(role, now_s):
        problem = f"The {role} role has not answered for {absent_s:.0f} s: it was stopped, hangs or cannot reach NATS."
        return _Finding("absent", problem)
    if (ended := trends.ended(role, now_s)) >= _ENDED_TOO_OFTEN:
        return _Finding("restarting", f"The {role} role ended {ended} times within a minute; its log has the cause.")
    return None


def _by_lag(role: str, behind: int, standstill_s: float) -> _Finding | None:
    if standstill_s <= _STANDSTILL_S[role]:
        return None
    return _Finding(
        "stuck",
        f"The {role} role has made no progress for {standstill_s:.0f} s, with {behind} messages to read: it does not "
        "run, or its log has the cause.",
    )
