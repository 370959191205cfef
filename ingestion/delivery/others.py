"""Other services, through apprise: those of an allow-list. It neither changes messages nor says how long to wait.

It is imported with the first message: 50 MB and half a second, which only they need who use it.
"""

import contextlib
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
# Parameters of apprise that name another host, a file, or a behaviour that is decided here.
_REFUSED: Final = frozenset(
    ("redirect", "retry", "wait", "proxy", "attach", "template", "verify", "rto", "cto", "avatar")
)
_TIMEOUT_S: Final = 12.0


def check(url: str) -> None:
    """Raises `Refused` for an address of a service that is not on the list, or of a host that the operator has not
    listed."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"The address cannot be read: {error}.") from None
    schema, query = parts.scheme.lower(), parse_qs(parts.query)
    if schema not in FIXED | HOSTED:
        known = ", ".join(sorted(FIXED | HOSTED))
        raise Refused(f"{schema or 'An address without a service'}:// is not delivered to. Expected one of {known}.")
    if named := sorted(_REFUSED & {name.lstrip("+-:").lower() for name in query}):
        raise Refused(f"The parameter {named[0]} is refused in the address; leave it out.")
    if schema in ("ntfy", "ntfys") and not parts.path.strip("/"):
        return  # a topic of ntfy.sh
    hosts = [(host, port), *((each, None) for each in query.get("smtp", ()))] if schema in HOSTED else []
    for each, of in hosts:
        if not is_listed(each, of):
            raise Refused(f"The operator must list {each} in DELIVERY_HOSTS before {schema}:// may send to it.")


class Apprise:
    def __init__(self, url: str) -> None:
        check(url)
        self._url = url
        self._loaded: Any = None

    async def send(self, parcel: Parcel) -> Outcome:
        loaded = self._loaded = self._loaded or self._load()
        link = f"Acknowledge: {parcel.acknowledge_url}" if parcel.acknowledge_url else ""
        text = "\n".join(filter(None, (parcel.body, parcel.url, link)))
        attached = self._attached(parcel.picture) if parcel.picture else None
        result = await loaded.async_notify(
            title=parcel.title, body=text, body_format="text", attach=attached, timeout=_TIMEOUT_S
        )
        if result:
            return Outcome(sent=True)
        return Outcome(sent=False, error="the service did not accept it; apprise does not say why")

    @staticmethod
    def _attached(picture: bytes) -> Any:
        """Services that take no files get the text alone."""
        from apprise.attachment import memory

        made: Any = memory.AttachMemory
        return made(content=picture, name=PICTURE, mimetype="image/png")

    def _load(self) -> Any:
        import apprise

        loaded = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False, app_id="Anomalies"))
        with contextlib.suppress(TypeError):
            if loaded.add(self._url):
                return loaded
        raise Refused("The address lacks something that the service needs, or has too much.")
