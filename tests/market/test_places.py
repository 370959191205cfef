"""Lists of one client do not keep others from theirs."""

import threading

import pytest
from django.test import Client

from market import places
from market.places import Places, TooManyLists


def test_a_client_has_so_many_places_and_others_theirs() -> None:
    found = Places(most=3, of_client=2, wait_s=0)
    found.take("a")
    found.take("a")
    with pytest.raises(TooManyLists, match="for your address") as refused:
        found.take("a")
    assert refused.value.status_code == 429
    found.take("b")
    with pytest.raises(TooManyLists, match="as many lists as it may") as refused:
        found.take("b")
    assert refused.value.status_code == 503
    found.release("a")
    found.take("b")
    assert len(found) == 3


def test_a_place_that_comes_free_in_time_is_taken() -> None:
    found = Places(most=1, of_client=1, wait_s=30)
    found.take("a")
    waiting = threading.Thread(target=found.take, args=["b"])
    waiting.start()
    found.release("a")
    waiting.join(30)
    assert len(found) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/alerts", "/market", "/alerts/summary", "/market/summary", "/market/stress"])
def test_a_list_without_a_place_is_refused_and_every_answer_frees_its_own(
    client: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Places(most=1, of_client=1, wait_s=0)
    monkeypatch.setattr(places, "PLACES", one)
    for query, status in (("", 200), ("?colour=red", 400)):
        assert client.get(path + query).status_code == status
        assert len(one) == 0
    assert client.get(path, headers={"accept": "text/html"}).status_code in (200, 406)
    assert len(one) == 0
    one.take("127.0.0.1")
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
    assert "wait for them" in answer.json()["detail"]
    assert client.get("/sectors").status_code == 200
