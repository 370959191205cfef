import pytest

from anomaly_site.origins import is_listed, is_own_host, is_own_page, lacks_port, origin_patterns

PATTERNS = origin_patterns(["https://*.tealstreet.io", "https://desk.example.com:8443"])


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.tealstreet.io",
        "https://APP.TealStreet.io",
        "https://a.b.tealstreet.io",
        "https://desk.example.com:8443",
        "http://localhost",
        "http://localhost:5173",
        "https://127.0.0.1:3001",
        "http://[::1]:3001",
    ],
)
def test_listed(origin: str) -> None:
    assert is_listed(origin, PATTERNS)


@pytest.mark.parametrize(
    "origin",
    [
        "https://tealstreet.io",
        "http://app.tealstreet.io",
        "https://app.tealstreet.io.evil.com",
        "https://eviltealstreet.io",
        "https://app.tealstreet.io:8443",
        "https://app.tealstreet.io\n",
        "https://desk.example.com",
        "http://localhost.evil.com",
        "http://localhost:80.evil.com",
        "null",
        "",
    ],
)
def test_not_listed(origin: str) -> None:
    assert not is_listed(origin, PATTERNS)


def test_a_star_lets_everybody_in() -> None:
    assert is_listed("https://anywhere.example", origin_patterns(["*"]))


@pytest.mark.parametrize("entry", ["tealstreet.io", "https://", "https://a.example/path", "https://a.*.example"])
def test_an_entry_that_is_no_origin_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        origin_patterns([entry])


def test_own_host() -> None:
    assert is_own_host("https://alerts.example:3001", "alerts.example:3001")
    assert not is_own_host("https://evil.example", "alerts.example")
    assert not is_own_host("null", "")


def test_a_page_behind_a_proxy_that_drops_the_port() -> None:
    page, host = "https://alerts.example:8443", "alerts.example"
    assert not is_own_page(page, host, "")
    assert is_own_page(page, host, "https://Alerts.example:8443")
    assert not is_own_page("https://evil.example:8443", host, page)
    assert lacks_port(page, host)
    assert not any(lacks_port(origin, host) for origin in ("https://alerts.example", "https://evil.example:8443", ""))
