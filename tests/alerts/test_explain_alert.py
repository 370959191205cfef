from io import StringIO
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command

from alerts import models
from alerts.detectors.bank import VERSION
from alerts.detectors.explanation import price_text
from alerts.services import store
from ingestion.engine.engine import Engine
from market.services import sequenced
from market.services import store as store_market
from market.wire.messages import Alert, Explanation, Method, Severity
from tests import samples
from tests.market.recordings import Returns, recording


def surge(returns: Returns, volumes: Returns) -> None:
    returns[200:204, 3] += 0.03
    volumes[200:204, 3] *= 60


@pytest.fixture
def alert() -> Alert:
    engine = Engine("test", "1m", {})
    found = [a for batch in recording(20, 210, inject=surge) for a in engine.update(batch, batch.close_time)]
    return [a for a in found if isinstance(a, Alert) and a.symbol == "C003USDT"][-1]


def told(alert: Alert, **changes: Any) -> Alert:
    """The alert with another explanation."""
    return msgspec.structs.replace(alert, explanation=msgspec.structs.replace(alert.explanation, **changes))


def explained(alert: Alert) -> str:
    store([sequenced(1, 1, alert)])
    out = StringIO()
    call_command("explain_alert", alert.id, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_it_computes_the_stored_score_again(alert: Alert) -> None:
    said = explained(alert)
    assert alert.explanation.sentence in said
    given = alert.explanation
    assert f"= ({given.observed:.6g} + {-given.parameters['expected']:.6g}) / {given.usual:.6g}, " in said
    assert "times what is worth a trade, against 1" in said
    assert f"usually between {price_text(alert.lower or 0)} and {price_text(alert.upper or 0)}" in said
    assert "All figures follow from the stored message" in said
    assert "DIFFERS" not in said


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"score": 40.0}, "score, methods"),
        ({"threshold": 1e6}, "threshold"),
        ({"price": 1.0}, "band, price"),
        ({"change_pct": -12.72}, "change"),
        ({"spark": [100.0] * 60}, "price, observed"),
        ({"threshold": None}, "threshold"),
        ({"expected": 1.0}, "band"),
        ({"lower": 1e-9}, "band"),
        ({"price": None, "change_pct": None}, "band"),
        ({"severity": Severity.LOW}, "severity"),
    ],
)
def test_a_figure_that_does_not_follow_is_an_error(alert: Alert, changes: dict[str, Any], name: str) -> None:
    with pytest.raises(CommandError, match=f"do not follow from the stored message: {name} "):
        explained(msgspec.structs.replace(alert, **changes))


@pytest.mark.django_db
@pytest.mark.parametrize(("given", "name"), [("size", "size"), ("surge", "volume"), ("threshold", "threshold")])
def test_what_is_not_large_enough_to_be_high_is_an_error(alert: Alert, given: str, name: str) -> None:
    with pytest.raises(CommandError, match=f"do not follow from the stored message: {name} "):
        explained(told(alert, parameters=alert.explanation.parameters | {given: 0.01}))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes", [{"usual": 0.0}, {"observed": None}, {"parameters": {}}, {"parameters": {"expected": "much"}}]
)
def test_what_cannot_be_worked_out_does_not_follow(alert: Alert, changes: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="do not follow from the stored message: figures "):
        explained(told(alert, **changes))


@pytest.mark.django_db
def test_the_method_is_one_of_those_that_found_it(alert: Alert) -> None:
    with pytest.raises(CommandError, match="do not follow from the stored message: methods "):
        explained(told(alert, methods=[]))


@pytest.mark.django_db
def test_what_is_high_says_what_made_it_so(alert: Alert) -> None:
    parameters = {name: value for name, value in alert.explanation.parameters.items() if name != "size_threshold"}
    with pytest.raises(CommandError, match="do not follow from the stored message: figures "):
        explained(told(alert, parameters=parameters))


@pytest.mark.django_db
def test_a_row_that_is_not_its_message_is_an_error(alert: Alert) -> None:
    explained(alert)
    models.Alert.objects.update(score=1.0, severity=0)
    with pytest.raises(CommandError, match="the columns of its row differ in: severity, score"):
        call_command("explain_alert", alert.id)
    models.Alert.objects.update(payload='{"x": 1}')
    with pytest.raises(CommandError, match=f"The stored message of {alert.id} is not a valid alert: symbol is missing"):
        call_command("explain_alert", alert.id)


@pytest.mark.django_db
def test_what_somebody_else_says_does_not_command_the_terminal(alert: Alert) -> None:
    said = explained(
        msgspec.structs.replace(alert, explanation=Explanation(sentence="\x1b[2J rose", version="\x1b]0;1\x07"))
    )
    assert "\x1b" not in said
    assert "rose" in said


@pytest.mark.django_db
def test_it_says_when_other_detectors_found_it(alert: Alert) -> None:
    assert f"detectors version 1 (installed: version {VERSION})" in explained(told(alert, version="1"))


@pytest.mark.django_db
def test_alerts_of_earlier_detectors_are_explained_as_far_as_they_go(alert: Alert) -> None:
    """Version 6 said nothing of what a size is compared with, and told a threshold that it had not used."""
    parameters = {
        name: value for name, value in alert.explanation.parameters.items() if not name.endswith("_threshold")
    }
    said = explained(msgspec.structs.replace(told(alert, version="6", parameters=parameters), threshold=1e6))
    assert "(observed − expected) / usual" in said
    assert "All figures follow from the stored message" in said


@pytest.mark.django_db
@pytest.mark.parametrize("window_ms", [-600_000, -5, True, 0, 1.5, "1m"])
def test_a_window_of_somebody_elses_making_is_no_crash(alert: Alert, window_ms: Any) -> None:
    foreign = told(alert, parameters=alert.explanation.parameters | {"window_ms": window_ms})
    with pytest.raises(CommandError, match="do not follow from the stored message"):
        explained(msgspec.structs.replace(foreign, spark=[alert.price or 0.0] * 3))


@pytest.mark.django_db
def test_an_incident_names_its_alerts(alert: Alert) -> None:
    movement = samples.a_movement("m1")
    store([sequenced(1, 1, msgspec.structs.replace(alert, incident="m1"))])
    store_market([sequenced(1, 2, movement)])
    with pytest.raises(CommandError, match=rf"m1 is a market anomaly \(SYNCHRONIZED_MOVEMENT\), .*: {alert.id}"):
        call_command("explain_alert", "m1")


@pytest.mark.django_db
@pytest.mark.parametrize("method", Method)
def test_it_says_when_an_alert_does_not_say_enough(alert: Alert, method: Method) -> None:
    for explanation in (
        Explanation(observed=4.0, usual=2.0),
        Explanation(detector=method.value.lower(), version="a", parameters={"size": 2.0}),
    ):
        foreign = msgspec.structs.replace(alert, method=method, threshold=None, explanation=explanation)
        assert "cannot be checked" in explained(foreign)


@pytest.mark.django_db
def test_an_unknown_alert_is_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"There is no alert X\."):
        call_command("explain_alert", "X")
