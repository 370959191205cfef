from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.views.generic import TemplateView

from alerts.models import Alert
from market.pages import may_review

# Nothing inline and nothing from elsewhere: an injected script has nowhere to come from. The panel's alert server is a
# setting of its user, so connections may go anywhere.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class Live(TemplateView):
    """The page that mounts the panel. Static but for who is signed in: all it shows comes from the API and `/ws`."""

    template_name = "frontend/index.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        if user.is_authenticated:
            kwargs["signed_in"] = user.get_username()
        if may_review(self.request, Alert):
            get_token(self.request)  # sees to it that the browser has the cookie that the panel sends back
            kwargs["reviewer"] = user.get_username()
        return super().get_context_data(**kwargs)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response
