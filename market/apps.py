from django.apps import AppConfig
from django.db.models.signals import post_delete, post_save


class MarketConfig(AppConfig):
    name = "market"
    verbose_name = "Market anomalies"

    def ready(self) -> None:
        """Follow changes of symbol aliases in this process at once."""
        from market import aliases, models  # models exist only now

        for signal in (post_save, post_delete):
            signal.connect(aliases.changed, sender=models.SymbolAlias, dispatch_uid="symbol aliases")
