"""`/routes` and `/channels`: people and their programs set up who gets what.

Everybody reads and changes their own; staff, all. A token does so in the name of its user.
"""

from collections.abc import Iterable
from typing import Any, cast

from django.core.exceptions import ValidationError as Invalid
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ingestion.delivery import setup, store
from ingestion.delivery.preview import FAULTS, Busy, Preview, preview_now, sample
from ingestion.delivery.serializers import (
    ChannelSerializer,
    PreviewSerializer,
    RouteSerializer,
    SecretSerializer,
    StoredSerializer,
    owned,
)
from ingestion.models import Channel, Route
from market.callers import TokenAuthentication, user_scopes
from market.negotiation import Negotiation
from market.pages import prefers_html
from market.scopes import MEANINGS, Scope
from market.writes import named, wrote

_READS = ("GET", "HEAD", "OPTIONS")
_OF_PAGES = {
    "count": "Number of all of them.",
    "next": "Address of the next page; null: there is none.",
    "previous": "Address of the page before; null: there is none.",
    "results": "By name.",
}
SENT = "Stored; the role deliver sends it within seconds."


class NoPreview(APIException):
    status_code = 503
    default_code = "unavailable"
    wait = 5


class BusyNow(APIException):
    status_code = 429
    default_code = "throttled"
    wait = 5


class _MayRoute(BasePermission):
    """A token may never do more than its user."""

    def has_permission(self, request: Request, view: Any) -> bool:
        scope = Scope.ROUTES_READ if request.method in _READS else Scope.ROUTES_WRITE
        self.message = f"Your account may not {MEANINGS[scope]}: it lacks {scope}."
        return bool(request.user.is_authenticated) and scope in user_scopes(request.user)


class _Browsable(Negotiation):
    """The browsable API for people, JSON for everything else."""

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> Any:
        found = list(renderers)
        if prefers_html(request) and not request.query_params.get("format"):
            return next((one, one.media_type) for one in found if one.format == "api")
        return super().select_renderer(request, found, format_suffix)


class _Pages(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1_000

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        found = super().get_paginated_response_schema(schema)
        for name, described in _OF_PAGES.items():
            found["properties"][name]["description"] = described
        return found


class _Owned(generics.GenericAPIView[Any]):
    of_person = True
    authentication_classes = [TokenAuthentication, SessionAuthentication]
    permission_classes = [_MayRoute]
    renderer_classes = [JSONRenderer, BrowsableAPIRenderer]
    content_negotiation_class = _Browsable
    pagination_class = _Pages

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        return owned(super().get_queryset().model, self.request.user).select_related(*self.related)

    related: tuple[str, ...] = ("owner",)

    def perform_create(self, serializer: Any) -> None:
        self._write(serializer, "add")

    def perform_update(self, serializer: Any) -> None:
        self._write(serializer, "change")

    def _write(self, serializer: Any, action: str) -> None:
        fields = sorted(serializer.initial_data)
        with transaction.atomic():
            self.store(serializer)
            wrote(self.request, action, [named(serializer.instance)], fields=fields)

    def store(self, serializer: Any) -> None:
        serializer.save()

    def perform_destroy(self, instance: Any) -> None:
        with transaction.atomic():
            wrote(self.request, "delete", [named(instance)])
            instance.delete()


class _Channels(_Owned):
    queryset = Channel.objects.all()
    serializer_class = ChannelSerializer


class ChannelList(_Channels, generics.ListCreateAPIView[Channel]):
    """The channels, by name; make one. A secret that is made here is in the answer, and never again."""


class ChannelDetail(_Channels, generics.RetrieveUpdateDestroyAPIView[Channel]):
    """One channel. Deleting it deletes its routes."""

    http_method_names = ["get", "patch", "delete", "head", "options"]


class ChannelTest(_Channels):
    """Send a test message."""

    @extend_schema(request=None, responses=StoredSerializer)
    def post(self, request: Request, pk: int) -> Response:
        row = store.send_test(self.get_object())
        return Response({"id": row.pk, "detail": SENT})


class ChannelSecret(_Channels):
    """Replace the secret of a webhook. Messages have the signatures of both until the next replacement."""

    @extend_schema(request=None, responses=SecretSerializer)
    def post(self, request: Request, pk: int) -> Response:
        channel = self.get_object()
        try:
            with transaction.atomic():
                made = setup.rotate(channel)
                wrote(request, "change", [named(channel)], fields=["secret"])
        except Invalid as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None
        return Response({"secret": made})


class _Routes(_Owned):
    queryset = Route.objects.all()
    serializer_class = RouteSerializer
    related = ("owner", "channel", "escalate_to")

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().defer("book", "escalate_to__book")

    def store(self, serializer: Any) -> None:
        """What the deliverer remembers of a route is its own: it writes that meanwhile."""
        if serializer.instance is None:
            serializer.save()
            return
        given = serializer.validated_data
        changed = [name for name, value in given.items() if getattr(serializer.instance, name) != value]
        for name in changed:
            setattr(serializer.instance, name, given[name])
        store.enabled_again(serializer.instance, changed)
        if changed:
            serializer.instance.save(update_fields=changed)
        serializer.instance.refresh_from_db(fields=["since"])


class RouteList(_Routes, generics.ListCreateAPIView[Route]):
    """The routes, by name; make one. It delivers what arrives from now on."""


class RouteDetail(_Routes, generics.RetrieveUpdateDestroyAPIView[Route]):
    """One route."""

    http_method_names = ["get", "patch", "delete", "head", "options"]


class RoutePreview(_Routes):
    """What the route would have sent in the last 7 days. It takes some seconds, and one is made at a time."""

    @extend_schema(responses=PreviewSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(PreviewSerializer(previewed(self.get_object())).data)


class NewRoutePreview(_Routes):
    """What a route would have sent in the last 7 days, if it was there. Nothing is stored."""

    @extend_schema(request=RouteSerializer, responses=PreviewSerializer)
    def post(self, request: Request) -> Response:
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        return Response(PreviewSerializer(previewed(cast(RouteSerializer, wanted).route)).data)


class RouteTest(_Routes):
    """Send a test message to the channel of the route: a real anomaly, marked as a test."""

    @extend_schema(request=None, responses=StoredSerializer)
    def post(self, request: Request, pk: int) -> Response:
        route = self.get_object()
        row = store.send_test(route.channel, sample(route))
        return Response({"id": row.pk, "detail": SENT})


def previewed(route: Route) -> Preview:
    """Raises `BusyNow` and `NoPreview`."""
    try:
        return preview_now(route)
    except Busy as error:
        raise BusyNow(str(error)) from None
    except FAULTS:
        raise NoPreview("No preview: NATS does not answer, or has no past messages. /status says more.") from None
