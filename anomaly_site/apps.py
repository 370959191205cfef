from django.apps import AppConfig
from django.core.checks import Tags, register


class AnomalySiteConfig(AppConfig):
    name = "anomaly_site"

    def ready(self) -> None:
        from anomaly_site.access.choice import check_choice

        register(check_choice, Tags.security)

        from anomaly_site.audit import connect

        connect()
