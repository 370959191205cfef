"""What a process that runs jobs does first: nothing that needs Django may be imported before."""

from typing import Any

import django

# A queue to the process that shows the progress.
told: Any = None


def begin(queue: Any) -> None:
    global told
    told = queue
    django.setup()
