from django.urls import path
from django.views.generic import RedirectView

from frontend.views import Live

urlpatterns = [
    path("", Live.as_view(), name="live"),
    # Browsers ask for it by this name on pages that do not say otherwise: the admin, the API.
    path("favicon.ico", RedirectView.as_view(url="/static/frontend/icon.svg")),
]
