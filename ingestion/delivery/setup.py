"""Channels as people set them up: the same rules in the admin, over REST and in `manage.py route`.

The rules of routes are `ingestion.models.route_problems`.
"""

from typing import Final

from django.core.exceptions import ValidationError

from ingestion.delivery.http import Refused
from ingestion.delivery.sending import check_channel
from ingestion.delivery.webhook import new_secret, refused_secret
from ingestion.models import Channel

_MASK: Final = ("…", "••••")


def prepare(channel: Channel, entered: str = "") -> str:
    """Check a channel that is about to be stored, with the secret that was entered; empty keeps the stored one.

    Returns the secret if it was made here, to be shown once; else an empty text. Raises `ValidationError`.
    """
    is_webhook, made = channel.kind == Channel.Kind.WEBHOOK, ""
    for field, text in (("address", channel.address), ("secret", entered)):
        if any(mask in text for mask in _MASK):
            raise ValidationError({field: "This is what is shown instead of it. Leave it out to keep what is stored."})
    if entered:
        channel.secret, channel.previous_secret = entered, ""
    elif is_webhook and not channel.secret:
        made = channel.secret = new_secret()
    if is_webhook and (why := refused_secret(channel.secret)):
        raise ValidationError({"secret": why})
    try:
        check_channel(channel)
    except Refused as error:
        raise ValidationError(str(error)) from None
    if channel.enabled:
        channel.disabled_reason = ""
    return made


def rotate(channel: Channel) -> str:
    """Replace the secret of a webhook; messages have the signatures of both until the next replacement.

    Returns the new one, to be shown once. Raises `ValidationError` for a channel of another kind.
    """
    if channel.kind != Channel.Kind.WEBHOOK:
        raise ValidationError("Only the secret of a webhook is made here. Enter the one that the service shows.")
    channel.previous_secret, channel.secret = channel.secret, new_secret()
    channel.save(update_fields=["secret", "previous_secret"])
    return channel.secret
