"""A storm of errors: one line per cause and minute."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client, RequestFactory
from django.utils.module_loading import import_string
from pytest_django import Settings

from anomaly_site import health, logs


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


def lines_of(log: tuple[logging.Logger, io.StringIO]) -> list[str]:
    return log[1].getvalue().splitlines()


def test_a_line_of_code_prints_so_many_lines_a_minute(
    log: tuple[logging.Logger, io.StringIO], clock: list[float]
) -> None:
    logger, _ = log
    for number in range(1_000):
        logger.warning("Not Found: /%d", number)
    logger.error("another level")
    assert len(lines_of(log)) == 31


def test_what_was_left_out_is_counted(log: tuple[logging.Logger, io.StringIO], clock: list[float]) -> None:
    for number in range(100):
        clock[0] += 60.0 * (number == 99)
        log[0].warning("Not Found: /%d", number)
    assert lines_of(log)[-2:] == ["Not Found: /29", "Not Found: /99 (69 more like it were left out before)"]


@pytest.mark.django_db
def test_anonymous_requests_do_not_fill_the_log(client: Client, clock: list[float]) -> None:
    handler, output = logs.OncePerMinute(), io.StringIO()
    handler.setStream(output)
    logging.getLogger("django").addHandler(handler)
    client = Client(enforce_csrf_checks=True)
    try:
        for number in range(100):
            client.get(f"/absent/{number}")
            client.get("/alerts", headers={"host": f"host{number}.example"})
            client.post("/admin/login/", {"username": f"u{number}"})
            client.get(f"/%00{number}")
            client.put(f"/healthz?{number}")
    finally:
        logging.getLogger("django").removeHandler(handler)
    # A minute of any number of requests: so many lines of each place that logs, and the traceback of an unknown host.
    assert len(output.getvalue().splitlines()) < 200
    assert output.getvalue().count("host1") <= 12


ADDRESS = "redis://ann:s3cret@10.0.0.5:6379/0"


def test_no_password_of_an_address_gets_into_a_line() -> None:
    formatter = logs.PrintableFormatter("%(message)s")
    try:
        raise ConnectionError(f"Error connecting to {ADDRESS}")
    except ConnectionError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "Cannot reach %s", (ADDRESS,), sys.exc_info())
    text = formatter.format(record)
    assert "s3cret" not in text
    assert text.count("redis://10.0.0.5:6379/0") == 2


def test_nor_onto_the_page_of_an_error_under_debug(rf: RequestFactory, settings: Settings) -> None:
    settings.DEBUG = True
    settings.NATS_URL = settings.INFLUXDB_URL = ADDRESS
    settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [ADDRESS]}}}
    settings.VENUE_URLS = {"binance": ADDRESS}
    local, inner = ADDRESS, {"url": [ADDRESS]}
    try:
        raise LookupError(f"{local} {inner}")
    except LookupError:
        kind, error, traceback = sys.exc_info()
        reporter = import_string(settings.DEFAULT_EXCEPTION_REPORTER)(rf.get("/"), kind, error, traceback)
        page = reporter.get_traceback_html() + reporter.get_traceback_text()
    assert page.count("redis://10.0.0.5") >= 5
    assert ADDRESS not in page
    assert ADDRESS.partition("@")[0] not in page


async def test_nor_into_the_answer_of_readyz(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> str:
        raise OSError(f"Error 111 connecting to {ADDRESS}")

    answer = await health._run(check)
    assert answer == "No answer; the server log has the cause."
    assert "Error 111" in caplog.text


def record(message: str = "Stored %s", *args: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("ingestion.bridge", logging.WARNING, "x", 1, message, args or ("it",), None)
    made.created = 1_767_323_045.25
    made.__dict__.update(fields)
    return made


def formatter(name: str) -> logging.Formatter:
    logging_settings: dict[str, Any] = settings.LOGGING
    configuration = dict(logging_settings["formatters"][name])
    made: type[logging.Formatter] = import_string(configuration.pop("()"))
    return made(configuration.get("format"), configuration.get("datefmt"), configuration.get("style", "%"))


def test_a_line_has_the_date_in_utc() -> None:
    assert formatter("line").format(record()) == "2026-01-02 03:04:05Z WARNING ingestion.bridge: Stored it"


def test_a_json_line_has_the_ids_of_what_it_is_about() -> None:
    made = record("%s \x1b]52; %s", ADDRESS, "a\nb", anomaly="a1:2", batch="7:9", request="no id")
    try:
        raise ConnectionError(ADDRESS)
    except ConnectionError:
        made.exc_info = sys.exc_info()
    text = formatter("json").format(made)
    assert "\n" not in text
    assert "s3cret" not in text
    line = json.loads(text)
    assert "ConnectionError" in line.pop("exception")
    assert line == {
        "time": "2026-01-02T03:04:05.250Z",
        "level": "WARNING",
        "logger": "ingestion.bridge",
        "message": r"redis://10.0.0.5:6379/0 \x1b]52; a\nb",
        "process": made.process,
        "anomaly": "a1:2",
        "batch": "7:9",
    }


@pytest.mark.parametrize(("path", "status", "printed"), [("/readyz", 503, 0), ("/readyz", 500, 1), ("/alerts", 503, 1)])
def test_a_probe_that_answers_503_is_no_error_of_its_own(
    rf: RequestFactory, path: str, status: int, printed: int
) -> None:
    made = record("Service Unavailable: %s", path, request=rf.get(path), status_code=status)
    assert logs.but_probes(made) is bool(printed)
    logging_settings: dict[str, Any] = settings.LOGGING
    assert "but_probes" in logging_settings["handlers"]["stderr"]["filters"]
