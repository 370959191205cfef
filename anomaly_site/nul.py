"""No NUL character gets past this: PostgreSQL stores none, and fails at every question that has one."""

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class NulMiddleware(MiddlewareMixin):
    """Nothing has an address with a NUL character; 400 for one in a cookie, or in a parameter of the admin.

    The API's own filters refuse it in its parameters, and forms and serializers in bodies.
    """

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        if "\0" in request.path:
            raise Http404
        cookies = "\\" in request.META.get("HTTP_COOKIE", "") and any(
            "\0" in value for value in request.COOKIES.values()
        )
        asked = request.path.startswith("/admin/") and "%00" in request.META.get("QUERY_STRING", "")
        if asked or cookies:
            return HttpResponse(
                "The request has a NUL character in its parameters or its cookies.\n",
                status=400,
                content_type="text/plain",
            )
        return None
