"""A line says what it was made of: to the parser of the test server, and to the client library's own writer."""

from hypothesis import given
from hypothesis import strategies as st
from influxdb_client.client.write.point import Point

from ingestion.timeseries.core.lines import Value, line
from tests.influx_stub import _parse

NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
TAGS = st.text("aZ0 ,=\"'/:.-_é€", min_size=1, max_size=12)
TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\u2028\u2029\x85"), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1) | st.booleans()
TIMES = st.integers(0, 2**63 - 1)


def test_the_kinds_of_fields_are_told_apart() -> None:
    fields: dict[str, Value] = {"price": 1.0, "revision": 1, "current": True, "id": 'a "b" \\'}
    assert line("alerts", [("symbol", "BTC/USDT"), ("venue", "a b")], fields, 7) == (
        r'alerts,symbol=BTC/USDT,venue=a\ b price=1.0,revision=1i,current=true,id="a \"b\" \\" 7'
    )


@given(NAMES, st.dictionaries(NAMES, TAGS, max_size=3), st.dictionaries(NAMES, NUMBERS | TEXTS, min_size=1), TIMES)
def test_a_server_reads_what_was_written(
    measurement: str, tags: dict[str, str], fields: dict[str, Value], time: int
) -> None:
    read = _parse(line(measurement, tags.items(), fields, time))
    assert read == (measurement, tags, fields, time)
    assert [type(value) for value in read[2].values()] == [type(value) for value in fields.values()]


@given(NAMES, st.dictionaries(NAMES, TAGS, max_size=3), st.dictionaries(NAMES, NUMBERS | TEXTS, min_size=1), TIMES)
def test_the_client_library_writes_the_same_point(
    measurement: str, tags: dict[str, str], fields: dict[str, Value], time: int
) -> None:
    point = Point.from_dict({"measurement": measurement, "tags": tags, "fields": fields, "time": time})
    assert _parse(point.to_line_protocol()) == _parse(line(measurement, tags.items(), fields, time))
