"""One cache for limits on signing in that all web processes share; every other limit belongs to its process."""

import logging
from typing import Any, Final

import msgspec
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

from anomaly_site.ws.log import SparseLog

_log: Final = SparseLog(logging.getLogger(__name__))
# Limits per process, which are asked at every request: django-rest-framework's throttles, but for that of signing in.
_LOCAL: Final = "throttle_"
_SHARED: Final = "throttle_sign-in"


class Json:
    """Django's own serializer is pickle: everybody who can write to the server could run code here."""

    def dumps(self, value: Any) -> bytes | int:
        return value if type(value) is int else msgspec.json.encode(value)

    def loads(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError:
            return None


class SignInCache(LocMemCache):
    """In memory; what limits signing in is on Redis or Valkey (`LOCATION`), and in memory while that is away."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__("sign-in", params)
        options = {**params.get("OPTIONS", {}), "serializer": Json}
        self._shared = RedisCache(server, {**params, "OPTIONS": options})

    def _on(self, method: str, key: str, *arguments: Any) -> Any:
        if not str(key).startswith(_LOCAL) or str(key).startswith(_SHARED):
            try:
                found = getattr(self._shared, method)(key, *arguments)
                _log.over("cache", "Limits on signing in are shared again")
                return found
            except (RedisError, OSError) as error:
                _log.warning(
                    "cache", "Limits on signing in are counted per process: CHANNEL_REDIS_URL does not answer (%s)",
                    type(error).__name__,
                )  # fmt: skip
        return getattr(super(), method)(key, *arguments)

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        return self._on("get", key, default, version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        self._on("set", key, value, timeout, version)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._on("add", key, value, timeout, version))

    def delete(self, key: Any, version: Any = None) -> bool:
        return bool(self._on("delete", key, version))
