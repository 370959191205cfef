from django.apps import AppConfig, apps
from django.contrib.admin import apps as admin_apps


class PeopleConfig(AppConfig):
    name = "anomaly_site.people"
    label = "people"
    default = True

    def ready(self) -> None:
        if not apps.is_installed("allauth"):
            return  # a role without pages
        from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider

        from anomaly_site.people.adapters import Provider

        OpenIDConnectProvider.oauth2_adapter_class = Provider


class ReviewAdminConfig(admin_apps.AdminConfig):
    """Django's admin, into which people sign in as everywhere else."""

    default = False
    default_site = "anomaly_site.people.site.ReviewSite"
