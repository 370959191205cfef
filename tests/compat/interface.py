"""Collects what users and scripts rely on from the code as it is: one function per section of `interface.json`."""

import contextlib
import importlib
import re
import runpy
import subprocess
import sys
import tempfile
from argparse import SUPPRESS, Action
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from unittest import mock

import dj_database_url
import msgspec
import prometheus_client
from django.apps import apps
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.db.models import Field
from django.test import Client
from django.urls import Resolver404, URLResolver, get_resolver, resolve
from django.urls.resolvers import RoutePattern

from anomaly_site import metrics as site_metrics
from tests.compat import ROOT
from tests.compat.doors import CandleBatch
from tests.compat.running import running
from tests.compat.schemas import keys

OUR_APPS: Final = ("anomaly_site", "alerts", "market", "ingestion", "frontend")
# Their default is a setting's value, which the environment decides.
_BY_SETTING: Final = ("--source",)
# Settings that take one of a few words.
_CHOICES: Final = {"HISTORY_BACKEND": ("orm", "influx"), "INFLUXDB_API": ("auto", "flux", "sql", "influxql")}
_IMPORT_PATHS: Final = ("anomaly_site.ws.broadcast:Protocol", "anomaly_site.asgi:application", "anomaly_site.settings:")
# A /status in which everything is there, for the gauges that show it.
_STATUS: Final[dict[str, Any]] = {
    "versions": {"python": "3"},
    "problems": [],
    "feeds": [
        {"venue": "v", "source": "live", "state": "ok", "age_ms": 1, "symbols": 1, "rate": 1.0, "reconnects": 0},
    ],
    "stress": [{"venue": "v", "stress_index": 1.0}],
    "streams": {"S": {"messages": 1, "bytes": 1}},
    "lag": {"analyze": {"behind": 1}},
    "web": {"clients": 1, "backlog_bytes": 1, "queued": 1, "counters": {}},
    "sectors": {"expired": False, "age_ms": 1},
}


# --- Commands ---------------------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Arguments of every `manage.py` command of ours; those that all commands of Django have are left out."""
    found = {}
    for name, app in sorted(get_commands().items()):
        if app in OUR_APPS:
            command = load_command_class(str(app), name)
            common = {action.dest for action in BaseCommand().create_parser("manage.py", name)._actions}
            actions = command.create_parser("manage.py", name)._actions
            found[name] = {_name(action): _argument(action) for action in actions if action.dest not in common}
    return found


def _name(action: Action) -> str:
    return ", ".join(action.option_strings) or f"({action.dest})"


def _argument(action: Action) -> dict[str, Any]:
    described: dict[str, Any] = {"values": "none" if action.nargs == 0 else str(action.nargs or "one")}
    if action.choices is not None:
        described["choices"] = sorted(map(str, action.choices))
    by_setting = set(action.option_strings) & set(_BY_SETTING)
    if isinstance(action.default, int | float | str) and action.default != SUPPRESS and action.nargs != 0:
        described |= {} if by_setting else {"default": str(action.default)}
    return described


def roles() -> list[str]:
    """What `manage.py up --only` takes."""
    parser = load_command_class("anomaly_site", "up").create_parser("manage.py", "up")
    return sorted(map(str, parser.get_default("only")))


def benchmarks() -> dict[str, list[str]]:
    """Options of every `python -m benchmarks.*`."""
    modules = [path for path in (ROOT / "benchmarks").glob("*.py") if 'if __name__ == "__main__"' in path.read_text()]
    return {f"python -m benchmarks.{path.stem}": _options_of(f"benchmarks.{path.stem}") for path in sorted(modules)}


def _options_of(module: str) -> list[str]:
    arguments = [sys.executable, "-m", module, "--help"]
    text = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"^ {2}(--[a-z][a-z-]*)", text, re.MULTILINE)))


def import_paths() -> list[str]:
    """Places that servers and their configuration name."""
    return [path for path in _IMPORT_PATHS if _is_there(path)]


def _is_there(path: str) -> bool:
    module, _, name = path.partition(":")
    try:
        return hasattr(importlib.import_module(module), name or "__name__")
    except ImportError:
        return False


# --- Settings ---------------------------------------------------------------------------------------------------------


class _Environment:
    """Stands in for `environs.Env`: the environment is `given`, and what is asked of it is kept in `asked`."""

    def __init__(self, given: Mapping[str, str], folder: Path) -> None:
        self._given = given
        self._folder = folder
        self.asked: dict[str, dict[str, str]] = {}

    def read_env(self, path: str) -> None:
        """No .env file: the defaults are what is wanted."""

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        def ask(name: str, *default: Any, **options: Any) -> Any:
            self.asked[name] = {"type": kind}
            if default:
                self.asked[name]["default"] = self._shown(default[0])
            if name in self._given:
                return self._given[name]
            if name == "DATA_DIR":
                return self._folder
            return dj_database_url.parse(default[0]) if kind == "dj_db_url" else default[0]

        return ask

    def _shown(self, value: Any) -> str:
        return str(value).replace(str(self._folder), "DATA_DIR").replace(f"{ROOT}/", "")


def _read_settings(given: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What settings.py asks of an environment. Raises `SystemExit` when it refuses a value."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _Environment(given, Path(folder))
        with mock.patch("environs.Env", return_value=environment):
            runpy.run_path(str(ROOT / "anomaly_site" / "settings.py"))
        return environment.asked


def settings() -> dict[str, Any]:
    """Environment variables: type, default, and the values of those that take one of a few."""
    found: dict[str, Any] = dict(sorted(_read_settings({}).items()))
    for name, words in _CHOICES.items():
        if name in found:
            found[name]["values"] = [word for word in words if _accepted(name, word)]
    return found


def _accepted(name: str, word: str) -> bool:
    with contextlib.suppress(SystemExit):
        return name in _read_settings({name: word, "INFLUXDB_URL": "http://localhost:8086"})
    return False


# --- What is on the wire ----------------------------------------------------------------------------------------------


def _document(path: str) -> Any:
    """The JSON of a page of ours."""
    answer = Client(headers={"host": "localhost", "accept": "application/json"}).get(path)
    assert answer.status_code == 200, f"GET {path}: {answer.status_code}"
    return msgspec.json.decode(answer.content)


def candles() -> dict[str, Any]:
    """Keys of a batch of candles on NATS."""
    [reference], components = msgspec.json.schema_components([CandleBatch], ref_template="#/components/schemas/{name}")
    return keys(reference, components)


def websocket() -> dict[str, Any]:
    """Addresses, messages both ways, and the codes with which a connection ends."""
    document = _document("/asyncapi.json")
    components = document["components"]
    sent: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in document["operations"].values():
        sent[operation["action"]] |= {reference["$ref"].rpartition("/")[2] for reference in operation["messages"]}

    def described(names: set[str]) -> dict[str, Any]:
        return {name: keys(components["messages"][name]["payload"], components["schemas"]) for name in sorted(names)}

    return {
        "addresses": sorted(channel["address"] for channel in document["channels"].values()),
        "requests": described(sent["receive"]),
        "frames": described(sent["send"]),
        "close codes": sorted(document["x-close-codes"]),
    }


def rest() -> dict[str, Any]:
    """Every path that OpenAPI describes: methods, query parameters, keys of what is sent and answered."""
    document = _document("/schema?format=json")
    schemas = document["components"]["schemas"]
    return {
        f"{method.upper()} {path}": {
            "parameters": {p["name"]: keys(p["schema"], schemas) for p in operation.get("parameters", ())},
            "body": _contents([operation.get("requestBody", {})], schemas),
            "answers": {
                status: _contents([answer], schemas) for status, answer in sorted(operation["responses"].items())
            },
        }
        for path, operations in sorted(document["paths"].items())
        for method, operation in operations.items()
    }


def _contents(parts: list[Any], schemas: Any) -> dict[str, Any]:
    return {
        kind: keys(content["schema"], schemas)
        for part in parts
        for kind, content in sorted(part.get("content", {}).items())
        if "schema" in content
    }


def routes() -> dict[str, Any]:
    """URL pattern → endings that work behind it: nothing, and mostly a slash. Those inside the admin are Django's."""
    patterns = sorted(set(_routes(get_resolver(), "")))
    return {route: ["", "/"] if _resolves(f"{route}/") else [""] for route in patterns}


def _routes(resolver: URLResolver, prefix: str) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver) and pattern.app_name == "admin":
            yield f"{route}…"
        elif isinstance(pattern, URLResolver):
            yield from _routes(pattern, route)
        elif isinstance(pattern.pattern, RoutePattern):
            yield route


def _resolves(route: str) -> bool:
    with contextlib.suppress(Resolver404):
        resolve(re.sub("<[^>]*>", "X1", f"/{route}"))
        return True
    return False


# --- What is kept and counted -----------------------------------------------------------------------------------------


def metrics() -> dict[str, Any]:
    """Metrics of `/metrics` by their names there, with their labels. Those of Python and the process are not ours."""
    counted = [(metric, collector) for collector in _counters() for metric in collector.collect()]
    shown = [(metric, metric) for metric in site_metrics.families(_STATUS)]
    return {
        _exposed(metric): {"type": metric.type, "labels": sorted(getattr(owner, "_labelnames", ()))}
        for metric, owner in sorted([*counted, *shown], key=lambda pair: str(pair[0].name))
        if metric.name.startswith("anomalies_")
    }


def _counters() -> list[Any]:
    return list(prometheus_client.REGISTRY._collector_to_names)


def _exposed(metric: Any) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
    return f"{metric.name}{suffix}"


def tables() -> dict[str, Any]:
    """App label → table → column → type, with the values stored of an enumeration."""
    return {
        label: {
            model._meta.db_table: {field.column: _column(field) for field in model._meta.local_concrete_fields}
            for model in sorted(apps.get_app_config(label).get_models(), key=lambda model: model._meta.db_table)
        }
        for label in OUR_APPS
    }


def _column(field: "Field[Any, Any]") -> dict[str, Any]:
    kind = field.get_internal_type() + (f"({field.max_length})" if field.max_length else "")
    described: dict[str, Any] = {"type": kind + (" null" if field.null else "")}
    if field.primary_key:
        described["primary key"] = True
    if field.related_model:
        described["refers to"] = field.related_model._meta.db_table
    if field.choices:
        # A number's name is part of its meaning; a text stands for itself.
        described["values"] = (
            {str(value): str(name) for value, name in field.flatchoices}
            if isinstance(field.flatchoices[0][0], int)
            else sorted(str(value) for value, _ in field.flatchoices)
        )
    return described


SECTIONS: Final[dict[str, Callable[[], Any]]] = {
    "commands": commands,
    "roles of up --only": roles,
    "benchmarks": benchmarks,
    "import paths": import_paths,
    "settings": settings,
    "candles": candles,
    "websocket": websocket,
    "rest": rest,
    "routes": routes,
    "metrics": metrics,
    "tables": tables,
    # With real processes: the tests of it are marked `system`.
    "running": running,
}
