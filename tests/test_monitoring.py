"""`deploy/prometheus` and `deploy/grafana`: each file by its own tool, and every metric that they name exists."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from anomaly_site import metrics
from anomaly_site.metrics import families
from tests.compat.interface import _STATUS

ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
DASHBOARD = json.loads((GRAFANA / "anomalies.json").read_text())
RULES = yaml.safe_load((PROMETHEUS / "anomalies.rules.yml").read_text())["groups"][0]["rules"]


def promtool(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(["promtool", *arguments], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def exposed() -> str:
    """All that `/metrics` may have."""
    figures = CollectorRegistry()
    figures.register(metrics._Families(families(_STATUS | {"deliveries": {"waiting": 0, "dead": 0}})))
    return (generate_latest(REGISTRY) + generate_latest(figures)).decode()


def named_in(expressions: list[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"\banomalies_\w+", text)}


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def alarms_of_the_docs() -> list[str]:
    text = (ROOT / "docs/operations.md").read_text()
    table = text.partition("Suggested alarms")[2].partition("\n`LOG_LEVEL")[0]
    return [row.replace("\\|", "|") for row in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)]


def test_names_and_help_texts_are_by_the_conventions() -> None:
    assert promtool("check", "metrics", text=exposed()) == ""


def test_every_rule_is_valid_and_every_alarm_fires() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("test", "rules", str(PROMETHEUS / "anomalies.test.yml"))
    tests = yaml.safe_load((PROMETHEUS / "anomalies.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}


def test_every_alarm_of_the_docs_has_a_rule() -> None:
    ruled = named_in([rule["expr"] for rule in RULES])
    assert len(alarms_of_the_docs()) > 15
    assert named_in(alarms_of_the_docs()) <= ruled


def test_every_metric_that_is_named_exists() -> None:
    exist = set(re.findall(r"^# TYPE (\w+)", exposed(), re.MULTILINE))
    exist |= {f"{name}_{part}" for name in exist for part in ("bucket", "sum", "count")}
    # Of these the labels are known only when a part starts.
    assert named_in([*expressions(), *(rule["expr"] for rule in RULES)]) <= exist


def test_the_dashboard_has_what_grafana_needs(tmp_path: Path) -> None:
    assert re.fullmatch(r"[\w-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["schemaVersion"] >= 36
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    sources = {variable["name"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "datasource"}
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["datasource"]["uid"].strip("${}") in sources
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + 8)}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells
    # As rules, so that Prometheus' own parser reads them.
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions())
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))
