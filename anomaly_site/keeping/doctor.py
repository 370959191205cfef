"""Looks for what is wrong with an installation. Each check has a deadline; a check that hangs is a finding."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from django.db import connections

from market.printable import without_credentials

# All checks run at once, so the command takes little longer than this if something hangs.
DEADLINE_S: Final = 1.6


class State(StrEnum):
    """`NOTE`: worth to know. `WRONG`: something does not work as it should, or soon will not."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """What a check found, in a sentence, and what to do about it (empty if nothing is to be done)."""

    subject: str
    state: State
    text: str
    do: str = ""


def ok(subject: str, text: str) -> Finding:
    return Finding(subject, State.OK, text)


def note(subject: str, text: str, do: str = "") -> Finding:
    return Finding(subject, State.NOTE, text, do)


def wrong(subject: str, text: str, do: str) -> Finding:
    return Finding(subject, State.WRONG, text, do)


Check = Callable[[], Iterable[Finding]]


def examine(checks: Sequence[tuple[str, Check]], deadline_s: float = DEADLINE_S) -> list[Finding]:
    """Run all checks at once; their findings in the order of the checks. One may find nothing."""
    found: dict[str, list[Finding]] = {}

    def run(subject: str, check: Check) -> None:
        try:
            found[subject] = list(check())
        except Exception as error:  # a check that fails must not hide the others
            text = without_credentials(str(error)) or type(error).__name__
            found[subject] = [wrong(subject, f"The check failed: {text}.", "Mend the cause, or report this error.")]
        finally:
            connections.close_all()

    ends_at = time.monotonic() + deadline_s
    # Daemons: one that hangs must not keep the command from ending.
    threads = [threading.Thread(target=run, args=each, name=each[0], daemon=True) for each in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))
    late = f"No answer within {deadline_s:g} s."
    return [
        finding
        for subject, _ in checks
        for finding in found.get(subject, [wrong(subject, late, "Check that it runs and can be reached from here.")])
    ]
