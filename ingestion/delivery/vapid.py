"""The key by which push services know this site (VAPID, RFC 8292): a setting, or made on first use."""

import base64
import binascii
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from market import files

FILE: Final = "vapid_key"
# Push services accept at most a day.
_VALID_S: Final = 12 * 3_600
_NOBODY: Final = "mailto:admin@localhost"


def public_key() -> str:
    """`applicationServerKey` of browsers: the point in base64url, 87 characters. Raises as `_key` does."""
    point = _key().public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def authorization(origin: str, now_s: int) -> str:
    """The header for a push service at this origin. Raises as `_key` does."""
    contact = settings.VAPID_CONTACT or settings.PUBLIC_URL
    subject = contact if contact.startswith(("https://", "mailto:")) else _NOBODY
    signed: dict[str, str] = _key().sign({"sub": subject, "aud": origin, "exp": now_s + _VALID_S})
    return signed["Authorization"]


def _key() -> Any:
    """Raises `OSError` if the key can be neither read nor stored, and `ImproperlyConfigured` if it is not one."""
    return _loaded(settings.VAPID_PRIVATE_KEY or _stored(Path(settings.DATA_DIR) / FILE))


def _stored(path: Path) -> str:
    """The key of this installation. Processes that start together use the same."""
    from py_vapid import Vapid02

    if not path.exists() or not path.stat().st_size:
        made = Vapid02()
        made.generate_keys()
        scalar = made.private_key.private_numbers().private_value.to_bytes(32, "big")
        files.put_new(path, base64.urlsafe_b64encode(scalar).rstrip(b"="))
    return path.read_text().strip()


@lru_cache(4)
def _loaded(text: str) -> Any:
    from py_vapid import Vapid02

    try:
        if len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) != 32:
            raise ValueError
        return Vapid02.from_string(text)
    except (ValueError, binascii.Error):
        raise ImproperlyConfigured(
            f"VAPID_PRIVATE_KEY, or the file {FILE} in DATA_DIR, is not a key of 32 bytes in base64url."
        ) from None
