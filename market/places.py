"""How many lists one process reads from the database at a time: each takes a thread, a connection and the disk."""

import threading
import time
from collections import Counter
from typing import Any, Final

from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView

# Lists at a time in one web process, and of one client: a browser asks for six things at once.
MOST_LISTS: Final = 12
MOST_OF_CLIENT: Final = 6
# A request waits for a place this long: most lists take a few milliseconds.
WAIT_S: Final = 2.0
_RETRY_S: Final = 2


class TooManyLists(APIException):
    """With `Retry-After`: 429 if the client asks for too much at a time, 503 if all clients do."""

    default_code = "throttled"
    wait = _RETRY_S

    def __init__(self, detail: str, status_code: int) -> None:
        super().__init__(detail)
        self.status_code = status_code


class Places:
    """Who reads a list now. Thread-safe."""

    def __init__(self, most: int = MOST_LISTS, of_client: int = MOST_OF_CLIENT, wait_s: float = WAIT_S) -> None:
        self._most, self._of_client, self._wait_s = most, of_client, wait_s
        self._used: Counter[str] = Counter()
        self._freed = threading.Condition()

    def take(self, client: str) -> None:
        """Wait for a place. Raises `TooManyLists` if there is none in time."""
        ends_at = time.monotonic() + self._wait_s
        with self._freed:
            while self._used[client] >= self._of_client or self._used.total() >= self._most:
                if self._freed.wait(ends_at - time.monotonic()) or time.monotonic() < ends_at:
                    continue
                if self._used[client] >= self._of_client:
                    raise TooManyLists(
                        f"{self._of_client} lists for your address are being read, which is the most: wait for them.",
                        429,
                    )
                raise TooManyLists("The server reads as many lists as it may at a time: try again.", 503)
            self._used[client] += 1

    def release(self, client: str) -> None:
        with self._freed:
            self._used[client] -= 1
            self._used += Counter()  # forgets clients without any
            self._freed.notify_all()

    def __len__(self) -> int:
        with self._freed:
            return self._used.total()


PLACES: Final = Places()


class TakesPlace(APIView):
    """A view that reads a list: it has a place until its answer is rendered."""

    _client: str | None = None

    def initial(self, request: Request, *args: Any, **options: Any) -> None:
        super().initial(request, *args, **options)
        client = AnonRateThrottle().get_ident(request)
        PLACES.take(client)
        self._client = client

    def dispatch(self, request: Any, *args: Any, **options: Any) -> Any:
        try:
            response = super().dispatch(request, *args, **options)
            # A page asks for more while it is rendered, which would otherwise be after this method.
            return response.render() if isinstance(response, Response) else response
        finally:
            if self._client is not None:
                PLACES.release(self._client)
