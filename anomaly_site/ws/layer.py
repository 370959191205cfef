"""The channel layer on Redis or Valkey, in a namespace of this installation.

Pub/sub ignores database numbers: without a prefix of its own, every installation on a server would get the batches of
the others. The prefix holds the installation's identity, which is kept in the database, so that all hosts have the
same one. CHANNEL_PREFIX replaces it.
"""

import asyncio
from functools import partial
from typing import Any, Final

from channels.db import database_sync_to_async
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer

from market.installation import installation_id

# The prefix of every installation of version 0.1. Its bridge may still run during an upgrade; the hub refuses what is
# of another installation.
OLD_PREFIX: Final = "anomalies"
_ANSWER_S: Final = 5.0
_METHODS: Final = frozenset(("new_channel", "send", "receive", "group_add", "group_discard", "group_send", "flush"))


class InstallationLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """`prefix`: empty for `anomalies.` and the identity, which is read on first use.

    Members of a group also get what is sent to it under `OLD_PREFIX`. The first use raises what the database raises,
    `TimeoutError` included.
    """

    def __init__(self, *args: Any, prefix: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prefix = prefix
        self._without_identity = RedisPubSubChannelLayer(*args, prefix=OLD_PREFIX, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _METHODS:
            return partial(self._call, name)
        if not self._prefix:
            raise AttributeError(name)
        return super().__getattr__(name)

    async def ask(self) -> None:
        """Return if the server answers, whether or not the database does. Raises what the server's client raises."""
        layer = self if self._prefix else self._without_identity
        await layer.group_send("status", {"type": "status"})  # this group has no members

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if not self._prefix:
            async with asyncio.timeout(_ANSWER_S):
                self._prefix = f"{OLD_PREFIX}.{await database_sync_to_async(installation_id)()}"
        self._kwargs["prefix"] = self._prefix
        layer = self._get_layer()
        if self._prefix != OLD_PREFIX and name in {"group_add", "group_discard"}:
            await self._follow_old_prefix(layer, *args, join=name == "group_add")
        return await getattr(layer, name)(*args, **kwargs)

    async def _follow_old_prefix(self, layer: RedisPubSubLoopLayer, group: str, channel: str, *, join: bool) -> None:
        """Join or leave a group as it was named in version 0.1."""
        name = f"{OLD_PREFIX}__group__{group}"
        shard, members = layer._get_shard(name), layer.groups.setdefault(name, set())
        if join:
            members.add(channel)
            await shard.subscribe(name)
        else:
            members.discard(channel)
            if not members:
                del layer.groups[name]
                await shard.unsubscribe(name)
