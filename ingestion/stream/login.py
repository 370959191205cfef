"""How this process connects to NATS: which login, over TLS or not, on which inbox.

    NATS_URL=nats://bridge:p%40ss@nats.example.org        a user and a password; or NATS_USER and NATS_PASSWORD
    NATS_URL=nats://one:4222,nats://two:4222              the servers of a cluster, which share one login
    NATS_NKEY=/etc/anomalies/bridge.nk                    a file with the seed of an nkey
    NATS_CREDENTIALS=/etc/anomalies/bridge.creds          a file with a JWT and its seed
    NATS_TOKEN=…                                          one token for everybody
    NATS_CA, NATS_CERT, NATS_CERT_KEY                     files for TLS; without them, `tls://` uses this machine's

A login in the address wins over those of the settings. The server of `manage.py up` has its own, in its address.
"""

import re
import ssl
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import nats.errors
import nkeys
from django.conf import settings
from nats.aio.client import Client

from ingestion.stream.address import is_own, servers, shown

INBOXES: Final = "_INBOX"
# What may stand in a subject; a user of another name uses the inboxes that every client uses.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


_OWN: Final = "The address of the server of `manage.py up`, with its token, is in DATA_DIR/nats.url."


class NatsUnavailable(Exception):
    """No NATS server answers; the text says at which address, and what to do."""


class NatsRefused(NatsUnavailable):
    """A server answers and refuses this process, or this process refuses it; trying again does not mend that."""


class TlsMissing(nats.errors.Error):
    """TLS was asked for and the server does not offer it: the login was not sent."""


class Connection(Client):
    """nats-py's client, but for two things.

    It takes a server's word that it needs no TLS, and would send the login in clear. And it ends for good when a server
    ends the login of a user whose password or permissions were changed; this one connects again.
    """

    async def _process_err(self, err_msg: str) -> None:
        if self.is_connected and ("authorization" in err_msg.lower() or "authentication" in err_msg.lower()):
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))
        else:
            await super()._process_err(err_msg)

    def _connect_command(self) -> bytes:
        if "tls" in self.options and not self._server_info.get("tls_required") and self._is_plain():
            raise TlsMissing("the server does not use TLS")
        return bytes(super()._connect_command())

    def _is_plain(self) -> bool:
        return self._current_server is None or self._current_server.uri.scheme not in {"ws", "wss"}


class Address(NamedTuple):
    """An address taken apart: its server, or those of a cluster. Without a password, `user` is a token."""

    server: str
    user: str = ""
    password: str = ""


def address(url: str) -> Address:
    """What stands before the last `@` is the login, percent-encoded or as it is; a user's name ends at the first `:`.

    >>> address("nats://ann:p%40ss/w@10.0.0.5:4222")
    Address(server='nats://10.0.0.5:4222', user='ann', password='p@ss/w')
    >>> address("nats://ann:secret@one:4222,nats://two:4222")
    Address(server='nats://one:4222,nats://two:4222', user='ann', password='secret')
    """
    if len(urls := servers(url)) > 1:
        each = [address(one_of_them) for one_of_them in urls]
        first = next((found for found in each if found.user), each[0])
        return first._replace(server=",".join(found.server for found in each))
    scheme, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    login, at, host = rest.rpartition("@")
    user, _, password = login.partition(":") if at else ("", "", "")
    return Address(f"{scheme}{slashes}{host}", unquote(user), unquote(password))


def options(url: str) -> dict[str, Any]:
    """What `Client.connect` needs to connect to `url`. Raises `NatsRefused` for files that cannot be used."""
    server, user, password = address(url)
    found: dict[str, Any] = {"servers": servers(server)}
    if is_own(url):
        return found | {"token": user}
    if context := _tls(server):
        found["tls"] = context
    if password:
        return found | {"user": user, "password": password} | _inboxes(user)
    if user:
        return found | {"token": user}
    if settings.NATS_USER:
        return found | {"user": settings.NATS_USER, "password": settings.NATS_PASSWORD} | _inboxes(settings.NATS_USER)
    if settings.NATS_NKEY:
        return found | {"nkeys_seed": settings.NATS_NKEY} | _inboxes(public_key("NATS_NKEY", settings.NATS_NKEY))
    if settings.NATS_CREDENTIALS:
        _check_credentials(settings.NATS_CREDENTIALS)
        return found | {"user_credentials": settings.NATS_CREDENTIALS}
    return found | ({"token": settings.NATS_TOKEN} if settings.NATS_TOKEN else {})


def _inboxes(user: str) -> dict[str, str]:
    """Inboxes of this user alone, so that a server need not let its users read each other's answers."""
    return {"inbox_prefix": f"{INBOXES}.{user}"} if _TOKEN.fullmatch(user) else {}


def public_key(name: str, path: str) -> str:
    """The public key of the seed in this file; `name` is the setting. Raises `NatsRefused`."""
    try:
        return str(nkeys.from_seed(bytearray(_read(name, path).strip().encode())).public_key.decode())
    except (nkeys.NkeysError, ValueError, IndexError, TypeError):
        raise NatsRefused(
            f"{name}={path} is not the seed of an nkey: expected one line that begins with SU. "
            "`manage.py nats_config` writes such files."
        ) from None


def _check_credentials(path: str) -> None:
    text = _read("NATS_CREDENTIALS", path)
    if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
        raise NatsRefused(
            f"NATS_CREDENTIALS={path} is not a credentials file: expected the sections NATS USER JWT and USER NKEY "
            "SEED, as `nsc generate creds` writes them. For a seed alone, set NATS_NKEY."
        )


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NatsRefused(f"{name}={path} cannot be read: {getattr(error, 'strerror', '') or 'not text'}.") from None


def _tls(server: str) -> ssl.SSLContext | None:
    if not (server.startswith("tls://") or settings.NATS_CA or settings.NATS_CERT):
        return None
    name, path = "NATS_CA", settings.NATS_CA
    try:
        context = ssl.create_default_context(cafile=settings.NATS_CA or None)
        if settings.NATS_CERT:
            name, path = "NATS_CERT", settings.NATS_CERT
            # Never ask on the terminal for the password of a key.
            context.load_cert_chain(settings.NATS_CERT, settings.NATS_CERT_KEY or None, password=lambda: b"")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "strerror", "") or "not a PEM file"
        raise NatsRefused(f"{name}={path} cannot be used: {reason}.") from None
    return context


def refusal(error: BaseException, url: str) -> NatsRefused | None:
    """What this error of connecting says for good; None if it may end, as when no server runs."""
    place = shown(url)
    if isinstance(error, TlsMissing):
        return NatsRefused(
            f"NATS at {place} does not use TLS, so nothing was sent there. Set up TLS on that server, or connect "
            "without it: nats:// instead of tls://, no NATS_CA and no NATS_CERT."
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return NatsRefused(
            f"NATS at {place} has a certificate that cannot be trusted ({error.verify_message}). Set NATS_CA to the "
            "certificate of its authority, and use a host name that its certificate has."
        )
    if isinstance(error, ssl.SSLError):
        said = (error.reason or "no reason given").lower().replace("_", " ")
        return NatsRefused(
            f"NATS at {place} refused the TLS connection ({said}). If it asks for a client certificate, set NATS_CERT "
            "and NATS_CERT_KEY."
        )
    text = str(error).strip()
    if not (isinstance(error, nats.errors.Error) and text.lower().startswith("nats: '")):
        return None
    said = text[6:].strip("'").lower()
    if "authorization" in said or "authentication" in said:
        return NatsRefused(f"NATS at {place} refused the login ({said}): {_what_was_sent(url)}")
    if "secure connection" in said or "tls" in said:
        return NatsRefused(f"NATS at {place} refused the connection ({said}). Set NATS_CA, or use tls:// in NATS_URL.")
    return NatsRefused(f"NATS at {place} refused the connection: {said}.")


def _what_was_sent(url: str) -> str:
    """Which login that was, and what to do. Never the secret."""
    _, user, password = address(url)
    if is_own(url) or (user and not password):
        return f"its token is wrong. {_OWN}"
    if password:
        return f"the user {user!r} of the address, or the password. Encode % as %25 there."
    for name, what in (
        ("NATS_USER", f"NATS_USER={settings.NATS_USER} or NATS_PASSWORD is wrong"),
        ("NATS_NKEY", f"it does not know the nkey in NATS_NKEY={settings.NATS_NKEY}"),
        ("NATS_CREDENTIALS", f"it does not accept NATS_CREDENTIALS={settings.NATS_CREDENTIALS}"),
        ("NATS_TOKEN", "NATS_TOKEN is wrong"),
    ):
        if getattr(settings, name):
            return f"{what}. Set what that server expects."
    return (
        "none was given. Set NATS_USER and NATS_PASSWORD, NATS_NKEY, NATS_CREDENTIALS or NATS_TOKEN to what that "
        f"server expects. {_OWN}"
    )
