"""A storm of errors: one line per cause and minute."""

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from anomaly_site import logs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("anomaly_site.logs.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger, and what the handler of the settings prints."""
    logging_settings: dict[str, Any] = settings.LOGGING
    handler, output = import_string(logging_settings["handlers"]["stderr"]["class"])(), io.StringIO()
    handler.setStream(output)
    logger = logging.getLogger("test of a storm")
    logger.addHandler(handler)
    yield logger, output
    logger.removeHandler(handler)


def fail(logger: logging.Logger, error: Exception, attempt: int = 0) -> None:
    try:
        raise error
    except Exception:
        logger.exception("Reading failed; trying again in %d s", attempt)


def test_a_storm_is_one_line_a_minute(log: tuple[logging.Logger, io.StringIO], clock: list[float]) -> None:
    logger, output = log
    for attempt in range(130):
        fail(logger, ConnectionError(f"{attempt}"), attempt)
        clock[0] += 1.0
    text = output.getvalue()
    assert text.count("Traceback") == 1
    lines = [line for line in text.splitlines() if line.startswith("Reading failed")]
    assert lines == [
        "Reading failed; trying again in 0 s",
        "Reading failed; trying again in 60 s (ConnectionError('60'); 59 more like it since the last one printed)",
        "Reading failed; trying again in 120 s (ConnectionError('120'); 59 more like it since the last one printed)",
    ]


def test_every_cause_is_printed(log: tuple[logging.Logger, io.StringIO], clock: list[float]) -> None:
    logger, output = log
    for error in (ConnectionError("a"), LookupError("b"), ConnectionError("c")):
        fail(logger, error)
    try:
        raise ConnectionError("raised elsewhere")
    except ConnectionError:
        logger.exception("Reading failed")
    assert output.getvalue().count("Traceback") == 3
    for _ in range(2):
        logger.error("A line without a traceback")
    assert output.getvalue().count("A line without") == 2


def test_an_error_that_comes_now_and_then_has_its_traceback(
    log: tuple[logging.Logger, io.StringIO], clock: list[float]
) -> None:
    logger, output = log
    for _ in range(3):
        fail(logger, ConnectionError("now and then"))
        clock[0] += 61.0
    assert output.getvalue().count("Traceback") == 3


def test_what_is_remembered_is_bounded(
    log: tuple[logging.Logger, io.StringIO], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MAX_CAUSES", 2)
    logger, output = log
    for error in (ConnectionError, LookupError, ValueError, ConnectionError):
        fail(logger, error())
    assert output.getvalue().count("Traceback") == 4


def test_the_record_itself_stays_whole_for_others(
    log: tuple[logging.Logger, io.StringIO], clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    logger, _ = log
    for _ in range(61):
        fail(logger, ConnectionError("again"))
        clock[0] += 1.0
    assert all(record.exc_info and record.exc_info[0] is ConnectionError for record in caplog.records)
