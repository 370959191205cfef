"""Checks who published what is read (`market.wire.signing`)."""

import logging
import time
from typing import Final

from django.conf import settings

from ingestion.stream.health import EVENT_S, note
from ingestion.stream.metrics import SIGNATURES
from ingestion.stream.reader import Received
from market.wire.signing import Verdict, derived, is_vouched, verdict

logger = logging.getLogger(__name__)

WRONG: Final = (
    "the signature is not of this message: it was forged or changed on its way. Leave the header Anomaly-Signature out "
    "of messages of your own"
)
_SENTENCES: Final = {
    Verdict.WRONG: (
        "Messages with a wrong signature were rejected: a publisher forges or changes messages of the analysis. "
        "`manage.py rejects` lists them. Restrict who may publish to NATS."
    ),
    Verdict.UNKNOWN: (
        "Messages are signed with a key that is unknown here, so they count as foreign. Give all processes the same "
        "SECRET_KEY. If it was changed, put the old one into SIGNING_KEY_FALLBACKS."
    ),
}


class Signatures:
    """Checks messages with the keys of this installation, the present one and earlier ones.

    Counts what it finds. Of messages that are signed, but not with one of these keys, it tells the log and `problems`
    (as `reader`) once an hour.
    """

    def __init__(self, reader: str) -> None:
        self._reader = reader
        self._keys = {key.name: key for key in map(derived, (*settings.SIGNING_KEY_FALLBACKS, settings.SECRET_KEY))}
        self._noted: dict[Verdict, float] = {}

    def check(self, message: Received) -> Verdict:
        found = verdict(self._keys, message.signature, message.subject, message.data)
        SIGNATURES.labels(found.value).inc()
        if found in _SENTENCES:
            self._tell(found)
        return found

    def is_vouched(self, message: Received) -> bool:
        """Whether this installation took the message over HTTP, with a token that may publish."""
        if not message.publisher:
            return False
        return is_vouched(self._keys, message.publisher, message.subject, message.data)

    def _tell(self, found: Verdict) -> None:
        now = time.monotonic()
        last = self._noted.get(found)
        if last is None or now - last > EVENT_S:
            self._noted[found] = now
            logger.warning("%s", _SENTENCES[found])
            note(self._reader, _SENTENCES[found])
