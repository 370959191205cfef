"""Settings: every choice an operator has is an environment variable (or a line in `.env`) read here.

Defaults are safe on a public network and work on a fresh machine: SQLite and NATS data under `var/`, everything on
loopback. README has the table of variables; a test fails when one is missing there.
"""

import re
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from environs import Env

from anomaly_site import __version__, privacy
from anomaly_site.logs import but_probes
from anomaly_site.origins import origin_patterns
from anomaly_site.people.oidc import PROVIDER_ID, refused_settings
from anomaly_site.proxies import networks
from market import files
from market.printable import is_unencoded
from market.wire.methods import list_methods

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
env.read_env(str(BASE_DIR / ".env"))

# --- Where data is kept -----------------------------------------------------------------------------------------------

DATA_DIR = env.path("DATA_DIR", BASE_DIR / "var")
# Empty: `manage.py up` starts its own server, and the other commands find it through DATA_DIR.
NATS_URL = env.str("NATS_URL", "")
# How often that server flushes its files to the disk: `always` (before it acknowledges a message), or a duration.
NATS_SYNC = env.str("NATS_SYNC", "always")
if not re.fullmatch(r"always|[1-9][0-9]*(ms|s|m|h)", NATS_SYNC):
    raise SystemExit(f"NATS_SYNC={NATS_SYNC} is unknown; expected always, or a duration such as 1s or 1m.")
# On how many servers of a NATS cluster each stream is: 1, 3 or 5.
NATS_REPLICAS = env.int("NATS_REPLICAS", 1)
if NATS_REPLICAS not in {1, 3, 5}:
    raise SystemExit(f"NATS_REPLICAS={NATS_REPLICAS} is not possible; expected 1, 3 or 5.")
# One login, if the NATS server requires one and NATS_URL has none: a user, a file with the seed of an nkey, a
# credentials file, or a token. `manage.py nats_config` makes users with the permissions of each role.
NATS_USER = env.str("NATS_USER", "")
NATS_PASSWORD = env.str("NATS_PASSWORD", "")
NATS_NKEY = env.str("NATS_NKEY", "")
NATS_CREDENTIALS = env.str("NATS_CREDENTIALS", "")
NATS_TOKEN = env.str("NATS_TOKEN", "")
# Files for TLS: the authority of the server's certificate, and the certificate that this process shows, with its key.
NATS_CA = env.str("NATS_CA", "")
NATS_CERT = env.str("NATS_CERT", "")
NATS_CERT_KEY = env.str("NATS_CERT_KEY", "")
_logins = [name for name in ("NATS_USER", "NATS_NKEY", "NATS_CREDENTIALS", "NATS_TOKEN") if globals()[name]]
if len(_logins) > 1:
    raise SystemExit(f"{' and '.join(_logins)} are set; NATS takes one login. Remove the others.")
if NATS_USER and not NATS_PASSWORD:
    raise SystemExit("NATS_USER has no NATS_PASSWORD; set it, or put the login into NATS_URL.")
if NATS_PASSWORD and not NATS_USER:
    raise SystemExit("NATS_PASSWORD has no NATS_USER; set it, or NATS_TOKEN for a token.")
if "@" in NATS_URL and (NATS_USER or NATS_NKEY):
    raise SystemExit(f"NATS_URL has a login, and {_logins[0]} is another. Remove one of them.")
# Required for several web processes or hosts; the in-memory layer works within one process only.
CHANNEL_REDIS_URL = env.str("CHANNEL_REDIS_URL", "")
# Start of the names of its pub/sub channels. Empty: `anomalies.` and this installation's identity (from the database).
CHANNEL_PREFIX = env.str("CHANNEL_PREFIX", "")

# --- Prices and analysis ----------------------------------------------------------------------------------------------

SOURCE = env.str("SOURCE", "auto")
# SEVERITY=N,…: at most N alerts a day of that severity or above, over all symbols of a venue (docs/detectors.md).
ALERTS_PER_DAY: dict[str, float] = env.dict("ALERTS_PER_DAY", {}, subcast_values=float)
if unknown := set(ALERTS_PER_DAY) - {"LOW", "MEDIUM", "HIGH", "CRITICAL"}:
    raise SystemExit(
        f"ALERTS_PER_DAY: unknown severity {', '.join(sorted(unknown))}; expected LOW, MEDIUM, HIGH or CRITICAL."
    )
if (fewest := min(ALERTS_PER_DAY.values(), default=0.0)) < 0:
    raise SystemExit(f"ALERTS_PER_DAY: {fewest:g} is negative; expected 0 or more alerts a day.")
# A TOML file with settings of the analysis (docs/settings.md); `analyze` reads it when it starts.
ANALYSIS_SETTINGS: Path | None = env.path("ANALYSIS_SETTINGS", None)
# Methods of other publishers' own that are taken from them: `GAP,WHALE` (docs/detectors-of-your-own.md).
OWN_METHODS: list[str] = env.list("OWN_METHODS", [])
try:
    list_methods(OWN_METHODS)
except ValueError as error:
    raise SystemExit(f"OWN_METHODS: {error}.") from None
# Live venues, and addresses to use instead of a venue's own: a mirror or proxy (`binance=http://10.0.0.5:8080`).
VENUES = env.list("VENUES", ["binance"])
VENUE_URLS: dict[str, str] = env.dict("VENUE_URLS", {})
# How long the stream keeps anomalies for clients that reconnect, and candles for an analysis that restarts.
ANOMALY_RETENTION = env.timedelta("ANOMALY_RETENTION", timedelta(days=7))
CANDLE_STREAM_RETENTION_S = env.timedelta("CANDLE_STREAM_RETENTION", timedelta(hours=2)).total_seconds()
# How long `manage.py prune` keeps stored anomalies that nobody reviewed. Unset: for ever.
ANOMALY_HISTORY: timedelta | None = env.timedelta("ANOMALY_HISTORY", None)
if ANOMALY_HISTORY is not None and timedelta(days=1) > ANOMALY_HISTORY:
    raise SystemExit(f"ANOMALY_HISTORY={env.str('ANOMALY_HISTORY')} is too short; expected 1d or more.")
# How often the analysis saves its state, so that it can resume after a crash: at least so often that the stream still
# has the candles after it.
ANALYSIS_SAVE_EVERY_S = min(
    env.timedelta("ANALYSIS_SAVE_EVERY", timedelta(minutes=15)).total_seconds(), CANDLE_STREAM_RETENTION_S / 4
)
# Where: `file` (in DATA_DIR), `nats` (there too, for a standby on another host), `auto`: nats unless NATS is local.
ANALYSIS_STATE = env.str("ANALYSIS_STATE", "auto")
if ANALYSIS_STATE not in {"auto", "file", "nats"}:
    raise SystemExit(f"ANALYSIS_STATE={ANALYSIS_STATE} is unknown; expected auto, file or nats.")
# A feed without a candle for this long is stale (and at least three intervals).
FEED_STALE_AFTER_S = env.timedelta("FEED_STALE_AFTER", timedelta(seconds=15)).total_seconds()

# Sectors from CoinGecko. Without a key the map is never fetched automatically; the built-in map stays in use.
COINGECKO_API_KEY = env.str("COINGECKO_API_KEY", "")
COINGECKO_PLAN = env.str("COINGECKO_PLAN", "demo")
COINGECKO_URL = env.str("COINGECKO_URL", "")
# A fetched map older than this has expired. It is due for a refresh at half that age.
SECTOR_MAX_AGE_S = env.timedelta("SECTOR_MAX_AGE", timedelta(days=7)).total_seconds()

# --- Time series ------------------------------------------------------------------------------------------------------

# How long the candle table keeps candles of one minute or more, and shorter ones (they are rolled up to minutes).
CANDLE_RETENTION_S = env.timedelta("CANDLE_RETENTION", timedelta(days=7)).total_seconds()
CANDLE_RETENTION_SHORT_S = env.timedelta("CANDLE_RETENTION_SHORT", timedelta(hours=1)).total_seconds()
# Set to keep time series in InfluxDB instead. API_TOKEN may be `user:password` for InfluxDB 1.x; DATABASE is a bucket
# for InfluxDB 2.x. `auto` chooses the API by the server's version.
INFLUXDB_URL = env.str("INFLUXDB_URL", "")
INFLUXDB_TOKEN = env.str("API_TOKEN", "")
INFLUXDB_DATABASE = env.str("DATABASE", "crypto_anomalies")
INFLUXDB_ORG = env.str("INFLUXDB_ORG", "")
INFLUXDB_API = env.str("INFLUXDB_API", "auto")
if INFLUXDB_API not in {"auto", "flux", "sql", "influxql"}:
    raise SystemExit(f"INFLUXDB_API={INFLUXDB_API} is unknown; expected auto, flux, sql or influxql.")
# Which store answers /alerts and /market. Live frames and reviews always come from the database.
HISTORY_BACKEND = env.str("HISTORY_BACKEND", "orm")
if HISTORY_BACKEND not in {"orm", "influx"}:
    raise SystemExit(f"HISTORY_BACKEND={HISTORY_BACKEND} is unknown; expected orm or influx.")
if HISTORY_BACKEND == "influx" and not INFLUXDB_URL:
    raise SystemExit(
        "HISTORY_BACKEND=influx needs a server: set INFLUXDB_URL (http://localhost:8086), or HISTORY_BACKEND=orm."
    )

# --- Deliveries (docs/delivery.md) ------------------------------------------------------------------------------------

# How long messages that were sent, or could not be, and the attempts to send them are kept.
DELIVERY_RETENTION = env.timedelta("DELIVERY_RETENTION", timedelta(days=30))
# `host` or `host:port`, to which messages may be sent although the address is private, or the port unusual.
DELIVERY_HOSTS: list[str] = env.list("DELIVERY_HOSTS", [])
# Venues of foreign publishers whose messages, which name no source, are delivered as live.
DELIVERY_PUBLISHERS: list[str] = env.list("DELIVERY_PUBLISHERS", [])
# The private key of web push, 32 bytes in base64url; empty: made on first use, in DATA_DIR. With another one every
# browser has to subscribe again.
VAPID_PRIVATE_KEY = env.str("VAPID_PRIVATE_KEY", "")
# Whom a push service may ask about this site, `mailto:` or `https://`. Empty: PUBLIC_URL. Safari needs one of them.
VAPID_CONTACT = env.str("VAPID_CONTACT", "")
if VAPID_CONTACT and not VAPID_CONTACT.startswith(("mailto:", "https://")):
    raise SystemExit(f"VAPID_CONTACT={VAPID_CONTACT} is not a contact; expected mailto:… or https://….")

# --- Access -----------------------------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", False)
# Who may read (docs/security.md). Unset is open for this machine; what others can reach has to choose.
ACCESS = env.str("ACCESS", "")
if ACCESS not in {"", "open", "read-token", "accounts"}:
    raise SystemExit(f"ACCESS={ACCESS} is unknown; expected open, read-token or accounts (docs/security.md).")


# How long the audit keeps who changed what.
AUDIT_RETENTION = env.timedelta("AUDIT_RETENTION", timedelta(days=365))


def _secret_key() -> str:
    """SECRET_KEY, or a random key stored in DATA_DIR on first use, so that sessions outlive a restart.

    Processes that start together use the same key. Raises `OSError`.
    """
    if key := env.str("SECRET_KEY", ""):
        return key
    path = DATA_DIR / "secret_key"
    if not path.exists() or not path.stat().st_size:  # empty: left by version 0.1 when it was killed in between
        files.put_new(path, secrets.token_urlsafe(50).encode())
    return path.read_text()


# Made here, for every command. Only the key must be stored now.
_unmade = ""
try:
    DATA_DIR.mkdir(mode=privacy.PRIVATE_FOLDER, parents=True, exist_ok=True)
except OSError as error:
    _unmade = f"Cannot write to {DATA_DIR}: {error.strerror}. Set DATA_DIR to a folder this user may write to."
try:
    SECRET_KEY = _secret_key()
except OSError as error:
    raise SystemExit(
        f"Cannot write to {DATA_DIR}: {error.strerror}. Set DATA_DIR to a folder this user may write to."
    ) from None

# Earlier values of SECRET_KEY, whose signatures of messages still count.
SIGNING_KEY_FALLBACKS: list[str] = env.list("SIGNING_KEY_FALLBACKS", [])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
# Pages that may open /ws and read the API, besides our own host and localhost; `*.` stands for any subdomain.
ALLOWED_ORIGINS = env.list("ALLOWED_ORIGINS", ["https://*.tealstreet.io"])
# Pages on localhost, at any port, may do so too: development servers. Switch it off on a machine of many users.
ALLOW_LOCALHOST_ORIGINS = env.bool("ALLOW_LOCALHOST_ORIGINS", True)
try:
    CORS_ALLOWED_ORIGIN_REGEXES = origin_patterns(ALLOWED_ORIGINS, localhost=ALLOW_LOCALHOST_ORIGINS)
except ValueError as error:
    raise SystemExit(str(error)) from None
# A page of the internet that is in the list, such as the trading terminal, may connect to a server on this machine.
CORS_ALLOW_PRIVATE_NETWORK = True
CORS_EXPOSE_HEADERS = ["ETag", "Retry-After", "Stream-Cursor"]
# Where people find this site, such as https://alerts.example.org: for links, and for the way back from sign-on.
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")
if PUBLIC_URL and not re.fullmatch(r"https?://[^/\s@?#]+", PUBLIC_URL):
    raise SystemExit(f"PUBLIC_URL={PUBLIC_URL} is not an address; expected https://host, without a path.")
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [PUBLIC_URL] if PUBLIC_URL else [])
# Safe only behind a proxy that overwrites X-Forwarded-Proto.
BEHIND_TLS_PROXY = env.bool("BEHIND_TLS_PROXY", False)
# Proxies that say whose request it is (X-Forwarded-For). FORWARDED_ALLOW_IPS is uvicorn's name for it.
_PROXIES = ["127.0.0.0/8", "::1"] if BEHIND_TLS_PROXY else []
TRUSTED_PROXIES: list[str] = env.list("TRUSTED_PROXIES", env.list("FORWARDED_ALLOW_IPS", _PROXIES))
if TRUSTED_PROXIES == ["*"]:
    TRUSTED_PROXIES = ["0.0.0.0/0", "::/0"]
try:
    networks(TRUSTED_PROXIES)
except ValueError as error:
    raise SystemExit(str(error)) from None
if BEHIND_TLS_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = True
    # Asked by the machine itself, without TLS.
    SECURE_REDIRECT_EXEMPT = [r"^(?:healthz|readyz|metrics)/?$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    # Other hosts of the domain, and browsers' built-in lists, are not for this site to decide about.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# Of every page that has no stricter one: scripts are files of this site, so one that is injected does not run. Inline
# styles are those of the browsable API and of the documentation.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# --- People -----------------------------------------------------------------------------------------------------------

# Single sign-on (OpenID Connect). Who may sign in, and as what: values of a claim → viewer, reviewer or operator; and
# domains of verified addresses, whose people are viewers (`*`: everybody whom the provider knows).
OIDC_ISSUER = env.str("OIDC_ISSUER", "")
OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", "")
OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", "")
OIDC_NAME = env.str("OIDC_NAME", "single sign-on")
OIDC_GROUPS_CLAIM = env.str("OIDC_GROUPS_CLAIM", "groups")
OIDC_GROUPS: dict[str, str] = env.dict("OIDC_GROUPS", {})
OIDC_DOMAINS: list[str] = env.list("OIDC_DOMAINS", [])
if _refused := refused_settings(OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_GROUPS, OIDC_DOMAINS):
    raise SystemExit(_refused)
# Roles that serve no pages do without the code of signing in: 20 MB, and a fifth of a second at their start.
_WITHOUT_PAGES = {"ingest", "analyze", "nats_bridge", "history", "record", "backtest", "convert", "rejects"}
_HAS_PAGES = not _WITHOUT_PAGES & set(sys.argv[1:2])
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "account_login", "/", "/"
ACCOUNT_ADAPTER = "anomaly_site.people.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"]
# Besides anomaly_site/throttle.py; the key is the name with the address, or whose second factor is asked for.
ACCOUNT_RATE_LIMITS = {"login_failed": "30/m/ip,10/300s/key"}
SOCIALACCOUNT_ADAPTER = "anomaly_site.people.adapters.SingleSignOn"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": PROVIDER_ID,
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": OIDC_CLIENT_SECRET,
                "settings": {"server_url": OIDC_ISSUER, "fetch_userinfo": True},
            }
        ],
    }
    if OIDC_ISSUER
    else {}
}
MFA_ADAPTER = "anomaly_site.people.adapters.SecretsAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Crypto anomalies"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG

# --- Limits of one /ws process (docs/protocol.md) ---------------------------------------------------------------------

WS_MAX_CONNECTIONS = env.int("WS_MAX_CONNECTIONS", 20_000)
WS_MAX_CONNECTIONS_PER_ADDRESS = env.int("WS_MAX_CONNECTIONS_PER_ADDRESS", 100)
WS_MAX_MESSAGES_PER_SECOND = env.float("WS_MAX_MESSAGES_PER_SECOND", 20.0)
WS_HEARTBEAT_S = env.float("WS_HEARTBEAT", 15.0)

# --- Django -----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    # runserver needs it for ASGI. Its Twisted is a quarter of the start-up time, so other commands leave it out.
    *(["daphne"] if "runserver" in sys.argv else []),
    "anomaly_site.people.apps.ReviewAdminConfig",
    "anomaly_site.people",  # before those whose templates it replaces
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "django_filters",
    "corsheaders",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    *(
        [
            "django.contrib.humanize",
            "allauth",
            "allauth.account",
            "allauth.socialaccount",
            "allauth.socialaccount.providers.openid_connect",
            "allauth.mfa",
            "allauth.usersessions",
        ]
        if _HAS_PAGES
        else []
    ),
    "anomaly_site",
    "market",
    "alerts",
    "ingestion",
    "frontend",
]
MIDDLEWARE = [
    "anomaly_site.local_probes.LocalProbesMiddleware",
    "anomaly_site.nul.NulMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "anomaly_site.static.CompressedStaticMiddleware",
    "anomaly_site.compression.CompressionMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",  # the entity tag is of the answer as it is, uncompressed
    "corsheaders.middleware.CorsMiddleware",
    "anomaly_site.unavailable.DatabaseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "anomaly_site.access.middleware.AccessMiddleware",
    "anomaly_site.throttle.ThrottleMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *(["allauth.account.middleware.AccountMiddleware"] if _HAS_PAGES else []),
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    *(["allauth.account.auth_backends.AuthenticationBackend"] if _HAS_PAGES else []),
]
ROOT_URLCONF = "anomaly_site.urls"
ASGI_APPLICATION = "anomaly_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

for _name, _url in (("DATABASE_URL", env.str("DATABASE_URL", "")), ("CHANNEL_REDIS_URL", CHANNEL_REDIS_URL)):
    if not _url.startswith("sqlite") and is_unencoded(_url):
        # Errors would name what follows as a host.
        raise SystemExit(f"{_name}: its login has a / or # as it is. Write %2F or %23 there, and %40 for @.")
DATABASES: dict[str, Any] = {"default": env.dj_db_url("DATABASE_URL", f"sqlite:///{DATA_DIR / 'anomalies.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Readers never wait for the writer (WAL), and a transaction that writes takes the lock at its start (IMMEDIATE):
    # no "database is locked" with one bulk writer and many readers.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;"
            # A page that changes often goes into the file once for 16 MB of log, not for 4.
            "PRAGMA wal_autocheckpoint=4000;"
        ),
    }
    if _unmade and DATA_DIR in Path(DATABASES["default"]["NAME"]).parents:
        sys.stderr.write(f"{_unmade} The database belongs there.\n")
if _unmade and "analyze" in sys.argv[1:2]:
    sys.stderr.write(f"{_unmade} The state of the analysis belongs there.\n")
# Other users of this machine read neither sessions nor anomalies. The roles say so once, where that cannot be had.
_sqlite = DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3" and DATABASES["default"]["NAME"]
_readable = privacy.close(DATA_DIR, Path(_sqlite) if _sqlite and _sqlite != ":memory:" else None)
if _readable and set(sys.argv[1:2]) & {"up", "ingest", "analyze", "nats_bridge", "history", "deliver"}:
    sys.stderr.write(f"{_readable}\n")
if _sqlite:
    DATABASES["default"]["ENGINE"] = "anomaly_site.sqlite"
    # For pytest-django, which knows only Django's own engine to be in memory in tests.
    DATABASES["default"]["TEST"] = {"NAME": ":memory:"}
# How long the database may take, in all, for the answer to a request that only reads (anomaly_site/unavailable.py).
QUERY_TIMEOUT_S = env.timedelta("QUERY_TIMEOUT", timedelta(seconds=5)).total_seconds()
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The layer carries batches, not single messages, so this capacity is generous. Batches dropped beyond it are read
# from the database again (docs/architecture.md).
CHANNEL_LAYERS: dict[str, Any] = {
    "default": (
        {
            "BACKEND": "anomaly_site.ws.layer.InstallationLayer",
            "CONFIG": {"hosts": [CHANNEL_REDIS_URL], "prefix": CHANNEL_PREFIX},
        }
        if CHANNEL_REDIS_URL
        else {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}
    )
}

# Limits on signing in, which all web processes share if there is a server for that (anomaly_site/people/cache.py).
if CHANNEL_REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "anomaly_site.people.cache.SignInCache",
            "LOCATION": CHANNEL_REDIS_URL,
            "KEY_PREFIX": CHANNEL_PREFIX or "anomalies",
        }
    }

# No request of this site has a larger body (anomaly_site/asgi.py refuses it unread).
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
# Static files are served from the packages; `collectstatic` is not needed.
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG
# Browsers show the panel's source as text instead of downloading it.
SERVESTATIC_MIMETYPES = {".tsx": "text/plain"}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "anomaly_site.unavailable.handle",
    "DEFAULT_PARSER_CLASSES": [
        "market.problems.ShallowJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "market.callers.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.BasicAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticatedOrReadOnly"],
    "DEFAULT_THROTTLE_CLASSES": ["market.callers.AddressThrottle"],
    # The client's address is known by then (anomaly_site/proxies.py); what else a header says does not count.
    "NUM_PROXIES": 0,
    "DEFAULT_THROTTLE_RATES": {"anon": env.str("API_RATE", "50/s")},
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Crypto anomalies",
    "DESCRIPTION": (
        "Stored alerts (per symbol) and market anomalies, candles and sectors. The live stream is the WebSocket at /ws "
        "(/asyncapi.json). Times are epoch milliseconds UTC."
    ),
    "VERSION": __version__,
    "OAS_VERSION": "3.1.0",  # the dialect of the messages' JSON Schema
    "POSTPROCESSING_HOOKS": ["anomaly_site.openapi.complete"],  # the enumerations are already named
    "SERVE_INCLUDE_SCHEMA": False,
    "RENDERER_WHITELIST": ["rest_framework.renderers.JSONRenderer"],  # pages for people are not part of the API
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# Errors shown by DEBUG, too, have no password of an address.
DEFAULT_EXCEPTION_REPORTER = "anomaly_site.reports.Reporter"
# `up` serves the counters of its processes here: the first of as many ports as it has processes.
METRICS_PORT = env.int("METRICS_PORT", None)
METRICS_HOST = env.str("METRICS_HOST", "127.0.0.1")
LOG_LEVEL = env.str("LOG_LEVEL", "INFO")
# Traces, where a collector of OpenTelemetry takes them over HTTP.
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")
OTEL_SERVICE_NAME = env.str("OTEL_SERVICE_NAME", "crypto-anomalies")
LOG_FORMAT = env.str("LOG_FORMAT", "text")
if LOG_FORMAT not in {"text", "json"}:
    raise SystemExit(f"LOG_FORMAT={LOG_FORMAT} is unknown; expected text or json.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "anomaly_site.logs.PrintableFormatter",
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "style": "{",
            "datefmt": "%Y-%m-%d %H:%M:%SZ",
        },
        "json": {"()": "anomaly_site.logs.JsonFormatter"},
    },
    "filters": {"but_probes": {"()": "django.utils.log.CallbackFilter", "callback": but_probes}},
    "handlers": {
        "stderr": {
            "class": "anomaly_site.logs.OncePerMinute",
            "formatter": "json" if LOG_FORMAT == "json" else "line",
            "filters": ["but_probes"],
        }
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {name: {"level": LOG_LEVEL} for name in ("anomaly_site", "alerts", "market", "ingestion")},
}
