"""The admin: who may enter it, and how."""

from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

# Groups whose members enter the admin without being staff. What they may do there are the group's permissions.
ENTERING: Final = ("reviewer", "operator")


class ReviewSite(AdminSite):
    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        if not user.is_active:
            return False
        return bool(user.is_staff or (user.is_authenticated and user.groups.filter(name__in=ENTERING).exists()))

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The page where everybody signs in. A form that scripts send here with a name and a password works, too."""
        wanted = request.POST.get("next") or request.GET.get("next") or reverse("admin:index")
        if not url_has_allowed_host_and_scheme(wanted, {request.get_host()}):
            wanted = reverse("admin:index")
        if request.user.is_authenticated:
            if not self.has_permission(request):
                raise PermissionDenied
            return HttpResponseRedirect(wanted)
        if request.method != "POST":
            return HttpResponseRedirect(f"{reverse('account_login')}?{urlencode({'next': wanted})}")
        form = request.POST.copy()
        form["login"], form["next"] = form.get("username", ""), wanted
        request.POST = form  # type: ignore[assignment]
        return _sign_in(request)


def _sign_in(request: HttpRequest) -> HttpResponse:
    from allauth.account.views import login

    answer: HttpResponse = login(request)
    return answer
