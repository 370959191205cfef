"""Checks of this machine: configuration, versions, packages, disk, modes of files, certificates, proxies."""

import json
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import django
from cryptography import x509
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.db import connection
from packaging.requirements import Requirement

from anomaly_site import __version__
from anomaly_site.access.choice import exposures, is_local, refusal
from anomaly_site.keeping.doctor import Finding, note, ok, wrong
from market import files

_GIGABYTE: Final = 2**30
# A disk with less than both free is a problem: part of its size, and bytes.
_FREE_PART: Final = 0.05
_FREE: Final = 2 * _GIGABYTE
_FULL_WITHIN_DAYS: Final = 14
_MEASURED: Final = "doctor.json"
# A rate is measured over at least so long.
_RATE_OVER_S: Final = 3_600
_EXPIRES_SOON: Final = timedelta(days=21)
# Name, version and the condition under which it is needed.
_PINNED: Final = re.compile(r"^[A-Za-z0-9][^\\\n#]*", re.MULTILINE)
_DO_INSTALL: Final = "Run `make install`, or `pip install -r requirements.txt`."


def configuration() -> Iterator[Finding]:
    found = [message for message in run_checks() if not message.is_silenced()]
    for message in found:
        do = str(message.hint or "See docs/operations.md.")
        yield (wrong if message.level >= ERROR else note)("configuration", str(message.msg), do)
    if exposed := exposures():
        yield wrong("configuration", *refusal(exposed).split(" Choose one:", 1))
    if settings.DEBUG:
        yield wrong("configuration", "DEBUG is on: error pages show settings and code.", "Remove DEBUG.")
    if not found and not settings.DEBUG:
        yield ok("configuration", f"DATA_DIR is {settings.DATA_DIR}; the settings are valid.")


def versions() -> Iterator[Finding]:
    said = f"{__version__} on Python {platform.python_version()} and Django {django.get_version()}"
    yield ok("versions", f"{said}.")


def packages() -> Iterator[Finding]:
    """Installed packages against those that this version was tested with."""
    try:
        text = (settings.BASE_DIR / "requirements.txt").read_text()
    except FileNotFoundError:
        yield note("packages", "There is no requirements.txt beside the code, so versions were not compared.")
        return
    needed = [each for each in map(Requirement, _PINNED.findall(text)) if not each.marker or each.marker.evaluate()]
    others, absent = [], []
    for each in needed:
        try:
            if not each.specifier.contains(found := version(each.name), prereleases=True):
                others.append(f"{each.name} {found} instead of {str(each.specifier).removeprefix('==')}")
        except PackageNotFoundError:
            absent.append(each.name)
    if absent:
        yield wrong("packages", f"Not installed: {', '.join(absent)}.", _DO_INSTALL)
    if others:
        yield note("packages", f"Other versions than tested: {', '.join(others)}.", _DO_INSTALL)
    if not absent and not others:
        yield ok("packages", f"All {len(needed)} have the versions that were tested.")


def disk() -> Iterator[Finding]:
    folders = {settings.DATA_DIR}
    if connection.vendor == "sqlite":
        folders.add(Path(str(connection.settings_dict["NAME"])).parent)
    disks = {folder.stat().st_dev: folder for folder in sorted(folders) if folder.is_dir()}
    rates = _rates({str(folder): shutil.disk_usage(folder).used for folder in disks.values()}, time.time())
    for folder in disks.values():
        usage = shutil.disk_usage(folder)
        said = f"{folder}: {usage.free / _GIGABYTE:,.1f} of {usage.total / _GIGABYTE:,.0f} GiB are free"
        do = "Make room, or run `manage.py prune` (docs/operations.md, “How much it keeps”)."
        rate = rates.get(str(folder), 0.0)
        days = usage.free / rate / 86_400 if rate > 0 else float("inf")
        if rate:
            said += f", {abs(rate) * 3_600 / 1e6:,.0f} MB an hour {'less' if rate > 0 else 'more'}"
        if usage.free < min(_FREE, _FREE_PART * usage.total):
            yield wrong("disk", f"{said}.", do)
        elif days < _FULL_WITHIN_DAYS:
            yield wrong("disk", f"{said}: full in {days:.0f} days.", do)
        else:
            yield ok("disk", f"{said}.")


def _rates(used: dict[str, int], now_s: float) -> dict[str, float]:
    """Bytes per second since an earlier run; empty before there was one. Remembers this run in DATA_DIR."""
    path = settings.DATA_DIR / _MEASURED
    before: dict[str, float] = {}
    at = 0.0
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text())
        at, before = float(kept["at"]), {str(name): float(value) for name, value in kept["used"].items()}
    elapsed_s = now_s - at
    if before and 0 <= elapsed_s < _RATE_OVER_S:
        return {}
    with suppress(OSError), files.replacing(path, files.PRIVATE) as file:
        file.write(json.dumps({"at": now_s, "used": used}).encode())
    return {name: (used[name] - before[name]) / elapsed_s for name in used if name in before and elapsed_s > 0}


def modes() -> Iterator[Finding]:
    """Secrets that other users of the machine can read."""
    if os.name != "posix":
        return
    private = [settings.DATA_DIR, *(settings.DATA_DIR / name for name in ("secret_key", "nats.token", "nats.url"))]
    private += [Path(name) for name in (settings.NATS_NKEY, settings.NATS_CREDENTIALS, settings.NATS_CERT_KEY) if name]
    private.append(settings.BASE_DIR / ".env")
    if connection.vendor == "sqlite":
        private.append(Path(str(connection.settings_dict["NAME"])))
    open_ = []
    for path in private:
        with suppress(OSError):
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                open_.append(path)
    for path in open_:
        yield wrong(
            "file modes",
            f"Other users of this machine may open {path}.",
            f"Run `chmod {'700' if path.is_dir() else '600'} {path}`, or see that its group is meant to.",
        )
    if not os.access(settings.DATA_DIR, os.W_OK):
        yield wrong(
            "file modes", f"This user may not write to {settings.DATA_DIR}.", "Set DATA_DIR, or change its owner."
        )
    elif not open_:
        yield ok("file modes", "Secrets and data are readable by this user only.")


def certificates() -> Iterator[Finding]:
    """When the certificates end that settings name."""
    named = {"NATS_CA": settings.NATS_CA, "NATS_CERT": settings.NATS_CERT}
    for setting, parameter in (("CHANNEL_REDIS_URL", "ssl_ca_certs"), ("DATABASE_URL", "sslrootcert")):
        address = settings.CHANNEL_REDIS_URL if setting == "CHANNEL_REDIS_URL" else os.environ.get(setting, "")
        named[f"{parameter} of {setting}"] = parse_qs(urlsplit(address).query).get(parameter, [""])[0]
    for name, path in named.items():
        if path:
            yield _certificate(name, Path(path))


def _certificate(name: str, path: Path) -> Finding:
    try:
        ends = min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        return wrong("certificates", f"{path} ({name}) cannot be read: {error}.", "Name a file in PEM format.")
    left = ends - datetime.now(UTC)
    said = f"{path} ({name}) {'ends' if left > timedelta() else 'ended'} on {ends:%Y-%m-%d}"
    if left < _EXPIRES_SOON:
        return wrong("certificates", f"{said}.", "Put a new one in its place, then restart.")
    return ok("certificates", f"{said}, in {left.days:,} days.")


def proxies() -> Iterator[Finding]:
    allowed = [name for name in settings.ALLOWED_HOSTS if not is_local(name)]
    if settings.BEHIND_TLS_PROXY and not allowed:
        yield wrong(
            "proxy",
            "BEHIND_TLS_PROXY is on, and ALLOWED_HOSTS has no name by which others reach this site: they get 400.",
            "Set ALLOWED_HOSTS=alerts.example.org.",
        )
    if settings.PUBLIC_URL:
        host = urlsplit(settings.PUBLIC_URL).hostname or ""
        if not any(host == name or name == "*" or (name[:1] == "." and host.endswith(name)) for name in allowed):
            yield wrong("proxy", f"PUBLIC_URL has the host {host}, which ALLOWED_HOSTS lacks.", f"Add {host} to it.")
        if settings.PUBLIC_URL.startswith("https:") and not settings.BEHIND_TLS_PROXY:
            yield wrong(
                "proxy",
                "PUBLIC_URL is https, and BEHIND_TLS_PROXY is off: cookies are not marked secure.",
                "Set BEHIND_TLS_PROXY=true if the proxy overwrites X-Forwarded-Proto.",
            )
    if wide := [network for network in settings.TRUSTED_PROXIES if network in ("0.0.0.0/0", "::/0")]:
        yield wrong(
            "proxy",
            f"TRUSTED_PROXIES has {', '.join(wide)}: every client may say which address it has, and escape limits.",
            "Name the addresses of the proxies.",
        )
