"""Logins and TLS against a real nats-server that requires them."""

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nkeys
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_django import Settings

from ingestion.stream.address import shown
from ingestion.stream.login import address
from ingestion.stream.nats import NatsRefused, NatsUnavailable, connection
from market.printable import without_credentials
from tests.ingestion.stream.servers import Certificates, certificates, serving

pytestmark = pytest.mark.system
ODD = "p@ss:w/rd?#%zz é"


@pytest.fixture(autouse=True)
def without_login(settings: Settings) -> None:
    for name in ("USER", "PASSWORD", "NKEY", "CREDENTIALS", "TOKEN", "CA", "CERT", "CERT_KEY"):
        setattr(settings, f"NATS_{name}", "")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


def seed(prefix: int = nkeys.PREFIX_BYTE_USER) -> bytes:
    made: bytes = nkeys.encode_seed(os.urandom(32), prefix)
    return made


def public(of: bytes) -> str:
    key: bytes = nkeys.from_seed(bytearray(of)).public_key
    return key.decode()


async def logs_in(url: str) -> None:
    async with connection(url, name="test") as client:
        assert (await client.jetstream().account_info()).streams is not None


async def refused(url: str, *secrets: str) -> str:
    """What a refused connection says, which has none of the secrets."""
    with pytest.raises(NatsRefused) as raised:
        await logs_in(url)
    for secret in secrets:
        assert secret not in str(raised.value)
    return str(raised.value)


# --- Users, tokens ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("users")
    nkey = folder / "user.nk"
    nkey.write_bytes(seed() + b"\n")
    key = public(nkey.read_bytes().strip())
    odd = json.dumps(ODD, ensure_ascii=False)
    users = f'{{user: ann, password: {odd}}}, {{user: bob, password: "b" }}, {{nkey: {key}}}'
    with serving(folder, f"authorization {{ users: [{users}] }}") as place:
        yield place, nkey


@pytest.mark.parametrize("login", ["ann:p%40ss%3Aw%2Frd%3F%23%25zz%20%C3%A9", f"ann:{ODD}", "ann:p@ss:w/rd?#%25zz é"])
async def test_a_password_may_have_any_character(of_users: tuple[str, Path], login: str) -> None:
    await logs_in(f"nats://{login}@{of_users[0]}")


async def test_a_user_of_the_settings(of_users: tuple[str, Path], settings: Settings) -> None:
    settings.NATS_USER, settings.NATS_PASSWORD = "ann", ODD
    await logs_in(f"nats://{of_users[0]}")
    settings.NATS_PASSWORD = "s3cret"
    said = await refused(f"nats://{of_users[0]}", "s3cret")
    assert "refused the login" in said
    assert "NATS_USER=ann or NATS_PASSWORD is wrong" in said
    await logs_in(f"nats://bob:b@{of_users[0]}")  # the address wins


async def test_a_wrong_password_in_the_address_is_not_shown(of_users: tuple[str, Path]) -> None:
    said = await refused(f"nats://ann:s3/cr@et@{of_users[0]}", "s3", "cr@", "et@")
    assert said.startswith(f"NATS at nats://{of_users[0]} refused the login (authorization violation): the user 'ann'")


async def test_no_login_says_what_can_be_set(of_users: tuple[str, Path]) -> None:
    assert "none was given. Set NATS_USER and NATS_PASSWORD, NATS_NKEY" in await refused(f"nats://{of_users[0]}")


async def test_an_nkey(of_users: tuple[str, Path], settings: Settings, tmp_path: Path) -> None:
    place, nkey = of_users
    settings.NATS_NKEY = str(nkey)
    await logs_in(f"nats://{place}")
    other = tmp_path / "other.nk"
    other.write_bytes(seed())
    settings.NATS_NKEY = str(other)
    assert f"it does not know the nkey in NATS_NKEY={other}" in await refused(f"nats://{place}", other.read_text())
    other.write_text("SUNOTASEED")
    assert "is not the seed of an nkey" in await refused(f"nats://{place}", "SUNOTASEED")
    settings.NATS_NKEY = str(tmp_path / "missing.nk")
    assert "missing.nk cannot be read: No such file" in await refused(f"nats://{place}")


async def test_a_wrong_token_is_no_absent_server(settings: Settings, tmp_path: Path) -> None:
    settings.NATS_TOKEN = "r1ght@/:"
    with serving(tmp_path, f"authorization {{ token: {json.dumps(settings.NATS_TOKEN)} }}") as place:
        await logs_in(f"nats://{place}")
        settings.NATS_TOKEN = "wr0ng"
        said = await refused(f"nats://{place}", "wr0ng")
        assert "refused the login (authorization violation): NATS_TOKEN is wrong" in said
        assert "its token is wrong" in await refused(f"nats://wr0ng@{place}", "wr0ng")


async def test_a_user_whose_password_changes_comes_back_when_it_is_right(tmp_path: Path) -> None:
    """The server ends the connection of a user that it does not know any more, and nothing else has to be restarted."""
    with serving(tmp_path, "authorization { users: [{user: ann, password: old}] }") as place:
        async with connection(f"nats://ann:old@{place}", name="test") as client, asyncio.timeout(20):
            for before, after, connected in (("old", "new", False), ("new", "old", True)):
                config = tmp_path / "server.conf"
                config.write_text(config.read_text().replace(before, after))
                os.kill(int((tmp_path / "pid").read_text()), signal.SIGHUP)
                while client.is_connected != connected:
                    assert not client.is_closed
                    await asyncio.sleep(0.02)
            await client.flush()


# --- Credentials files ------------------------------------------------------------------------------------------------


def jwt(issuer: bytes, subject: str, name: str, **claims: Any) -> str:
    """A JWT as NATS wants it (ADR-14)."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"version": 2, **claims}
    body = {"jti": name, "iat": int(time.time()), "iss": public(issuer), "sub": subject, "name": name, "nats": claims}
    text = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(body)}"
    signature = nkeys.from_seed(bytearray(issuer)).sign(text.encode())
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_a_credentials_file(settings: Settings, tmp_path: Path) -> None:
    operator, account, user = (
        seed(kind) for kind in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    )
    limits = {"subs": -1, "data": -1, "payload": -1}
    of_account = {"imports": -1, "exports": -1, "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1}
    account_jwt = jwt(operator, public(account), "a", type="account", limits=limits | of_account)
    config = (
        f"operator: {jwt(operator, public(operator), 'o', type='operator')}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {public(account)}: {account_jwt} }}"
    )
    creds = tmp_path / "user.creds"
    user_jwt = jwt(account, public(user), "u", type="user", **limits)
    text = (
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{{}}\n------END USER NKEY SEED------\n"
    )
    settings.NATS_CREDENTIALS = str(creds)
    with serving(tmp_path, config, jetstream=False) as place:
        creds.write_text(text.format(user.decode()))
        async with connection(f"nats://{place}", name="test") as client:
            await client.flush()
        creds.write_text(text.format(seed().decode()))
        assert f"does not accept NATS_CREDENTIALS={creds}" in await refused(f"nats://{place}", user.decode())
        creds.write_bytes(user)
        assert "is not a credentials file" in await refused(f"nats://{place}", user.decode())


# --- TLS --------------------------------------------------------------------------------------------------------------


def tls(keys: Certificates, *, verify: bool) -> str:
    return (
        f'tls {{ cert_file: "{keys.server}", key_file: "{keys.server_key}", ca_file: "{keys.ca}", '
        f"verify: {str(verify).lower()} }}\nauthorization {{ token: t }}"
    )


async def test_tls(keys: Certificates, settings: Settings, tmp_path: Path) -> None:
    with serving(tmp_path, tls(keys, verify=False)) as place:
        assert "has a certificate that cannot be trusted" in await refused(f"tls://t@{place}")
        assert "Set NATS_CA" in await refused(f"nats://t@{place}")
        settings.NATS_CA = str(keys.ca)
        await logs_in(f"tls://t@{place}")
        await logs_in(f"nats://t@{place}")
        assert "refused the login" in await refused(f"tls://s3cret@{place}", "s3cret")
        settings.NATS_CA = str(keys.server_key)
        assert f"NATS_CA={keys.server_key} cannot be used" in await refused(f"tls://t@{place}")


async def test_a_client_certificate(keys: Certificates, settings: Settings, tmp_path: Path) -> None:
    settings.NATS_CA = str(keys.ca)
    with serving(tmp_path, tls(keys, verify=True)) as place:
        with pytest.raises(NatsUnavailable, match=r"set NATS_CERT|TLS"):
            await logs_in(f"tls://t@{place}")
        settings.NATS_CERT, settings.NATS_CERT_KEY = str(keys.client), str(keys.client_key)
        await logs_in(f"tls://t@{place}")


async def test_a_login_is_not_sent_in_clear_where_tls_was_asked_for(
    keys: Certificates, settings: Settings, tmp_path: Path
) -> None:
    with serving(tmp_path, "authorization { token: t }") as place:
        assert "does not use TLS, so nothing was sent there" in await refused(f"tls://t@{place}")
        settings.NATS_CA = str(keys.ca)
        await refused(f"nats://t@{place}")


# --- Addresses --------------------------------------------------------------------------------------------------------


@given(
    st.text(st.characters(exclude_characters=":%'\"", exclude_categories=["Z", "C"]), min_size=1),
    st.text("a@:/%?#é", min_size=1),
)
@example("ann", "p%40")
def test_no_part_of_a_login_is_shown(user: str, password: str) -> None:
    for login in (f"{quote(user, safe='')}:{quote(password, safe='')}", f"{user}:{password}"):
        url = f"nats://{login}@host:4222"
        assert shown(url) == address(url).server == "nats://host:4222"
        assert without_credentials(f"at {url} (x)") == "at nats://host:4222 (x)"
    assert address(f"nats://{quote(user, safe='')}:{quote(password, safe='')}@h")[1:] == (user, password)
