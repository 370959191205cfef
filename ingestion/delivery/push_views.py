"""`/push`: people subscribe their browsers to notifications, and `/notifications`, the page where they do that."""

from typing import Any, Final, cast
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.exceptions import ValidationError as Invalid
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException, NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ingestion.delivery import browsers, vapid
from ingestion.delivery.webpush import Subscription
from ingestion.models import Channel
from market.callers import TokenAuthentication
from market.pages import CONTENT_SECURITY_POLICY
from market.wire.messages import SEVERITIES
from market.wire.times import epoch_ms
from market.writes import named, wrote

_SEVERITIES: Final = [str(severity) for severity in SEVERITIES]
# The worker fetches pictures of this site for notifications, and acknowledges.
_OF_WORKER: Final = "default-src 'none'; connect-src 'self'; img-src 'self'"


class NoKey(APIException):
    status_code = 503
    default_code = "unavailable"
    wait = 60


class KeysSerializer(serializers.Serializer[Any]):
    p256dh = serializers.CharField(max_length=200, help_text="Public key of the browser: 65 bytes in base64url.")
    auth = serializers.CharField(max_length=100, help_text="Secret of the subscription: 16 bytes in base64url.")


class SubscriptionSerializer(serializers.Serializer[Any]):
    """As `PushSubscription.toJSON()` of a browser gives it; other fields are ignored."""

    endpoint = serializers.CharField(max_length=1_000, help_text="Address at the browser's push service, https.")
    keys = KeysSerializer(help_text="For what is sent to it.")


class NewBrowserSerializer(serializers.Serializer[Any]):
    subscription = SubscriptionSerializer(help_text="Of the browser.")
    name = serializers.CharField(required=False, allow_blank=True, max_length=40, help_text="As in: Firefox on Linux.")
    severities = serializers.ListField(
        child=serializers.ChoiceField(_SEVERITIES),
        required=False,
        max_length=len(_SEVERITIES),
        help_text="What is worth a notification. Default: HIGH and CRITICAL.",
    )
    time_zone = serializers.CharField(required=False, max_length=60, help_text="As in Europe/Berlin. Default: UTC.")


class BrowserSerializer(serializers.Serializer[Channel]):
    id = serializers.IntegerField(help_text="Number of the browser, and of its channel.")
    name = serializers.CharField(help_text="Name of its channel.")
    service = serializers.CharField(source="address", help_text="Host of its push service.")
    enabled = serializers.BooleanField(help_text="Whether notifications are sent to it.")
    disabled_reason = serializers.CharField(help_text="Why not, in a sentence.")
    endpoint_sha256 = serializers.SerializerMethodField(help_text="SHA-256 of its endpoint, in hex; empty if it ended.")
    severities = serializers.SerializerMethodField(help_text="Of its route; empty: all, or it has several routes.")
    created_at = serializers.SerializerMethodField(help_text="When it was subscribed, epoch milliseconds (UTC).")

    def get_endpoint_sha256(self, channel: Channel) -> str:
        return browsers.digest(channel)

    @extend_schema_field({"type": "array", "items": {"type": "string", "enum": _SEVERITIES}})
    def get_severities(self, channel: Channel) -> list[str]:
        routes = [route.filters for route in channel.routes.all()]
        return list(routes[0].get("severities", [])) if len(routes) == 1 else []

    def get_created_at(self, channel: Channel) -> int:
        return epoch_ms(channel.created_at)


class BrowsersSerializer(serializers.Serializer[Any]):
    public_key = serializers.CharField(help_text="`applicationServerKey` for `PushManager.subscribe()`, base64url.")
    browsers = BrowserSerializer(many=True, help_text="Yours, oldest first.")


class _Push(APIView):
    of_person = True
    authentication_classes = [TokenAuthentication, SessionAuthentication]
    permission_classes = [IsAuthenticated]
    renderer_classes = [JSONRenderer]


class Push(_Push):
    """Your browsers that get notifications, and the key for another one."""

    @extend_schema(responses=BrowsersSerializer)
    def get(self, request: Request) -> Response:
        try:
            key = vapid.public_key()
        except (OSError, ImproperlyConfigured) as error:
            raise NoKey(f"Notifications cannot be sent: {error}") from None
        found = browsers.of(cast(User, request.user)).prefetch_related("routes")
        return Response(BrowsersSerializer({"public_key": key, "browsers": found}).data)

    @extend_schema(request=NewBrowserSerializer, responses={200: BrowserSerializer, 201: BrowserSerializer})
    def post(self, request: Request) -> Response:
        """Subscribe a browser, or change what it gets. A new one gets a test message within seconds."""
        said = NewBrowserSerializer(data=request.data)
        said.is_valid(raise_exception=True)
        found = said.validated_data
        given = found["subscription"]
        subscription = Subscription(given["endpoint"], given["keys"]["p256dh"], given["keys"]["auth"])
        try:
            with transaction.atomic():
                channel, new = browsers.subscribe(
                    cast(User, request.user),
                    subscription,
                    name=found.get("name", ""),
                    severities=found.get("severities", []),
                    time_zone=found.get("time_zone", "UTC"),
                )
                wrote(request, "add" if new else "change", [named(channel)])
        except Invalid as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None
        code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
        return Response(BrowserSerializer(channel).data, status=code)


class PushBrowser(_Push):
    """One of your browsers."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Send nothing to it any more. Its routes are deleted with it."""
        channel = browsers.of(cast(User, request.user)).filter(pk=pk).first()
        if channel is None:
            raise NotFound("You have no browser of this number.")
        with transaction.atomic():
            wrote(request, "delete", [named(channel)])
            channel.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


@require_safe
def notifications(request: HttpRequest) -> HttpResponse:
    """The page is the same for everybody but for the name; its script asks `/push`."""
    user = request.user
    shown = {
        "signed_in": user.get_username() if user.is_authenticated else "",
        "sign_in": f"{reverse('admin:login')}?{urlencode({'next': request.path})}",
        "token": get_token(request) if user.is_authenticated else "",
        "severities": _SEVERITIES,
    }
    answer = HttpResponse(render_to_string("ingestion/notifications.html", shown, request))
    answer.headers["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; connect-src 'self'; worker-src 'self'"
    return answer


@require_safe
def service_worker(request: HttpRequest) -> HttpResponse:
    """At the root, because it is in charge of nothing above its own folder."""
    answer = HttpResponse(render_to_string("ingestion/service-worker.js"), content_type="text/javascript")
    answer.headers["Content-Security-Policy"] = _OF_WORKER
    answer.headers["Cache-Control"] = "no-cache"
    return answer
