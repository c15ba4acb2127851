"""Where the dashboard listens, and by which names it may be asked for."""

from __future__ import annotations

import pytest

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.dashboard.binding import TOKEN, Binding, host_name, is_loopback

SECRET = "correct-horse-battery"


def test_beyond_loopback_addresses_and_given_names_are_allowed():
    open_to_all = Binding(host="0.0.0.0", token=SECRET, names=("relay.shop.io",))  # noqa: S104 - never listened at
    allowed = [
        name
        for name in ("relay.shop.io", "10.1.2.3", "fe80::1", "localhost", "evil.io", "")
        if open_to_all.allows(name)
    ]
    assert allowed == ["relay.shop.io", "10.1.2.3", "fe80::1", "localhost"]


@pytest.mark.parametrize(
    ("header", "name"),
    [("A.io:1", "a.io"), ("[::1]:8", "::1"), ("[::1]", "::1"), ("a.io", "a.io"), ("", "")],
)
def test_the_name_in_a_host_header_is_read_without_its_port(header, name):
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("name", "is_so"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("LOCALHOST", True), ("::1", True),
     ("::", False), ("10.0.0.1", False), ("example", False)],
)  # fmt: skip
def test_an_address_is_known_to_be_loopback_or_not(name, is_so):
    assert is_loopback(name) is is_so


@pytest.mark.parametrize(
    ("host", "names", "token"),
    [
        ("0.0.0.0", (), ""),  # noqa: S104 - never listened at
        ("10.0.0.1", (), "short"),
        ("127.0.0.1", (), "fifteen-letters"),
        ("127.0.0.1", ("relay.shop.io",), ""),
    ],
)
def test_it_does_not_start_without_a_good_token_where_it_needs_one(host, names, token):
    with pytest.raises(ConfigurationError, match=TOKEN):
        Binding.from_env(host, 0, names, {TOKEN: token})


def test_it_starts_with_a_good_token_and_on_loopback_without_any():
    made = Binding.from_env("0.0.0.0", 0, (), {TOKEN: "sixteen-letters!"})  # noqa: S104 - never listened at
    assert made.token == "sixteen-letters!"
    assert Binding.from_env(environ={}).token == ""
