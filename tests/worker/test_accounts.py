"""Accounts: their clients, pauses and the list names that were learned."""

from __future__ import annotations

import logging

import pytest

from klaviyo_relay_worker.accounts import Accounts, variable_of
from klaviyo_relay_worker.outcome import Snooze
from klaviyo_relay_worker.settings import WorkerSettings

KEY = "pk_secret0123456789"


@pytest.fixture
def accounts(redis, keys):
    settings = WorkerSettings(api_keys={"default": KEY}, api_url="http://127.0.0.1:1")
    return Accounts(redis, keys, settings)


def test_an_account_has_one_client(accounts):
    client = accounts.client("default")
    assert client is not None
    assert accounts.client("default") is client


def test_an_account_without_a_key_is_complained_of_once(accounts, caplog):
    assert [accounts.client("eu") for _ in range(5)] == [None] * 5
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "KLAVIYO_API_KEY_EU" in record.getMessage()


@pytest.mark.parametrize(
    ("account", "variable"), [("default", "KLAVIYO_API_KEY"), ("eu_1", "KLAVIYO_API_KEY_EU_1")]
)
def test_the_variable_of_an_account(account, variable):
    assert variable_of(account) == variable


def test_a_refused_key_pauses_the_account_loudly_once_a_minute(accounts, redis, keys, caplog):
    other = Accounts(redis, keys, WorkerSettings())
    for _ in range(3):
        accounts.pause("default", "events", Snooze(60.0, "unauthorized", detail="401", status=401))
    whole, own = other.breakers.look("default", "events")
    assert 59 < whole.wait_seconds <= 60
    assert (whole.reason, own.reason) == ("unauthorized", "")
    assert other.breakers.look("eu", "events")[0].wait_seconds == 0
    [record] = caplog.records
    assert (record.levelno, KEY in record.getMessage()) == (logging.ERROR, False)
    assert "KLAVIYO_API_KEY" in record.getMessage()
    other.breakers.resume("default", "")
    assert accounts.breakers.look("default", "events")[0].word == "closed"


def test_a_missing_scope_pauses_one_family_only(accounts, caplog):
    accounts.pause("default", "consent", Snooze(60.0, "unauthorized", detail="403", status=403))
    assert accounts.breakers.look("default", "consent")[1].reason == "unauthorized"
    assert not any(one.wait_seconds for one in accounts.breakers.look("default", "events"))
    assert "scopes of KLAVIYO_API_KEY for consent" in caplog.text


def test_list_names_are_learned_and_forgotten(accounts, redis, keys):
    accounts.learn_lists("default", {"News": "AAAAAA", "Ünï": "BBBBBB"})
    other = Accounts(redis, keys, WorkerSettings())
    assert other.lists("default") == {"News": "AAAAAA", "Ünï": "BBBBBB"}
    accounts.learn_lists("default", {"News": None})
    assert other.lists("default") == {"Ünï": "BBBBBB"}
    assert other.lists("eu") == {}
