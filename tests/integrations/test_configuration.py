"""`klaviyo_relay.contrib.configuration`, which Django's and Flask's settings share."""

from pathlib import Path

import pytest

from klaviyo_relay import Settings
from klaviyo_relay.contrib.configuration import read_settings
from klaviyo_relay.errors import ConfigurationError

LABEL = 'RELAY["{}"]'


def test_what_is_given_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("KLAVIYO_RELAY_NAMESPACE", "from-env")
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", "redis://from-env:1/0")

    found = read_settings({"REDIS_URL": "redis://given:1/0", "EXIT_SECONDS": 3}, LABEL)

    assert found == Settings(redis_url="redis://given:1/0", namespace="from-env", exit_seconds=3.0)


def test_none_counts_as_unset_and_objects_as_what_they_say(monkeypatch):
    monkeypatch.setenv("KLAVIYO_RELAY_NAMESPACE", "from-env")

    found = read_settings({"NAMESPACE": None, "SPOOL_DIR": Path("/var/spool")}, LABEL)

    assert (found.namespace, found.spool_dir) == ("from-env", Path("/var/spool"))


def test_every_fault_is_told_by_the_name_that_its_user_wrote(monkeypatch):
    monkeypatch.setenv("KLAVIYO_RELAY_DURABILITY", "maybe")

    with pytest.raises(ConfigurationError) as caught:
        read_settings({"REDIS_URI": "x", "NAMESPACE": "a b"}, LABEL)

    unknown, *others = caught.value.faults
    assert unknown.startswith('RELAY["REDIS_URI"] is unknown; known are REDIS_URL,')
    assert sorted(fault.partition(" must ")[0] for fault in others) == [
        "KLAVIYO_RELAY_DURABILITY",
        'RELAY["NAMESPACE"]',
    ]
