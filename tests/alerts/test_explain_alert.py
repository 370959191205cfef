from io import StringIO

import msgspec
import pytest
from django.core.management import CommandError, call_command

from alerts.services import store
from ingestion.engine import Engine
from market.messages import Alert, Explanation, Method
from market.services import sequenced
from tests.market.recordings import Returns, recording


def surge(returns: Returns, volumes: Returns) -> None:
    returns[200:204, 3] += 0.03
    volumes[200:204, 3] *= 60


@pytest.fixture
def alert() -> Alert:
    engine = Engine("test", "1m", {})
    found = [a for batch in recording(20, 210, inject=surge) for a in engine.update(batch, batch.close_time)]
    return [a for a in found if isinstance(a, Alert) and a.symbol == "C003USDT"][-1]


def explained(alert: Alert) -> str:
    store([sequenced(1, 1, alert)])
    out = StringIO()
    call_command("explain_alert", alert.id, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_it_computes_the_stored_score_again(alert: Alert) -> None:
    said = explained(alert)
    assert alert.explanation.sentence in said
    assert "equal to the stored score" in said


@pytest.mark.django_db
def test_a_score_that_does_not_follow_is_an_error(alert: Alert) -> None:
    with pytest.raises(CommandError, match="stored score is another"):
        explained(msgspec.structs.replace(alert, score=alert.score * 1.01))


@pytest.mark.django_db
@pytest.mark.parametrize("method", Method)
def test_it_says_when_an_alert_does_not_say_enough(alert: Alert, method: Method) -> None:
    foreign = msgspec.structs.replace(alert, method=method, explanation=Explanation(observed=4.0, usual=2.0))
    assert "of another detector" in explained(foreign)


@pytest.mark.django_db
def test_an_unknown_alert_is_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"There is no alert X\."):
        call_command("explain_alert", "X")
