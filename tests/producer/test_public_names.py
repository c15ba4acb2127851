import subprocess
import sys
from types import ModuleType

import pytest

import klaviyo_relay
from klaviyo_relay.commands import VERBS
from klaviyo_relay.contrib import django, django_outbox, sqlalchemy
from klaviyo_relay.verbs import Verbs

HEAVY = ("redis", "celery", "kombu", "requests", "urllib3", "klaviyo_relay_worker", "asyncio")


def loaded_after(code):
    say = f"{code}\nimport sys\nprint(*sorted(m for m in {HEAVY!r} if m in sys.modules))"
    said = subprocess.run(
        [sys.executable, "-I", "-c", say], capture_output=True, text=True, check=True, timeout=30
    )
    return said.stdout.split()


def test_all_names_exactly_what_the_package_exports():
    public = {
        name
        for name, value in vars(klaviyo_relay).items()
        if name.isidentifier() and not name.startswith("_") and not isinstance(value, ModuleType)
    } - {"annotations"}

    assert set(klaviyo_relay.__all__) == public
    assert len(klaviyo_relay.__all__) == len(set(klaviyo_relay.__all__))


def test_each_verb_of_the_module_is_that_of_one_producer():
    verbs = {name: getattr(klaviyo_relay, name) for name in klaviyo_relay.__all__ if name.islower()}

    owners = {verb.__self__ for verb in verbs.values()}

    assert {*VERBS, "track_once", "enqueue", "enqueue_many", "flush", "close"} <= set(verbs)
    assert all(verb.__name__ == name for name, verb in verbs.items())
    assert len(owners) == 1
    assert isinstance(owners.pop(), klaviyo_relay.Producer)


SENDING = {*VERBS, "track_once", "enqueue"}


def test_the_verbs_are_those_of_the_commands_and_written_down_once():
    written = {name for name in vars(Verbs) if not name.startswith("_")}

    assert written == {*SENDING, "enqueue_together"}


@pytest.mark.parametrize(
    "door", [klaviyo_relay, django, django_outbox], ids=lambda door: door.__name__
)
def test_every_door_of_functions_has_every_verb_as_it_is_written_down(door):
    for name in SENDING:
        assert getattr(door, name).__func__ is getattr(Verbs, name)
        assert name in door.__all__


def test_the_outbox_of_sqlalchemy_has_every_verb_with_the_session_before_it():
    for name in SENDING:
        assert getattr(sqlalchemy, name).__doc__.startswith(
            getattr(Verbs, name).__doc__.splitlines()[0]
        )
        assert name in sqlalchemy.__all__


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_after("import klaviyo_relay") == []


def test_making_a_producer_and_a_command_imports_nothing_heavy_either():
    code = (
        "import klaviyo_relay as k; k.Producer(); k.Settings();"
        "k.Track(metric='m', email='ada@lovelace.dev')"
    )

    assert loaded_after(code) == []


def test_importing_the_package_makes_no_files_and_no_threads(tmp_path):
    code = f"""
import os, threading
os.environ["XDG_STATE_HOME"] = os.environ["HOME"] = {str(tmp_path)!r}
import klaviyo_relay
klaviyo_relay.flush()
klaviyo_relay.close()
assert threading.active_count() == 1
assert not os.listdir({str(tmp_path)!r})
"""

    subprocess.run([sys.executable, "-I", "-c", code], check=True, timeout=30)
