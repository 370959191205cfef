"""No NUL character gets past this: PostgreSQL stores none, and fails at every question that has one."""

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.deprecation import MiddlewareMixin


class NulMiddleware(MiddlewareMixin):
    """400 for a NUL character in a cookie, and in an address of the admin, which takes any look-up and any id.

    Addresses of the API are checked by its routes and filters, and bodies by forms and serializers.
    """

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        cookies = "\\" in request.META.get("HTTP_COOKIE", "") and any(
            "\0" in value for value in request.COOKIES.values()
        )
        asked = "\0" in request.path or "%00" in request.META.get("QUERY_STRING", "")
        if cookies or (asked and request.path.startswith("/admin/")):
            said = "The request has a NUL character in its address or its cookies."
            return JsonResponse({"detail": said}, status=400)
        return None
