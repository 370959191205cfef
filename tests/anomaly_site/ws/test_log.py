"""A cause that comes up a thousand times a minute is one line a minute."""

import logging

import pytest

from anomaly_site.ws.log import SparseLog

logger = logging.getLogger(__name__)


def test_one_line_per_cause_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = SparseLog(logger, clock=lambda: now)
    for number in range(240):
        now = number / 2
        log.failure("Reading failed; again in %s s", OSError(f"attempt {number}"), number)
        if number % 2:
            log.failure("Reading failed; again in %s s", TimeoutError(), 0.5)
    assert [record.getMessage() for record in caplog.records] == [
        "Reading failed; again in 0 s (OSError: attempt 0)",
        "Reading failed; again in 0.5 s (TimeoutError: no answer in time)",
        "Reading failed; again in 120 s (OSError: attempt 120) (119 more since the last such line)",
        "Reading failed; again in 0.5 s (TimeoutError: no answer in time) (59 more since the last such line)",
    ]


def test_the_end_of_a_cause_is_one_line_a_minute_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    log = SparseLog(logger, clock=lambda: now)
    log.over("nats", "NATS answers again")  # it always has
    for number in range(62):
        now = float(number)
        log.warning("nats", "NATS does not answer")
        if number % 2:
            log.over("nats", "NATS answers again")
            log.over("nats", "NATS answers again")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "NATS does not answer"),
        ("INFO", "NATS answers again"),
        ("WARNING", "NATS does not answer (59 more since the last such line)"),
        ("INFO", "NATS answers again (29 more since the last such line)"),
    ]
