"""Addresses below /accounts/: django-allauth's, without those that need mail or let anybody sign up."""

from django.urls import include, path, re_path

from anomaly_site.people.views import closed, first_admin, sso_callback, sso_login

urlpatterns = [
    path("first/<str:link>/", first_admin, name="first-admin"),
    # Reversed by django-allauth under its own names.
    path("oidc/<str:provider_id>/login/", sso_login),
    path("oidc/<str:provider_id>/login/callback/", sso_callback),
    re_path(
        r"^(?:signup|email|confirm-email|password/reset|password/set|login/code|reauthenticate/code|social|3rdparty"
        r"|2fa/webauthn/signup)(?:/.*)?$",
        closed,
    ),
    path("", include("allauth.urls")),
]
