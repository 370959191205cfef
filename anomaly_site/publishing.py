"""`POST /publish/alerts` and `/publish/market`: what a program publishes over HTTP goes into NATS like everything else.

One message or several, in any shape that the decoder of NATS reads. The answer says of each whether it was taken. The
bridge stores what was taken, and may still refuse it (`manage.py rejects`): an id is about one thing for ever.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from asgiref.sync import async_to_sync
from django.db import IntegrityError, transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from anomaly_site.models import SentBefore
from anomaly_site.unavailable import Unavailable
from ingestion.stream.nats import NatsUnavailable
from ingestion.stream.posting import post
from market.aliases import aliases_are_due, read_aliases
from market.callers import TokenAuthentication, token_of
from market.clock import now_ms
from market.negotiation import Negotiation
from market.wire.unpacking import Unpacked, decode_items

KEPT: Final = timedelta(hours=24)
_LONGEST_KEY: Final = 200
# After this long a request without an answer is taken to have died.
_UNDER_WAY: Final = timedelta(minutes=1)


class Conflict(APIException):
    """The same request is being answered."""

    status_code = 409
    default_code = "conflict"
    wait = 1


class Reused(APIException):
    """The key was used for something else."""

    status_code = 422
    default_code = "reused"


class ResultSerializer(serializers.Serializer[Any]):
    """What became of one message."""

    taken = serializers.BooleanField(help_text="Whether it is in the stream now.")
    id = serializers.CharField(required=False, help_text="Its id, if it was taken.")
    reason = serializers.CharField(required=False, help_text="Why it was not taken, and what to do.")


class PublishedSerializer(serializers.Serializer[Any]):
    """The answer to a publication: a result for each message, in their order."""

    taken = serializers.IntegerField(help_text="Number of messages that are in the stream now.")
    refused = serializers.IntegerField(help_text="Number of messages that are not.")
    results = ResultSerializer(many=True, help_text="One for each message, in the order in which they came.")


_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": _LONGEST_KEY},
    OpenApiParameter.HEADER,
    description="A text of the sender's choice. The same key within 24 hours: the same answer, nothing published.",
)
_ANY: Final = {
    "description": "One message, a list of at most 500, or a wrapper (docs/protocol.md); as text/plain, too.",
    "anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}],
}


class Publish(APIView):
    """Publish one message or several. 202 if at least one was taken, 400 if none was."""

    # Of the subjects in NATS.
    channel: ClassVar[str] = "alerts"

    authentication_classes = [TokenAuthentication]
    permission_classes = [AllowAny]  # the table of routes has decided
    content_negotiation_class = Negotiation

    @extend_schema(
        parameters=[_KEY],
        request={"application/json": _ANY},
        responses={202: PublishedSerializer},
    )
    def post(self, request: Request, secret: str = "") -> Response:
        token = token_of(request)
        assert token is not None  # noqa: S101 (the table of routes)
        sender = str(token.id)
        body = request._request.body  # whatever its type: some senders call JSON text/plain
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > _LONGEST_KEY or not key.isprintable():
            raise ValidationError({"Idempotency-Key": f"Expected at most {_LONGEST_KEY} printable characters."})
        if not key:
            return self._published(body, sender)
        digest = hashlib.sha256(self.channel.encode() + b"\0" + body).hexdigest()
        before = _begin(int(sender), key, digest)
        if before is not None:
            return Response(before.answer, status=before.status, headers={"Idempotent-Replayed": "true"})
        mine = SentBefore.objects.filter(token_id=int(sender), key=key)
        try:
            answer = self._published(body, sender)
        except BaseException:
            mine.delete()  # nothing was sent for certain: the sender may try again
            raise
        if answer.status_code < 500:
            mine.update(status=answer.status_code, answer=answer.data)
        else:
            mine.delete()
        return answer

    def _published(self, body: bytes, sender: str) -> Response:
        if aliases_are_due():
            read_aliases()
        parts = decode_items(f"{self.channel}.", body, received_at=now_ms(), foreign=True)
        found = [part.anomaly for part in parts if part.anomaly is not None]
        try:
            reasons = async_to_sync(post)(found, sender) if found else []
        except NatsUnavailable:
            raise Unavailable("NATS does not answer, so nothing was taken. Send it again in a few seconds.") from None
        data = _answer(parts, reasons)
        lost = any(reasons)
        status = 503 if lost else 202 if data["taken"] else 400
        return Response(data, status=status, headers={"Retry-After": "5"} if lost else None)


@extend_schema_view(post=extend_schema(operation_id="publish_alerts"))
class PublishAlerts(Publish):
    channel = "alerts"


@extend_schema_view(post=extend_schema(operation_id="publish_market"))
class PublishMarket(Publish):
    channel = "market"


@extend_schema_view(post=extend_schema(operation_id="publish_alerts_by_address", auth=[]))
class PublishAlertsByAddress(PublishAlerts):
    """The same, for senders that can set no header."""


@extend_schema_view(post=extend_schema(operation_id="publish_market_by_address", auth=[]))
class PublishMarketByAddress(PublishMarket):
    """The same, for senders that can set no header."""


def _answer(parts: Sequence[Unpacked], reasons: Sequence[str]) -> dict[str, Any]:
    left = iter(reasons)
    results: list[dict[str, Any]] = []
    for part in parts:
        reason = part.reason if part.anomaly is None else next(left)
        if part.anomaly is None or reason:
            results.append({"taken": False, "reason": f"{reason[:1].upper()}{reason[1:]}."})
        else:
            results.append({"taken": True, "id": part.anomaly.id})
    taken = sum(one["taken"] for one in results)
    return {"taken": taken, "refused": len(results) - taken, "results": results}


def _begin(token: int, key: str, digest: str) -> SentBefore | None:
    """The answer that this key has already; None if the caller is to make one.

    Raises `Conflict` while another request makes it, and `Reused`.
    """
    now = timezone.now()
    SentBefore.objects.filter(at__lt=now - KEPT).delete()
    SentBefore.objects.filter(token_id=token, key=key, status=None, at__lt=now - _UNDER_WAY).delete()
    try:
        with transaction.atomic():
            SentBefore.objects.create(token_id=token, key=key, digest=digest)
            return None
    except IntegrityError:
        before = SentBefore.objects.filter(token_id=token, key=key).first()
    if before is not None and before.digest != digest:
        raise Reused("This Idempotency-Key was used within 24 hours for another message: use a new key for each.")
    if before is None or before.status is None:
        raise Conflict("A request with this Idempotency-Key is being answered. Try again in a second.")
    return before
