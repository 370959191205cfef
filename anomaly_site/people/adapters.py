"""How django-allauth behaves here: nobody signs up, the provider's word decides on groups, secrets are encrypted."""

import base64
import hashlib
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.shortcuts import render

from anomaly_site.people.oidc import GROUPS, admitted

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts are made in the admin, by `createsuperuser`, or by single sign-on."""
        return False

    # Limits per name would let anybody lock an administrator out: they count per name and address.

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        return f"{super()._get_login_attempts_cache_key(request, **credentials)}:{self.get_client_ip(request)}"

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        if user := super().authenticate(request, **credentials):
            self._delete_login_attempts_cached_email(request, **credentials)
        return user


class SingleSignOn(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """The provider says at each login who is in which group."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return bool(_groups(sociallogin))

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Raises `ImmediateHttpResponse` for a person who may not sign in (any more)."""
        # The account keeps its address. As addresses of mail, which this site does not send, those that another account
        # has would ask for another one.
        sociallogin.email_addresses = []
        groups = _groups(sociallogin)
        if sociallogin.is_existing:
            _set_groups(sociallogin.user, groups)
        if not groups:
            logger.warning("Single sign-on: %s may not sign in (OIDC_GROUPS, OIDC_DOMAINS)", sociallogin.account.uid)
            raise ImmediateHttpResponse(render(request, "people/not_admitted.html", status=403))

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> Any:
        user = super().save_user(request, sociallogin, form)
        _set_groups(user, _groups(sociallogin))
        return user


def claims(sociallogin: SocialLogin) -> Mapping[str, Any]:
    """What the provider says of a person: of the user information, then of the token."""
    data = sociallogin.account.extra_data
    return {**(data.get("id_token") or {}), **(data.get("userinfo") or {})} if "userinfo" in data else data


def _groups(sociallogin: SocialLogin) -> set[str]:
    return admitted(claims(sociallogin), settings.OIDC_GROUPS_CLAIM, settings.OIDC_GROUPS, settings.OIDC_DOMAINS)


def _set_groups(user: Any, names: set[str]) -> None:
    """Put a person into these groups, and out of the others that the provider decides on."""
    user.groups.remove(*Group.objects.filter(name__in=set(GROUPS) - names))
    user.groups.add(*Group.objects.filter(name__in=names))


class Provider(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        """Where the provider sends the person back: a page of PUBLIC_URL, if that is set."""
        url = str(super().get_callback_url(request, app))
        return urljoin(settings.PUBLIC_URL, "/" + url.split("/", 3)[3]) if settings.PUBLIC_URL else url


class SecretsAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Encrypts what authenticator apps share with us, with a key derived from SECRET_KEY."""

    def encrypt(self, text: str) -> str:
        return _keys().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Empty, which fits no code, if SECRET_KEY was changed and the earlier one is not in SIGNING_KEY_FALLBACKS."""
        try:
            return _keys().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            logger.error("The secret of an authenticator app cannot be read: SECRET_KEY was changed. Remove the app.")
            return ""


def _keys() -> MultiFernet:
    keys = (settings.SECRET_KEY, *settings.SIGNING_KEY_FALLBACKS)
    digests = (hashlib.blake2b(key.encode(), digest_size=32, person=b"people.mfa").digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
