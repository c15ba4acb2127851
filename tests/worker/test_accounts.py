"""Accounts: their clients, pauses and the list names that were learned."""

from __future__ import annotations

import logging
import time

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


def test_a_pause_is_shared_and_loud_and_ends(accounts, redis, keys, caplog):
    other = Accounts(redis, keys, WorkerSettings())
    assert other.paused_until("default") == 0
    accounts.pause("default", Snooze(60.0, "unauthorized", detail="401"))
    assert 59 < other.paused_until("default") - time.time() <= 60.001
    assert other.paused_until("eu") == 0
    [record] = caplog.records
    assert (record.levelno, KEY in record.getMessage()) == (logging.ERROR, False)
    assert "KLAVIYO_API_KEY" in record.getMessage()
    other.resume("default")
    assert accounts.paused_until("default") == 0


def test_list_names_are_learned_and_forgotten(accounts, redis, keys):
    accounts.learn_lists("default", {"News": "AAAAAA", "Ünï": "BBBBBB"})
    other = Accounts(redis, keys, WorkerSettings())
    assert other.lists("default") == {"News": "AAAAAA", "Ünï": "BBBBBB"}
    accounts.learn_lists("default", {"News": None})
    assert other.lists("default") == {"Ünï": "BBBBBB"}
    assert other.lists("eu") == {}
