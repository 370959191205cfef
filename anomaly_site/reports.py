"""The page of an error, which `DEBUG=true` shows to everyone."""

from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter

from market.printable import without_credentials


class Reporter(ExceptionReporter):
    """Leaves out the credentials in addresses too, as in `NATS_URL` and `CHANNEL_REDIS_URL`, wherever they are shown.

    Django hides settings whose names tell that they are secret; those of addresses, local variables and the words of
    an error do not.
    """

    def get_traceback_html(self) -> SafeString:
        return SafeString(without_credentials(super().get_traceback_html()))

    def get_traceback_text(self) -> SafeString:
        return SafeString(without_credentials(super().get_traceback_text()))
