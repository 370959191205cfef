"""The saved analysis in NATS' object store, for a process on another host to continue from.

Two versions are kept, under two names; a new one replaces the older of them. So one is whole whenever a process is
killed. NATS verifies a digest, and the file its own checksum.
"""

import asyncio
import ipaddress
import logging
from io import BufferedIOBase
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from django.conf import settings
from nats.aio.client import Client
from nats.js.api import ObjectInfo, ObjectMeta, ObjectStoreConfig
from nats.js.object_store import ObjectStore

from ingestion.stream.address import is_own, servers, shown
from ingestion.stream.incarnation import Position
from ingestion.stream.nats import TRANSIENT
from market import files

logger = logging.getLogger(__name__)

BUCKET: Final = "ANALYSIS"
_STREAM: Final = f"OBJ_{BUCKET}"
_CHUNKS: Final = f"$O.{BUCKET}.C."
_NAMES: Final = ("analysis.0", "analysis.1")
# Room for three versions of the largest state.
_MOST_BYTES: Final = 2**30
_LOOK_S: Final = 3.0
# Reading what is deleted meanwhile never ends by itself.
_GET_S: Final = 20.0
_PUT_S: Final = 60.0
ERRORS: Final = (*TRANSIENT, nats.errors.Error, nats.js.errors.Error)


def is_shared() -> bool:
    """Whether the state is kept in NATS as well: `ANALYSIS_STATE`, by default if NATS is on another machine."""
    if settings.ANALYSIS_STATE != "auto":
        return bool(settings.ANALYSIS_STATE == "nats")
    url = settings.NATS_URL
    return bool(url) and not is_own(url) and not all(_is_loopback(one) for one in servers(url))


def _is_loopback(url: str) -> bool:
    address = shown(url)
    try:
        host = urlsplit(address if "://" in address else f"nats://{address}").hostname or ""
        return host in {"localhost", ""} or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SharedState:
    """The versions in the store. `path` is the file of this process, which is put there and replaced from there."""

    def __init__(self, client: Client, path: Path) -> None:
        self._client = client
        self._path = path

    async def get(self) -> list[Path]:
        """Files of the versions, the newest first, beside `path`; the caller deletes them. Empty without any."""
        found = []
        try:
            async with asyncio.timeout(_LOOK_S):
                store = await self._client.jetstream(timeout=_LOOK_S).object_store(BUCKET)
                infos = await _infos(store)
        except nats.js.errors.NotFoundError:
            return []
        except (*ERRORS, TimeoutError) as error:
            logger.warning("The saved analysis in NATS cannot be read (%s)", str(error) or type(error).__name__)
            return []
        for info in sorted(infos.values(), key=_position, reverse=True):
            path = files.beside(self._path.with_name(str(info.name)))
            try:
                with files.writing(path, files.PRIVATE) as file:
                    async with asyncio.timeout(_GET_S):
                        await store.get(str(info.name), writeinto=cast(BufferedIOBase, file))
            except (*ERRORS, TimeoutError, OSError) as error:
                logger.warning("%s of the saved analysis in NATS cannot be read (%s)", info.name, _text(error))
            else:
                found.append(path)
        return found

    async def put(self, position: Position) -> bool:
        """Put the file there as the newest version, in place of the older one. Raises nothing; False if it failed."""
        try:
            async with asyncio.timeout(_PUT_S):
                store = await self._opened()
                infos = await _infos(store)
                await self._collect({str(info.nuid) for info in infos.values()})
                oldest = min(_NAMES, key=lambda name: _position(infos[name]) if name in infos else (-1, -1))
                meta = ObjectMeta(name=oldest, description=f"{position.epoch}:{position.offset}")
                with self._path.open("rb") as file:
                    await store.put(oldest, file, meta)
        except (*ERRORS, TimeoutError, OSError) as error:
            logger.warning(
                "The analysis could not be saved in NATS (%s); a process on another host would continue from an "
                "older state",
                _text(error),
            )
            return False
        return True

    async def _opened(self) -> ObjectStore:
        stream = self._client.jetstream()
        try:
            return await stream.object_store(BUCKET)
        except nats.js.errors.BucketNotFoundError:
            config = ObjectStoreConfig(max_bytes=_MOST_BYTES, replicas=settings.NATS_REPLICAS)
            return await stream.create_object_store(BUCKET, config)

    async def _collect(self, used: set[str]) -> None:
        """Delete what a process that was killed half-way left."""
        stream = self._client.jetstream()
        info = await stream.stream_info(_STREAM, subjects_filter=f"{_CHUNKS}>")
        for subject in info.state.subjects or ():
            if subject.removeprefix(_CHUNKS) not in used:
                await stream.purge_stream(_STREAM, subject=subject)


async def _infos(store: ObjectStore) -> dict[str, ObjectInfo]:
    found = {}
    for name in _NAMES:
        try:
            found[name] = await store.get_info(name)
        except nats.js.errors.NotFoundError:
            continue
    return found


def _position(info: ObjectInfo) -> tuple[int, int]:
    """Of a version: (epoch, offset)."""
    epoch, _, offset = (info.description or "").partition(":")
    return (int(epoch), int(offset)) if epoch.isdecimal() and offset.isdecimal() else (0, 0)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
