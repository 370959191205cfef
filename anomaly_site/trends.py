"""What one look at the system does not show: a reader that stopped moving, a role that vanished, a count that rises.

Pure: times are monotonic seconds, given by the caller.
"""

from collections.abc import Iterable, Mapping
from typing import Final

# A role that answered within this time, and no longer does, is missed.
_REMEMBERED_S: Final = 600.0
# The answer of a role may be lost, or late, once.
_ABSENT_AFTER_S: Final = 3.0
_RESTARTS_WITHIN_S: Final = 60.0
_RISING_S: Final = 8.0


class Trends:
    """Call each method once a look, with what that look found."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[int, int, float]] = {}  # by role: offset, behind, since when
        self._seen: dict[str, dict[str, float]] = {}  # by role: when each of its processes answered last
        self._counts: dict[str, tuple[int, float]] = {}

    def standstill_s(self, role: str, offset: int, behind: int, now_s: float) -> float:
        """For how long a reader has had messages to read, and not moved."""
        before, had, since_s = self._places.get(role, (offset, behind, now_s))
        if before != offset or not (had and behind):
            since_s = now_s
        self._places[role] = offset, behind, since_s
        return now_s - since_s

    def answered(self, processes: Mapping[str, Iterable[str]], now_s: float) -> None:
        """Roles that answered, by process."""
        for process, roles in processes.items():
            for role in roles:
                self._seen.setdefault(role, {})[process] = now_s
        for role, seen in tuple(self._seen.items()):
            self._seen[role] = {process: at_s for process, at_s in seen.items() if now_s - at_s < _REMEMBERED_S}

    def absent_s(self, role: str, now_s: float) -> float:
        """For how long no process with this role has answered; 0 while one does, and for a role never seen."""
        silent_s = now_s - max(self._seen.get(role, {}).values(), default=now_s)
        return silent_s if silent_s > _ABSENT_AFTER_S else 0.0

    def ended(self, role: str, now_s: float) -> int:
        """How many processes with this role have stopped answering within the last minute."""
        ages = [now_s - at_s for at_s in self._seen.get(role, {}).values()]
        return sum(_ABSENT_AFTER_S < age_s < _RESTARTS_WITHIN_S for age_s in ages)

    def rising(self, name: str, count: int, now_s: float) -> bool:
        """Whether a count has risen within the last seconds. At the first look: whether it is above 0."""
        before, at_s = self._counts.get(name, (0, now_s - _RISING_S))
        if count != before:
            at_s = now_s
        self._counts[name] = count, at_s
        return count > 0 and now_s - at_s < _RISING_S
