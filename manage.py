#!/usr/bin/env python
"""The command line: `manage.py up` starts the whole system, `manage.py help` lists all commands."""

import os
import sys

# Commands that run until a signal. They need uvloop, signals in the event loop and file locks, which Windows lacks.
LONG_RUNNING = {"up", "ingest", "analyze", "nats_bridge", "history", "record"}

if __name__ == "__main__":
    if sys.platform == "win32" and LONG_RUNNING.intersection(sys.argv[1:2]):
        sys.exit(f"`manage.py {sys.argv[1]}` needs Linux or macOS; on Windows, run it in WSL 2.")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.db import DatabaseError
        from environs.exceptions import EnvError
    except ImportError:
        sys.exit("This Python has no Django. Start with `make run`, or activate the virtual environment (.venv).")
    try:
        execute_from_command_line(sys.argv)
    except (EnvError, ImproperlyConfigured, DatabaseError) as error:
        if "--traceback" in sys.argv:
            raise
        if isinstance(error, EnvError):
            sys.exit(f"{error} See docs/operations.md for the values it accepts.")
        if isinstance(error, ImproperlyConfigured):
            sys.exit(str(error).strip())
        sys.exit(
            f"The database query failed: {str(error).strip()}\n"
            "Check that the server runs (DATABASE_URL), and that all migrations are applied: run `manage.py migrate`."
        )
