"""`klaviyo_relay.contrib.django`, all of it, in this process, with two databases."""

import asyncio
import io
import time
import unittest

import django
import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections, transaction
from django.test import TestCase
from django.test.utils import override_settings

import klaviyo_relay
from klaviyo_relay import InvalidCommandError, Producer, Settings
from klaviyo_relay.contrib import django as klaviyo
from klaviyo_relay.contrib.django import checks
from klaviyo_relay.contrib.django.management.commands import klaviyo_relay as command
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.testing import CaptureMixin, capture
from spool_files import EVENTS, closed_to_us, left_behind

ADA = "ada@lovelace.dev"


@pytest.fixture(scope="module", autouse=True)
def _django(tmp_path_factory):
    folder = tmp_path_factory.mktemp("databases")
    databases = {
        alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / alias)}
        for alias in ("default", "other")
    }
    if not django_settings.configured:
        django_settings.configure(
            DATABASES=databases,
            INSTALLED_APPS=["klaviyo_relay.contrib.django"],
            USE_TZ=True,
        )
        django.setup()
    yield
    connections.close_all()
    klaviyo_relay._default.configure(Settings.from_env)


@pytest.fixture
def relay():
    with capture() as found:
        yield found


def metrics(relay):
    return [command.metric for command in relay.commands]


# --- transactions ---------------------------------------------------------------------------------


def test_outside_of_a_transaction_a_command_is_stored_at_once(relay):
    identity = klaviyo.track("M", email=ADA)

    assert [found.id for found in relay.captured] == [identity]


def test_in_a_transaction_it_is_stored_at_the_commit_with_the_id_and_time_of_the_call(relay):
    given = {"items": ["Tea"]}
    with transaction.atomic():
        first = klaviyo.track("M", email=ADA, properties=given)
        after = time.time()
        second = klaviyo.identify(email=ADA, first_name="Ada")
        given["items"].append("Socks")
        relay.assert_nothing_sent()

    assert [found.id for found in relay.captured] == [first, second]
    assert relay.captured[0].at.timestamp() <= after
    relay.assert_tracked("M", properties={"items": ["Tea"]})


def test_after_a_rollback_nothing_was_sent(relay):
    def fail():
        with transaction.atomic():
            klaviyo.track("M", email=ADA)
            klaviyo.unsubscribe(email=ADA)
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    relay.assert_nothing_sent()


def test_a_savepoint_that_is_rolled_back_takes_only_its_own_along(relay):
    with transaction.atomic():
        klaviyo.track("before", email=ADA)
        try:
            with transaction.atomic():
                klaviyo.track("inside", email=ADA)
                raise KeyError  # noqa: TRY301 - as an application's own code would
        except KeyError:
            klaviyo.track("after", email=ADA)

    assert metrics(relay) == ["before", "after"]


def test_a_bad_command_raises_at_the_call(relay):
    with transaction.atomic(), pytest.raises(InvalidCommandError, match="email"):
        klaviyo.track("M", email="nobody")

    relay.assert_nothing_sent()


def test_another_databases_transaction_is_named_by_its_alias(relay):
    with transaction.atomic(using="other"):
        klaviyo.track("default", email=ADA)
        klaviyo.using("other").track("other", email=ADA)
        assert metrics(relay) == ["default"]

    assert metrics(relay) == ["default", "other"]
    assert klaviyo.using("other") is klaviyo.using("other")


def test_a_verb_outside_of_a_transaction_needs_no_database(relay):
    connection.close()
    klaviyo.track("M", email=ADA)

    assert connection.connection is None
    relay.assert_tracked("M")


def test_in_manual_transaction_management_a_verb_raises_as_on_commit_does(relay):
    transaction.set_autocommit(False)
    try:
        with pytest.raises(transaction.TransactionManagementError):
            klaviyo.track("M", email=ADA)
    finally:
        transaction.set_autocommit(True)

    relay.assert_nothing_sent()


def test_a_coroutine_may_call_a_verb_also_where_this_thread_is_connected(relay):
    connection.ensure_connection()

    async def view():
        klaviyo.track("M", email=ADA)
        await klaviyo.unsubscribe_async(email=ADA)

    asyncio.run(view())

    relay.assert_tracked("M")
    relay.assert_unsubscribed(email=ADA)


def test_what_is_stored_goes_to_the_processs_own_producer(relay_settings, lanes):
    klaviyo_relay._default.configure(lambda: relay_settings)
    with transaction.atomic():
        identity = klaviyo.track("M", email=ADA)
        assert klaviyo.flush() == (0,)
        assert lanes_ids(lanes) == []

    assert klaviyo.flush(10).left == 0
    assert lanes_ids(lanes) == [identity]
    assert len(list(relay_settings.spool_directory.glob("*.spool"))) == 1
    klaviyo.close()


def lanes_ids(redis):
    from klaviyo_relay.envelope import decode

    found = redis.xrange("kr:{default:events}:stream")
    return [decode(fields[b"e"]).id for _, fields in found]


@pytest.fixture
def lanes(redis):
    return redis


def test_all_verbs_are_there_except_the_one_that_cannot_wait():
    verbs = {name for name in klaviyo_relay.__all__ if name.islower()}

    assert verbs - set(klaviyo.__all__) == {"enqueue_many"}
    assert all(callable(getattr(klaviyo, name)) for name in klaviyo.__all__)


# --- in tests -------------------------------------------------------------------------------------


class _Checkout(CaptureMixin, TestCase):
    __test__ = False

    def test_what_runs_after_the_commit_is_captured(self):
        with self.captureOnCommitCallbacks(execute=True):
            klaviyo.track("M", email=ADA)
        self.relay.assert_tracked("M", count=1)

    def test_what_waits_for_the_commit_is_named_in_the_failure(self):
        klaviyo.track("M", email=ADA)
        assert klaviyo.waiting_for_commit() == 1
        with pytest.raises(AssertionError, match=r"1 on_commit functions wait .*Callbacks"):
            self.relay.assert_tracked("M")


def test_djangos_testcase_works_with_the_mixin():
    result = unittest.TestResult()

    unittest.defaultTestLoader.loadTestsFromTestCase(_Checkout).run(result)

    assert (result.testsRun, result.failures, result.errors) == (2, [], [])
    assert klaviyo.waiting_for_commit() == 0


# --- settings -------------------------------------------------------------------------------------


def settings_now():
    return klaviyo_relay._default.settings


def test_the_setting_goes_before_the_environment_which_goes_before_the_default(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("KLAVIYO_RELAY_NAMESPACE", "from-env")
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", "redis://from-env:1/0")
    given = {
        "REDIS_URL": "redis://from-django:1/0",
        "SPOOL_DIR": tmp_path,
        "EXIT_SECONDS": 3,
        "DURABILITY": None,
    }
    with override_settings(KLAVIYO_RELAY=given):
        assert settings_now() == Settings(
            redis_url="redis://from-django:1/0",
            spool_dir=tmp_path,
            namespace="from-env",
            exit_seconds=3.0,
        )
    assert settings_now().redis_url == "redis://from-env:1/0"


FAULTY = [
    ({"REDIS_URL": "http://x", "EXIT_SECONDS": "soon"}, ['["REDIS_URL"] must', '["EXIT_SECONDS"]']),
    ({"REDIS_URI": "redis://x"}, ['KLAVIYO_RELAY["REDIS_URI"] is unknown; known are REDIS_URL, ']),
    ({"REDIS_URI": "x", "SPOOL_DIR": "here"}, ['["REDIS_URI"]', '["SPOOL_DIR"] must be an abs']),
    ("redis://x", ["KLAVIYO_RELAY must be a dict, not str"]),
]


@pytest.mark.parametrize(("given", "said"), FAULTY)
def test_faulty_settings_are_said_by_the_checks_and_by_the_first_command(given, said):
    with override_settings(KLAVIYO_RELAY=given):
        found = [check for check in run_checks() if check.id == "klaviyo_relay.E001"]
        with pytest.raises(ConfigurationError) as caught:
            klaviyo.track("M", email=ADA)

    assert len(found) == len(said)
    for check, text in zip(
        sorted(found, key=lambda one: "unknown" not in one.msg), said, strict=True
    ):
        assert text in check.msg
        assert text in str(caught.value)


def test_a_fault_of_the_environment_is_named_as_the_environment_has_it(monkeypatch):
    monkeypatch.setenv("KLAVIYO_RELAY_NAMESPACE", "a b")

    (found,) = checks.check()

    assert found.msg.startswith("KLAVIYO_RELAY_NAMESPACE must")


def test_a_spool_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch(mode=0o700)
    with override_settings(KLAVIYO_RELAY={"SPOOL_DIR": tmp_path / "file" / "spool"}):
        (found,) = checks.check()

    assert found.id == "klaviyo_relay.E002"
    assert str(tmp_path / "file") in found.msg


@pytest.mark.parametrize(("debug", "many"), [(False, 1), (True, 0)])
def test_a_spool_that_may_not_last_is_a_warning_outside_of_development(
    tmp_path, monkeypatch, debug, many
):
    monkeypatch.setattr(checks, "why_unsuitable", lambda path: f"{path} is on tmpfs")
    with override_settings(DEBUG=debug, KLAVIYO_RELAY={"SPOOL_DIR": tmp_path / "new"}):
        found = checks.check()

    assert [check.id for check in found] == ["klaviyo_relay.W001"] * many
    assert not (tmp_path / "new").exists()


def test_a_spool_on_a_disk_is_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "why_unsuitable", lambda path: None)
    with override_settings(KLAVIYO_RELAY={"SPOOL_DIR": tmp_path}):
        assert checks.check() == []


# --- the management command -----------------------------------------------------------------------


def said_by(what):
    out = io.StringIO()
    call_command("klaviyo_relay", what, stdout=out)
    return out.getvalue()


def test_files_that_may_not_be_opened_are_named_and_the_others_are_shipped(
    relay_settings, redis, capsys
):
    another_users = closed_to_us(left_behind(relay_settings, EVENTS))
    left_behind(relay_settings, EVENTS)
    given = {"REDIS_URL": relay_settings.redis_url, "SPOOL_DIR": relay_settings.spool_dir}

    with override_settings(KLAVIYO_RELAY=given):
        assert "0 commands wait" in said_by("flush")

    assert redis.xlen("kr:{default:events}:stream") == 1
    assert f"{another_users} cannot be read" in capsys.readouterr().err


def test_status_says_what_waits_and_flush_ships_it(redis_url, tmp_path, lanes):
    away = Settings(
        redis_url="redis://127.0.0.1:1/0", spool_dir=tmp_path / "spool", exit_seconds=0.0
    )
    producer = Producer(away)
    for _ in range(3):
        producer.track("M", email=ADA)
    producer.close()
    given = {"REDIS_URL": away.redis_url, "SPOOL_DIR": away.spool_dir}

    with override_settings(KLAVIYO_RELAY=given):
        assert "redis://127.0.0.1:1/0 does not answer" in said_by("status")
        assert f"Spool  {away.spool_dir}: 3 commands wait" in said_by("status")
        with pytest.raises(CommandError, match=r"redis://127\.0\.0\.1:1/0"):
            said_by("flush")
    with override_settings(KLAVIYO_RELAY={**given, "REDIS_URL": redis_url}):
        # Another Redis, so another spool: staging's commands do not go to production.
        assert "0 commands wait" in said_by("flush")
    assert lanes_ids(lanes) == []


def test_status_asks_redis_also_where_the_spool_is_empty(tmp_path):
    given = {"REDIS_URL": "redis://127.0.0.1:1/0", "SPOOL_DIR": tmp_path}
    with override_settings(KLAVIYO_RELAY=given):
        assert "does not answer" in said_by("status")


def test_status_knows_nothing_of_a_file_that_somebody_removes_meanwhile(tmp_path, monkeypatch):
    gone = tmp_path / "0a1b2c3d-0123456789ab.spool"
    monkeypatch.setattr(command, "spool_paths", lambda *_: iter([gone]))
    given = {"REDIS_URL": "redis://127.0.0.1:1/0", "SPOOL_DIR": tmp_path}
    with override_settings(KLAVIYO_RELAY=given):
        assert "0 commands wait" in said_by("status")
    assert list(tmp_path.iterdir()) == []
