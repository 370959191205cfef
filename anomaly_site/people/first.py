"""The first administrator: a link that works once, for an hour, from this machine, while there is no superuser."""

import hashlib
import hmac
import json
import logging
import secrets
import time
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import Error as DatabaseError

from market.files import PRIVATE, replacing

logger = logging.getLogger(__name__)

VALID_S: Final = 3_600


def new_secret() -> str:
    """The secret of a new link; empty when there is a superuser, or no place to keep it. Ends earlier links."""
    try:
        if User.objects.filter(is_superuser=True, is_active=True).exists():
            end_link()
            return ""
        secret = secrets.token_urlsafe(32)
        with replacing(_path(), PRIVATE) as file:
            file.write(json.dumps({"sha256": _digest(secret), "until": time.time() + VALID_S}).encode())
    except (DatabaseError, OSError):
        return ""
    return secret


def is_valid(secret: str) -> bool:
    """Whether this is the link that was made last, in time, and there is still no superuser."""
    try:
        kept = json.loads(_path().read_text())
    except (OSError, ValueError):
        return False
    right = hmac.compare_digest(str(kept["sha256"]), _digest(secret)) and time.time() < kept["until"]
    return right and not User.objects.filter(is_superuser=True, is_active=True).exists()


def take_link() -> bool:
    """Use the link up. Of several requests at once one gets True."""
    try:
        _path().unlink()
    except OSError:
        return False
    return True


def end_link() -> None:
    _path().unlink(missing_ok=True)


def _path() -> Path:
    return Path(settings.DATA_DIR / "first-admin")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
