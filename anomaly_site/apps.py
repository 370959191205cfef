from django.apps import AppConfig


class AnomalySiteConfig(AppConfig):
    name = "anomaly_site"
