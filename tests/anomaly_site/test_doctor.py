"""What the doctor finds on this machine; a whole system is in tests/system/test_doctor.py."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

from pytest_django import Settings

from anomaly_site.keeping import local, remote
from anomaly_site.keeping.doctor import Finding, State, examine, ok
from tests.ingestion.stream.servers import certificates


def states(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.state, finding.text) for finding in found]


def test_a_check_that_hangs_or_fails_is_a_finding_among_the_others() -> None:
    never, password = threading.Event(), "nats://user:secret@host"

    def fails() -> Iterator[Finding]:
        yield ok("fails", "so far")
        raise OSError(f"no way to {password}")

    def hangs() -> Iterator[Finding]:
        never.wait()
        yield ok("hangs", "late")

    found = examine(
        [("hangs", hangs), ("fails", fails), ("silent", lambda: ()), ("well", lambda: [ok("well", "ok")])], 0.2
    )
    never.set()
    assert [(each.subject, each.state) for each in found] == [("hangs", "wrong"), ("fails", "wrong"), ("well", "ok")]
    assert found[0].text == "No answer within 0.2 s."
    assert "secret" not in found[1].text
    assert all(each.do for each in found if each.state is State.WRONG)


def test_certificates_are_named_before_they_end(settings: Settings, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    settings.NATS_CA, settings.NATS_CERT = str(made.ca), str(tmp_path / "absent.pem")
    settings.CHANNEL_REDIS_URL = f"rediss://host/0?ssl_ca_certs={made.server_key}"
    (_, ends), (_, absent), (_, no_certificate) = states(local.certificates())
    assert "(NATS_CA) ends on" in ends
    assert "No such file" in absent
    assert "(ssl_ca_certs of CHANNEL_REDIS_URL) cannot be read" in no_certificate
    assert {state for state, _ in states(local.certificates())} == {"wrong"}


def test_proxies_hosts_and_addresses_fit_together(settings: Settings) -> None:
    settings.BEHIND_TLS_PROXY, settings.TRUSTED_PROXIES, settings.ALLOWED_HOSTS = True, ["127.0.0.0/8"], ["localhost"]
    settings.PUBLIC_URL = "https://alerts.example.org"
    texts = [text for _, text in states(local.proxies())]
    assert [text.split()[0] for text in texts] == ["BEHIND_TLS_PROXY", "PUBLIC_URL"]
    settings.ALLOWED_HOSTS = [".example.org"]
    assert states(local.proxies()) == []
    settings.TRUSTED_PROXIES = ["0.0.0.0/0"]
    assert "every client may say which address it has" in states(local.proxies())[0][1]


def test_files_that_others_may_read(settings: Settings) -> None:
    settings.DATA_DIR.chmod(0o700)
    (settings.DATA_DIR / "secret_key").touch(0o600)
    assert [text for state, text in states(local.modes()) if str(settings.DATA_DIR) in text] == []
    (settings.DATA_DIR / "secret_key").chmod(0o644)
    [(state, text)] = [found for found in states(local.modes()) if str(settings.DATA_DIR) in found[1]]
    assert (state, text) == ("wrong", f"Other users of this machine may open {settings.DATA_DIR / 'secret_key'}.")


def test_the_rate_at_which_a_disk_fills_is_since_an_earlier_run(settings: Settings) -> None:
    assert local._rates({"/": 1_000}, now_s=1_000.0) == {}
    assert local._rates({"/": 5_000}, now_s=1_100.0) == {}
    assert local._rates({"/": 9_000, "/new": 1}, now_s=5_000.0) == {"/": 2.0}
    (settings.DATA_DIR / "doctor.json").write_text(json.dumps({"at": "soon"}))
    assert local._rates({"/": 9_000}, now_s=9_000.0) == {}


def test_packages_are_those_that_were_tested() -> None:
    [(state, _)] = states(local.packages())
    assert state == "ok"


def test_clocks_are_wrong_beyond_doubt_only() -> None:
    assert remote._clock("kraken", 2.4, 0.5).state is State.OK
    assert remote._clock("kraken", -2.6, 0.5).text == "The clock of kraken is 2.6 s behind this machine's."
    assert remote._clock("kraken", -2.6, 0.5).state is State.WRONG


def test_venues_are_asked_only_for_live_prices(settings: Settings) -> None:
    settings.SOURCE = "auto"
    assert states(remote.venues()) == []
    settings.SOURCE, settings.VENUES, settings.VENUE_URLS = "live", ["kraken"], {"kraken": "http://127.0.0.1:1"}
    [(state, text)] = states(remote.venues())
    assert (state, text.startswith("kraken cannot be reached")) == ("wrong", True)
