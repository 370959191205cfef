"""What hangs is named by `/status` and `/readyz`, which answer meanwhile. All faults: tests/system/chaos."""

import contextlib
import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.system.conftest import System, wait_until
from tests.system.postgresql import postgresql

pytestmark = pytest.mark.system

# An answer that waited for the part that hangs would come after more than half a minute.
ANSWER_S = 10


def answer(system: System, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(system.url + path, timeout=ANSWER_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def readiness(system: System) -> dict[str, Any]:
    return dict(json.loads(answer(system, "/readyz")[1]))


def problems(system: System) -> str:
    return "\n".join(json.loads(answer(system, "/status")[1])["problems"])


def wait_for_problem(system: System, pattern: str) -> None:
    wait_until(lambda: re.search(pattern, problems(system)) is not None, what=f"{pattern!r} in problems")


def wait_until_well(system: System) -> None:
    wait_until(lambda: answer(system, "/readyz")[0] == 200 and not problems(system), what="no problem")


@contextlib.contextmanager
def paused(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def with_children(pid: int) -> list[int]:
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def test_a_part_that_hangs_is_named_and_does_not_delay_the_answers(system: System) -> None:
    with postgresql() as (url, folder):
        system.env["DATABASE_URL"] = url
        assert system.run("migrate", "-v0").returncode == 0
        up = system.up("--source", "simulated", "--symbols", "20")
        wait_until_well(system)
        with paused(with_children(int((folder / "data" / "postmaster.pid").read_text().split()[0]))):
            wait_until(lambda: "No answer within" in readiness(system)["database"], what="a check that timed out")
            wait_for_problem(system, "Database: no answer within")
            assert "NATS" not in problems(system)
            code, text = answer(system, "/metrics")
            assert (code, "anomalies_problems" in text) == (200, True)
        wait_until_well(system)

        with paused(with_children(up.process.pid)[1:]):
            wait_for_problem(system, "NATS: no answer")
            found = readiness(system)
            assert (found["database"], found["nats"][:16]) == ("ok", "NATS: no answer;")
            assert answer(system, "/metrics")[0] == 200
        wait_until_well(system)

        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE ingestion_candle, alerts_alert, market_marketanomaly IN SHARE MODE")
            wait_for_problem(system, "role has been trying for .* s to (store anomalies|write into the store)")
            assert "No fresh prices" not in answer(system, "/readyz")[1]
            assert "NATS" not in problems(system)
        wait_until_well(system)
        assert up.stop() == 0, up.output
