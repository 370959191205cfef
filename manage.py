#!/usr/bin/env python
"""The command line: `manage.py up` starts the whole system, `manage.py help` lists all commands."""

import io
import os
import sys
from pathlib import Path

# Commands that run until a signal. They need uvloop, signals in the event loop and file locks, which Windows lacks.
LONG_RUNNING = {"up", "ingest", "analyze", "nats_bridge", "history", "record", "deliver"}

# What `NatsUnavailable` says when a connection cannot be made; this is for a server that stops answering after that.
NATS_DOES_NOT_ANSWER = (
    "NATS does not answer as expected: {}\n"
    "Check that the server runs (NATS_URL), has JetStream and room on its disk, or start one with `manage.py up`."
)


# Commands that take `--settings a.toml`: settings of the analysis. Django means one of its own modules by `--settings`.
WITH_ANALYSIS_SETTINGS = {"backtest"}


def with_analysis_settings(arguments: list[str]) -> list[str]:
    """The command line with `--settings` as `--analysis-settings` where its value is a file, not a module.

    >>> with_analysis_settings(["manage.py", "backtest", "--settings", "a.toml", "--settings=site.settings"])
    ['manage.py', 'backtest', '--analysis-settings=a.toml', '--settings=site.settings']
    """
    if not WITH_ANALYSIS_SETTINGS.intersection(arguments[1:2]):
        return arguments
    changed: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, sign, value = argument.partition("=")
        if option != "--settings":
            changed.append(argument)
            continue
        value = value if sign else next(rest, "")
        is_file = value.endswith(".toml") or os.sep in value or Path(value).is_file()
        changed.append(f"--{'analysis-' if is_file else ''}settings={value}")
    return changed


def sentence(error: BaseException) -> str | None:
    """What an error says to a user, and what to do; None for an error that only its traceback explains."""
    from django.core.exceptions import ImproperlyConfigured
    from django.db import DatabaseError
    from environs.exceptions import EnvError

    while isinstance(error, BaseExceptionGroup):
        if any(sentence(each) is None for each in error.exceptions):
            return None
        error = error.exceptions[0]
    text = str(error).strip()
    if isinstance(error, EnvError):
        return f"{error} See docs/operations.md for the values it accepts."
    if isinstance(error, ImproperlyConfigured):
        return text
    if isinstance(error, DatabaseError):
        return (
            f"The database query failed: {text or type(error).__name__}\n"
            "Check that the server runs (DATABASE_URL), and that all migrations are applied: run `manage.py migrate`."
        )
    if type(error).__module__.startswith("nats."):
        return NATS_DOES_NOT_ANSWER.format(text or type(error).__name__)
    return None


if __name__ == "__main__":
    if sys.platform == "win32" and LONG_RUNNING.intersection(sys.argv[1:2]):
        sys.exit(f"`manage.py {sys.argv[1]}` needs Linux or macOS; on Windows, run it in WSL 2.")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode is no reason to end
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("This Python has no Django. Start with `make run`, or activate the virtual environment (.venv).")
    try:
        execute_from_command_line(with_analysis_settings(sys.argv))
    except Exception as error:
        if "--traceback" in sys.argv or (explained := sentence(error)) is None:
            raise
        sys.exit(explained)
