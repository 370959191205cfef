"""Who sees the names of reviewers and their notes: readers who are identified themselves."""

from typing import Any

from django.conf import settings

from market.callers import is_identified


def are_shown_to(request: Any) -> bool:
    """Whether this reader sees them: a person who is signed in, or a program with a token.

    Everybody does while nothing says that others reach this installation (`ACCESS` is not set): the machine is its
    user's own.
    """
    if not getattr(settings, "ACCESS", ""):
        return True
    return is_identified(request)
