"""The outbox under Django, on SQLite and on PostgreSQL.

Django is configured once a process, so each test is a project of its own, in its own process.
"""

import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from sqlalchemy.engine import make_url

from environment import environment_of

ADA = "ada@lovelace.dev"
PROJECT = """
import json, os, sys, threading
import django
from django.conf import settings
from django.core.management import call_command
settings.configure(
    SECRET_KEY="x", USE_TZ=True, DATABASES=json.loads(os.environ["DATABASES"]),
    INSTALLED_APPS=["klaviyo_relay.contrib.django_outbox"],
    DATABASE_ROUTERS=json.loads(os.environ.get("ROUTERS", "[]")),
)
django.setup()
from django.db import connection, transaction
from klaviyo_relay.contrib import django_outbox as outbox
from klaviyo_relay.contrib.django_outbox.models import OutboxRow, OutboxState
ADA = "ada@lovelace.dev"
"""


def database_settings(url):
    found = make_url(url)
    if found.get_backend_name() == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": found.database,
            "OPTIONS": {"timeout": 20},
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": found.database,
        "USER": found.username,
        "HOST": found.host,
        "PORT": found.port,
    }


class Project:
    """Runs code with Django set up, and its relay."""

    def __init__(self, databases, redis_url):
        self.environment = environment_of(
            DATABASES=json.dumps(databases), KLAVIYO_RELAY_REDIS_URL=redis_url
        )
        self.relays = []

    def _command(self, code):
        return [sys.executable, "-W", "error", "-c", PROJECT + textwrap.dedent(code)]

    def run(self, code, **environment):
        """What the code prints, as JSON."""
        ended = subprocess.run(
            self._command(code),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout or "null")

    def relay(self, *options, lease="0.01"):
        arguments = ["klaviyo_relay_outbox", "--poll", "0.01", "--lease", lease, *options]
        process = subprocess.Popen(
            self._command(f"call_command(*{arguments!r})"), env=self.environment
        )
        self.relays.append(process)
        return process

    def kill_relays(self):
        for process in self.relays:
            process.kill()
            process.wait()
        self.relays.clear()


@pytest.fixture
def project(database_url, redis_url):
    made = Project({"default": database_settings(database_url)}, redis_url)
    made.run("call_command('migrate', verbosity=0)")
    yield made
    made.kill_relays()


def test_what_is_committed_is_shipped_in_order_and_what_is_rolled_back_never_was(
    project, lanes, until
):
    ids = project.run(
        """
        with transaction.atomic():
            ids = [outbox.track("M", email=ADA, value=n, profile={"first_name": "Ada"})
                   for n in range(3)]
        try:
            with transaction.atomic():
                outbox.track("M", email=ADA)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        with transaction.atomic():
            ids.append(outbox.track("M", email=ADA))
            try:
                with transaction.atomic():
                    outbox.track("M", email=ADA)
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        ids.append(outbox.track_once("M", email=ADA))
        print(json.dumps(ids))
        """
    )

    relay = project.relay()
    until(lambda: lanes.length() == 5 and lanes.length("profiles") == 3)
    relay.send_signal(signal.SIGTERM)

    assert relay.wait(10) == 0
    assert lanes.ids() == ids
    state, left = project.run(
        "print(json.dumps([list(OutboxState.objects.values('holder', 'last_number')),"
        " OutboxRow.objects.count()]))"
    )
    assert state == [{"holder": None, "last_number": 8}]
    # They stay for the re-ship window.
    assert left == 8


def test_shipped_rows_are_deleted_after_the_window(project, lanes):
    left = project.run(
        """
        from klaviyo_relay.contrib.django_outbox.store import DjangoStore
        from klaviyo_relay.outbox import OutboxShipper, shipper
        shipper.RESHIP_SECONDS = 0.0
        outbox.enqueue_many(
            outbox_command for outbox_command in [
                __import__("klaviyo_relay").Track(metric="M", email=ADA) for _ in range(1_100)])
        relay = OutboxShipper(DjangoStore(), poll_seconds=0.01)
        relay.start()
        while OutboxRow.objects.exists():
            pass
        relay.stop()
        print(OutboxRow.objects.count())
        """
    )

    assert left == 0
    assert lanes.length("events:bulk") == 1_100


def test_a_named_database_and_the_routers_choice(tmp_path, redis_url, lanes, until):
    databases = {
        name: database_settings(f"sqlite:///{tmp_path / name}.db") for name in ("default", "shop")
    }
    (tmp_path / "routing.py").write_text(
        textwrap.dedent(
            """
            class ToShop:
                def db_for_write(self, model, **hints):
                    return "shop"
            """
        )
    )
    project = Project(databases, redis_url)
    counts = """
        for alias in ("default", "shop"):
            call_command("migrate", verbosity=0, database=alias)
        outbox.track("M", email=ADA)
        outbox.using("shop").track("M", email=ADA)
        outbox.using("default").identify(email=ADA)
        print(json.dumps([OutboxRow.objects.using(a).count() for a in ("default", "shop")]))
        """

    assert project.run(counts) == [2, 1]
    routed = project.run(counts, ROUTERS='["routing.ToShop"]', PYTHONPATH=str(tmp_path))
    assert routed == [3, 3]

    project.relay("--database", "shop")
    until(lambda: lanes.length() == 3)
    project.kill_relays()
    assert lanes.length("profiles") == 0


def test_an_invalid_command_raises_at_the_call_and_stores_nothing(project):
    said = project.run(
        """
        from klaviyo_relay import InvalidCommandError
        try:
            outbox.track("M", email="nobody")
        except InvalidCommandError as error:
            print(json.dumps([error.field, OutboxRow.objects.count()]))
        """
    )

    assert said == ["email", 0]


def test_the_models_and_the_migration_agree(project):
    project.run("call_command('makemigrations', check=True, dry_run=True, verbosity=0)")
    project.run("call_command('check', fail_level='WARNING', stdout=__import__('io').StringIO())")


def test_kill_minus_nine_at_random_moments_loses_and_doubles_nothing(project, lanes, until, chance):
    application = subprocess.Popen(
        project._command(
            """
            committed = []
            stop = threading.Event()
            threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
            turn = 0
            while not stop.wait(0.001):
                turn += 1
                try:
                    with transaction.atomic():
                        ids = [outbox.track("M", email=ADA) for _ in range(1 + turn % 4)]
                        if turn % 5 == 0:
                            raise ZeroDivisionError
                    committed.append(ids)
                except ZeroDivisionError:
                    pass
            print(json.dumps(committed))
            """
        ),
        env=project.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(3):
            began = lanes.length()
            project.relay()
            project.relay()
            until(lambda began=began: lanes.length() > began)
            # The moment of the kill is what is tested; nothing waits for this.
            time.sleep(chance.uniform(0, 0.1))
            project.kill_relays()
        said, _ = application.communicate(timeout=30)
    finally:
        application.kill()
        application.wait()
    transactions = json.loads(said)
    expected = [each for ids in transactions for each in ids]
    project.relay()
    until(lambda: lanes.length() >= len(expected))

    assert lanes.ids() == expected


def test_the_tables_are_those_of_sqlalchemy(project, database_url, lanes, relay, until):
    """So that either relay may ship what either side has written."""
    from sqlalchemy import create_engine

    from klaviyo_relay.contrib import sqlalchemy as outbox

    ids = project.run('print(json.dumps([outbox.track("M", email=ADA) for _ in range(3)]))')
    engine = create_engine(database_url)
    started = relay(engine)
    until(lambda: lanes.length() == 3)
    with engine.begin() as connection:
        ids.append(outbox.track(connection, "M", email=ADA))
    until(lambda: lanes.length() == 4)
    started.stop()
    engine.dispose()

    assert lanes.ids() == ids


def test_a_wrong_setting_is_said_by_the_command(project):
    ended = subprocess.run(
        project._command("call_command('klaviyo_relay_outbox')"),
        env={**project.environment, "KLAVIYO_RELAY_REDIS_URL": "http://x"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert "CommandError" in ended.stderr
    assert "KLAVIYO_RELAY_REDIS_URL" in ended.stderr
