"""Compression of answers that are not static files."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers


class CompressionMiddleware(GZipMiddleware):
    """Django's, but for streamed answers: it would compress these in the event loop. They compress themselves.

    Pages with a CSRF token are safe from BREACH: the token is masked anew each time, and the length is padded. No other
    answer has a secret beside text from the request.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.streaming:
            return response
        answer = super().process_response(request, response)
        patch_vary_headers(answer, ("Accept-Encoding",))  # of a 304, too
        return answer
