"""Other services, through apprise: those of an allow-list. It neither changes messages nor says how long to wait.

It is imported with the first message: 50 MB and half a second, which only they need who use it.
"""

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ingestion.delivery.http import Refused, is_listed
from ingestion.delivery.services import PICTURE, Outcome, Parcel

# Their hosts are the service's own, whatever the address says.
FIXED: Final = frozenset(("slack", "pover", "pbul", "pagerduty", "opsgenie", "wxteams", "gchat", "threema", "join"))
# Their host is in the address: the operator lists it.
HOSTED: Final = frozenset(
    (
        "mailto",
        "mailtos",
        "ntfy",
        "ntfys",
        "matrix",
        "matrixs",
        "gotify",
        "gotifys",
        "mmost",
        "mmosts",
        "rocket",
        "rockets",
    )
)
# Parameters of apprise that only say to whom and how it looks. Others name another host, a file, a key to fetch, or a
# behaviour that is decided here.
_PARAMETERS: Final = frozenset(
    (
        "action", "alias", "auth", "bcc", "blocks", "botname", "cc", "channel", "channels", "class", "component",
        "email", "emojis", "entity", "expire", "footer", "format", "from", "group", "gwid", "hsreq", "image",
        "interval", "key", "mode", "msgtype", "name", "path", "priority", "region", "reply", "secret", "severity",
        "smtp", "sound", "source", "tags", "team", "thread", "timestamp", "to", "token", "tz", "version", "webhook",
        "workspace", "xtags",
    )
)  # fmt: skip
_TIMEOUT_S: Final = 12.0
# apprise blocks a thread for each message. Its own pool and that of the loop have a few: six dead services would delay
# all others.
_threads: Final = ThreadPoolExecutor(max_workers=64, thread_name_prefix="apprise")


def check(url: str) -> None:
    """Raises `Refused` for an address of a service that is not on the list, or of a host that the operator has not
    listed."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"The address cannot be read: {error}.") from None
    query = {name.lower(): values for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    schema = parts.scheme.lower()
    if schema not in FIXED | HOSTED:
        known = ", ".join(sorted(FIXED | HOSTED))
        raise Refused(f"{schema or 'An address without a service'}:// is not delivered to. Expected one of {known}.")
    if named := sorted(query.keys() - _PARAMETERS):
        raise Refused(f"The parameter {named[0]} is refused in the address; leave it out.")
    if schema in ("ntfy", "ntfys") and not parts.path.strip("/") and port is None and not query.keys() & {"to", "mode"}:
        return  # a topic of ntfy.sh
    hosts = [(host, port), *((each, None) for each in query.get("smtp", ()))] if schema in HOSTED else []
    for each, of in hosts:
        if not is_listed(each, of):
            raise Refused(f"The operator must list {each} in DELIVERY_HOSTS before {schema}:// may send to it.")


class Apprise:
    def __init__(self, url: str) -> None:
        check(url)
        self._url = url

    async def send(self, parcel: Parcel) -> Outcome:
        link = f"Acknowledge: {parcel.acknowledge_url}" if parcel.acknowledge_url else ""
        text = "\n".join(filter(None, (parcel.body, parcel.url, link)))
        async with asyncio.timeout(_TIMEOUT_S):
            sent = await asyncio.get_running_loop().run_in_executor(
                _threads, self._notify, parcel.title, text, parcel.picture
            )
        if sent:
            return Outcome(sent=True)
        return Outcome(sent=False, error="the service did not accept it; apprise does not say why")

    @staticmethod
    def _attached(picture: bytes) -> Any:
        """Services that take no files get the text alone."""
        from apprise.attachment import memory

        made: Any = memory.AttachMemory
        return made(content=picture, name=PICTURE, mimetype="image/png")

    def _notify(self, title: str, text: str, picture: bytes) -> bool:
        """Some services also talk to their server when they are deleted: all of it happens here, in one thread."""
        import apprise

        logging.getLogger("apprise").disabled = True  # it logs recipients and topics
        asset = apprise.AppriseAsset(http_redirects=False, app_id="Anomalies", async_mode=False, service_timeout=0)
        loaded = apprise.Apprise(asset=asset)
        with contextlib.suppress(TypeError):
            if loaded.add(self._url):
                attached = self._attached(picture) if picture else None
                return bool(loaded.notify(title=title, body=text, body_format="text", attach=attached))
        raise Refused("The address lacks something that the service needs, or has too much.")
