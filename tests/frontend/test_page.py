"""The page at `/` as the server delivers it: complete, self-contained and locked down."""

import re

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

pytestmark = pytest.mark.urls("frontend.urls")


def page() -> str:
    response = Client().get("/")
    assert response.status_code == 200
    return response.content.decode()


def test_every_file_it_names_exists_and_comes_from_this_host() -> None:
    names = re.findall(r'(?:src|href)="([^"]+\.\w+)"', page())
    assert names
    for name in names:
        assert name.startswith("/static/"), f"{name} is not ours"
        assert finders.find(name.removeprefix("/static/")), f"{name} is missing"


def test_nothing_is_inline_so_the_policy_can_forbid_it() -> None:
    html = page()
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son\w+=", html)
    policy = Client().get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
