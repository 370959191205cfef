"""Pages of signing in that django-allauth does not have, or not as they are wanted here."""

import logging
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import requests
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from django.contrib.auth import login
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from anomaly_site.people import first
from anomaly_site.people.adapters import Provider

logger = logging.getLogger(__name__)


@never_cache
def sso_login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """To the provider. By a page that leads there: a form that is redirected elsewhere is stopped by its own policy."""
    answer = _provided(OAuth2LoginView, request, provider_id)
    if request.method == "POST" and answer.status_code == 302:
        return render(request, "people/onward.html", {"url": answer["Location"]})
    return answer


@never_cache
def sso_callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    return _provided(OAuth2CallbackView, request, provider_id)


def _provided(view: Any, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    try:
        run: Callable[[HttpRequest], HttpResponseBase] = view.adapter_view(Provider(request, provider_id))
        return run(request)
    except SocialApp.DoesNotExist:
        raise Http404 from None
    except (requests.RequestException, OAuth2Error, KeyError, ValueError) as error:
        logger.error("Single sign-on: the provider (OIDC_ISSUER) does not answer as expected: %s", error)
        return render(request, "people/provider_away.html", status=503)


def closed(request: HttpRequest, **_: Any) -> HttpResponse:
    """What django-allauth offers and this site does not: signing up, and everything that needs mail."""
    return render(request, "people/closed.html", status=404)


@never_cache
@sensitive_post_parameters()
def first_admin(request: HttpRequest, link: str) -> HttpResponse:
    """A form that makes the first superuser, for a person on this machine who has the link."""
    if not _is_local(request) or not first.is_valid(link):
        return render(request, "people/closed.html", {"first": True}, status=404)
    form: BaseUserCreationForm[User] = BaseUserCreationForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and first.take_link():
        user: User = form.save(commit=False)
        user.is_staff = user.is_superuser = True
        user.save()
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        logger.info("The first administrator was made by the link of the start")
        return HttpResponseRedirect("/admin/")
    return render(request, "people/first_admin.html", {"form": form})


def _is_local(request: HttpRequest) -> bool:
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
