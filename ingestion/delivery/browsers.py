"""Browsers that people subscribe: each is a channel of its person, with a route that they can change like any other."""

import hashlib
from collections.abc import Sequence
from typing import Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from ingestion.delivery import store, webpush
from ingestion.delivery.http import Refused
from ingestion.delivery.webpush import Subscription
from ingestion.models import Channel, Route, route_problems
from market.wire.messages import SEVERITIES, Severity

MOST: Final = 10
DEFAULT: Final = (Severity.HIGH, Severity.CRITICAL)
_LONGEST_NAME: Final = 70


def of(user: User) -> QuerySet[Channel]:
    return Channel.objects.filter(kind=Channel.Kind.WEBPUSH, owner=user).order_by("pk")


def digest(channel: Channel) -> str:
    """SHA-256 of the browser's address, in hex, by which the browser knows itself; empty if it ended."""
    return hashlib.sha256(channel.secret.rpartition(" ")[2].encode()).hexdigest() if channel.secret else ""


def subscribe(
    user: User, subscription: Subscription, *, name: str, severities: Sequence[str], time_zone: str
) -> tuple[Channel, bool]:
    """Store a browser of a person, with a route for what has these severities. Returns whether it is new.

    One that is known gets the new keys and severities; one that ended and has this name is continued with its route. A
    browser belongs to who subscribed it last. Raises `ValidationError`.
    """
    try:
        webpush.check(subscription)
    except Refused as error:
        raise ValidationError({"subscription": str(error)}) from None
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # the bound holds for requests at once, too
        known = _known(subscription)
        if known is not None and known.owner_id != user.pk:
            known.delete()
            known = None
        name = f"{user.get_username()}: {name or 'browser'}"[:_LONGEST_NAME]
        ended = of(user).filter(secret="", name=name).first()
        channel = known or ended or _new(user, name)
        new = known is None
        channel.secret, channel.address = subscription.secret, subscription.host[:500]
        channel.enabled, channel.disabled_reason = True, ""
        channel.save()
        _route(user, channel, severities, time_zone, again=new)
        if new:
            store.send_test(channel)
    return channel, new


def _known(subscription: Subscription) -> Channel | None:
    found = Channel.objects.filter(kind=Channel.Kind.WEBPUSH, secret__endswith=f" {subscription.endpoint}")
    return next((row for row in found if row.secret.rpartition(" ")[2] == subscription.endpoint), None)


def _new(user: User, name: str) -> Channel:
    own = of(user)
    if own.count() >= MOST:
        gone = own.filter(secret="").first()
        if gone is None:
            raise ValidationError(
                {"subscription": f"You have {MOST} browsers subscribed, the most there can be. Remove one of them."}
            )
        gone.delete()
    names = set(Channel.objects.filter(name__startswith=name).values_list("name", flat=True))
    free = next(one for one in (name, *(f"{name} {number}" for number in range(2, 1_000))) if one not in names)
    return Channel(name=free, kind=Channel.Kind.WEBPUSH, owner=user)


def _route(user: User, channel: Channel, severities: Sequence[str], time_zone: str, *, again: bool) -> None:
    """Give a channel a route, unless it has some; with one, the severities of that are set."""
    routes = list(Route.objects.filter(channel=channel).defer("book")[:2]) if channel.pk else []
    if len(routes) > 1:
        return  # somebody made more of it than this page shows
    wanted = [str(severity) for severity in SEVERITIES if severity in severities] or [*map(str, DEFAULT)]
    route = routes[0] if routes else Route(name=_free(channel.name), owner=user, channel=channel, time_zone=time_zone)
    route.filters = {**route.filters, "severities": wanted}
    if problems := route_problems(route):
        raise ValidationError(problems)
    if route.pk:
        Route.objects.filter(pk=route.pk).update(filters=route.filters)
        if again:
            store.enabled_again(route, ["enabled"])
    else:
        route.save()


def _free(name: str) -> str:
    names = set(Route.objects.filter(name__startswith=name).values_list("name", flat=True))
    return next(one for one in (name, *(f"{name} {number}" for number in range(2, 1_000))) if one not in names)
