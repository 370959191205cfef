#!/usr/bin/env python
"""Django's command line: `manage.py up` starts everything, `manage.py help` lists the rest."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.db import DatabaseError
        from environs.exceptions import EnvError
    except ImportError:
        sys.exit("Django is not installed here. Run `make run`, or activate the virtual environment (.venv).")
    try:
        execute_from_command_line(sys.argv)
    except (EnvError, ImproperlyConfigured, DatabaseError) as error:
        if "--traceback" in sys.argv:
            raise
        if isinstance(error, EnvError):
            sys.exit(f"{error} docs/operations.md says what goes there.")
        if isinstance(error, ImproperlyConfigured):
            sys.exit(str(error).strip())
        sys.exit(
            f"The database does not serve: {str(error).strip()}\n"
            "Is it there (DATABASE_URL), and up to date (`manage.py migrate`, which `make run` does)?"
        )
