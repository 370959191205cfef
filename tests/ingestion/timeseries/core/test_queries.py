"""The text of our queries: values are never in it, and InfluxData's own front end accepts the Flux."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from ingestion.timeseries.core.queries import END_OF_TIME_MS, Question, flux, influxql, sql
from tests.influx import TOOLS, missing
from tests.ingestion.timeseries.samples import T0

SECRET = "an'other\" value"
QUESTION = Question(
    measurement="alerts",
    columns=("id", "payload"),
    tags={"symbol": SECRET},
    fields={"id": SECRET, "current": True},
    start_ms=T0,
    end_ms=10 * END_OF_TIME_MS,
    limit=7,
    newest=True,
    then_by="id",
)
Render = Callable[[Question], tuple[str, dict[str, Any]]]


def _flux(question: Question) -> tuple[str, dict[str, Any]]:
    return flux(question, SECRET)


@pytest.mark.parametrize("render", [influxql, sql, _flux])
def test_values_are_parameters(render: Render) -> None:
    text, parameters = render(QUESTION)
    assert SECRET not in text
    assert "other" not in text
    assert str(T0) not in text
    assert [value for value in parameters.values() if value == SECRET]
    assert all(name in text for name in parameters)


@pytest.mark.parametrize(("render", "factor"), [(influxql, 1_000_000), (sql, 1)])
def test_times_stay_within_64_bits_of_nanoseconds(render: Render, factor: int) -> None:
    _, parameters = render(QUESTION)
    assert parameters["start"] == T0 * factor
    assert parameters["end"] == END_OF_TIME_MS * factor
    assert END_OF_TIME_MS * 1_000_000 < 2**63


_CHECK = """
const { Flux } = require("@influxdata/flux-lsp-node");
let text = "";
process.stdin.on("data", (part) => (text += part)).on("end", () => {
    try { console.log(new Flux(text).is_valid()); } catch (error) { console.log(false); }
});
"""


def _literal(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value).lower() if isinstance(value, bool | int) else '"text"'


def test_influxdata_says_the_flux_is_valid() -> None:
    """Syntax, names, arguments and types. The definitions are what the client sends beside the query."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here, which the product does not need")
    if not (TOOLS / "flux").is_dir():
        missing("InfluxData's Flux front end")

    def valid(text: str) -> bool:
        done = subprocess.run([node, "-e", _CHECK], cwd=TOOLS / "flux", input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() == "true"

    text, parameters = _flux(QUESTION)
    whole = "".join(f"{name} = {_literal(value)}\n" for name, value in parameters.items()) + text
    assert valid(whole)
    for right, wrong in (("limit(n:", "limit(number:"), ("desc: true", "desc: 1"), ("group()", "grouped()"), (")", "")):
        assert not valid(whole.replace(right, wrong))
