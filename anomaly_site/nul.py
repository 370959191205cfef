"""No NUL character gets past this: PostgreSQL stores none, and fails at every question that has one."""

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class NulMiddleware(MiddlewareMixin):
    """400 for a NUL character in the path, a parameter or a cookie. Bodies are checked by forms and serializers."""

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        cookies = "\\" in request.META.get("HTTP_COOKIE", "") and any(
            "\0" in value for value in request.COOKIES.values()
        )
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", "") or cookies:
            return HttpResponse(
                "The request has a NUL character in its address or its cookies.\n",
                status=400,
                content_type="text/plain",
            )
        return None
