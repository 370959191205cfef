"""The InfluxDB servers that every test of a store runs against."""

import uuid
from collections.abc import Iterator

import pytest

from ingestion.timeseries.influx.client import InfluxServer
from tests.influx import RealServer, influxdb
from tests.influx_stub import BUCKET, ORG, TOKEN, InfluxStub

INFLUXDB = ("influxdb 1.6", "influxdb 2 contract", "influxdb 3 contract")


@pytest.fixture(scope="module")
def real_influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = influxdb(tmp_path_factory.mktemp("influxdb"))
    server.start()
    yield server
    server.kill()


def influx_server(request: pytest.FixtureRequest) -> InfluxServer:
    """The server that the parameter of the requesting fixture names, without any data."""
    if request.param == "influxdb 1.6":
        url = request.getfixturevalue("real_influxdb").url
        return InfluxServer(url=url, token="", database=f"t{uuid.uuid4().hex}", org="")  # made by the first write
    stub = InfluxStub(int(request.param.split()[1]))
    request.addfinalizer(stub.close)
    return InfluxServer(url=stub.url, token=TOKEN, database=BUCKET, org=ORG)
