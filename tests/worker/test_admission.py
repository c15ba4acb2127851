"""Admission, end to end: who is forgotten is sent no more, and unsubscribes find their way."""

from __future__ import annotations

import time
from itertools import count

import pytest
from click.testing import CliRunner

from entries import entry_of
from klaviyo_relay import AddToList, DeleteProfile, Identify, Subscribe, Track, Unsubscribe
from klaviyo_relay.envelope import Envelope, encode
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay_worker import intake, limits
from klaviyo_relay_worker.admission import admission_of
from klaviyo_relay_worker.cli.forget import forget
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.lease import Leases
from klaviyo_relay_worker.outcome import Dropped
from klaviyo_relay_worker.plan import consent, privacy
from klaviyo_relay_worker.plan.batch import Batch, Part
from klaviyo_relay_worker.plan.consent import unsubscribe_request
from waiting import for_a_while

WHO = "ada@shop.io"


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(privacy, "CHECK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(privacy, "IN_FLIGHT_AGAIN_SECONDS", 0.05)


@pytest.fixture
def put(house):
    """Puts a command of any age into a lane, as a spool does that was away."""

    entrance, numbers = LaneEntrance(house.redis, house.keys, 1_000_000), count(1)

    def make(command, at, lane=None):
        message = encode(
            Envelope(
                id=f"id-{at}-{command!r}", account="default", at=int(at * 1000), command=command
            )
        )
        numbered = [(next(numbers), message)]
        entrance.ship(f"default:{lane or command.lane}", "test", numbered)

    return make


def emails(sandbox):
    return {one["email"] for one in sandbox.profiles()}


def test_what_is_older_than_a_deletion_never_reaches_klaviyo(house, sandbox, put):
    now = time.time()
    put(DeleteProfile(email=WHO), now)
    house.turn()
    for command in (
        Identify(email=WHO.upper(), first_name="Ada"),
        Track(metric="Seen", email=WHO),
        Subscribe(email=WHO),
        Track(metric="Seen", email="other@shop.io"),
    ):
        put(command, now - 1)
    house.work_off()
    assert emails(sandbox) == {"other@shop.io"}
    rules = [lane["dropped_by_rule"] for lane in house.lanes().values() if lane["dropped"]]
    assert rules == [{"forgotten": 1}] * 3


def test_a_person_who_comes_back_is_known_again(house, sandbox, put):
    now = time.time()
    put(Identify(email=WHO, first_name="old"), now - 5)
    house.work_off()
    put(DeleteProfile(email=WHO), now)
    put(Identify(email=WHO, title="new"), now + 0.001)
    house.planner.deliver("default", "privacy")
    house.work_off()
    [profile] = sandbox.profiles()
    assert (profile.get("first_name"), profile["title"]) == (None, "new")
    assert sandbox.summary()["deletions"] == 1


def test_dead_letters_and_backlogs_are_purged(house, sandbox, put):
    now = time.time()
    sandbox.set_faults([{"endpoint": limits.CREATE_EVENT, "action": "refuse", "match": WHO}])
    put(Track(metric="Seen", email=WHO), now - 2)
    house.work_off()
    assert len(house.dead()) == 1
    put(Identify(email=WHO), now - 1)
    put(DeleteProfile(email=WHO), now)
    house.planner.deliver("default", "privacy")
    assert house.dead() == []
    assert house.numbers("events") == {"dropped": 1}
    assert house.numbers("profiles") == {"dropped": 1}
    assert house.redis.hget(house.keys.lane("default", "profiles").counts, "bytes") == b"0"
    assert house.status.report()["lost"] == 0


def test_a_deletion_waits_for_the_planner_that_was_there_before(house, sandbox, put):
    put(Identify(email=WHO), time.time() - 5)
    house.work_off()
    leases = Leases(house.redis)
    lease = leases.take(house.keys.lane("default", "profiles").lease)
    put(DeleteProfile(email=WHO), time.time())
    house.turn()
    assert sandbox.summary()["deletions"] == 0
    assert house.numbers("privacy") == {"parked": 1}
    leases.release(lease)
    leases.close()
    house.work_off()
    assert sandbox.summary()["deletions"] == 1


def test_a_deletion_waits_for_an_import_job_of_the_person(house, sandbox, put, until):
    sandbox.configure(import_delay_seconds=0.6)
    house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(20)), Identify(email=WHO))
    house.turn()
    assert house.numbers("profiles") == {"following": 21}
    house.enqueue(DeleteProfile(email=WHO))
    house.turn()
    assert sandbox.summary()["deletions"] == 0
    house.work_off()
    assert sandbox.summary()["deletions"] == 1
    assert WHO not in emails(sandbox)


@pytest.mark.parametrize("was_known", [True, False], ids=["known before", "unknown before"])
def test_a_profile_that_is_back_after_ten_minutes_is_deleted_again(
    house, sandbox, put, monkeypatch, was_known
):
    # Long enough that the second look cannot come within the turn of the first.
    monkeypatch.setattr(privacy, "CHECK_AGAIN_SECONDS", 1.0)
    if was_known:
        put(Identify(email=WHO), time.time() - 5)
        house.work_off()
    put(DeleteProfile(email=WHO), time.time())
    house.planner.deliver("default", "privacy")
    assert house.numbers("privacy") == {"parked": 1}
    # What Klaviyo took before the deletion and applied after it; not by way of the relay.
    client = house.planner.accounts.client("default")
    body = b'{"data":{"type":"profile","attributes":{"email":"ada@shop.io"}}}'
    client.send(Request(endpoint=limits.IMPORT_PROFILE, path="/api/profile-import", body=body))
    assert WHO in emails(sandbox)
    house.work_off()
    assert WHO not in emails(sandbox)
    assert house.numbers("privacy") == {"delivered": 1}


def test_a_redriven_deletion_spares_who_came_back(house, sandbox, put):
    put(Identify(email=WHO), time.time() - 5)
    house.work_off()
    sandbox.set_faults([{"endpoint": limits.DELETE_PROFILE, "status": 400, "times": 1}])
    put(DeleteProfile(email=WHO), time.time())
    house.work_off()
    assert house.numbers("privacy") == {"dead": 1}
    put(Identify(email=WHO, title="new"), time.time())
    house.work_off()
    house.letters.redrive(house.dead())
    house.work_off()
    assert house.lanes()["privacy"]["dropped_by_rule"] == {"came_back": 1}
    assert WHO in emails(sandbox)


def test_a_deletion_whose_answer_is_lost_is_asked_again(house, sandbox, put):
    put(Identify(email=WHO), time.time() - 5)
    house.work_off()
    sandbox.set_faults([{"endpoint": limits.DELETE_PROFILE, "action": "lose_answer", "times": 1}])
    put(DeleteProfile(email=WHO), time.time())
    house.work_off()
    assert house.numbers("privacy") == {"delivered": 1}
    assert sandbox.summary()["deletions"] == 1


def test_no_key_or_field_names_anybody(house, sandbox, put):
    put(Unsubscribe(email=WHO), time.time())
    put(DeleteProfile(email=WHO), time.time())
    house.work_off()
    keys = (house.keys.clock("default"), house.keys.forgotten("default"))
    stored = b"".join(
        b"".join((*pair,)) for key in keys for pair in house.redis.hgetall(key).items()
    )
    assert len(stored) > 24
    assert b"ada" not in stored


def test_what_is_newer_than_a_deletion_waits_for_its_answer(house, sandbox, put):
    put(Identify(email=WHO, first_name="old"), time.time() - 5)
    house.work_off()
    sandbox.set_faults([{"endpoint": limits.DELETE_PROFILE, "status": 503, "times": 1}])
    now = time.time()
    put(DeleteProfile(email=WHO), now)
    house.planner.deliver("default", "privacy")
    put(Identify(email=WHO, title="new"), now + 0.001)
    house.planner.deliver("default", "profiles")
    assert house.numbers("profiles") == {"delivered": 1, "parked": 1}
    house.work_off()
    [profile] = sandbox.profiles()
    assert (profile.get("first_name"), profile["title"]) == (None, "new")


def admission_to(house, lane):
    return admission_of(house.redis, house.keys, "default", lane, lambda _: {})


def test_a_deletion_is_noticed_on_reading_and_again_before_sending(house):
    profiles, now = admission_to(house, "profiles"), time.time()
    entry = entry_of(Identify(email=WHO), at=now)
    batch = Batch(limits.IMPORT_PROFILE, [entry], None)
    assert profiles.taken([entry], now) == {}
    assert profiles.leaving(batch, now) == {}
    admission_to(house, "privacy").taken([entry_of(DeleteProfile(email=WHO), at=now)], now)
    assert profiles.taken([entry], now) == {entry.key: Dropped("forgotten")}
    assert profiles.leaving(batch, now) == {entry.key: Dropped("forgotten")}


def test_forget_purges_and_enqueues(house, sandbox, put, monkeypatch, tmp_path):
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", house.relay.redis_url)
    monkeypatch.setenv("KLAVIYO_RELAY_SPOOL_DIR", str(tmp_path / "forget"))
    put(Identify(email=WHO), time.time() - 5)
    put(Identify(email="other@shop.io"), time.time() - 5)
    done = CliRunner().invoke(forget, ["--email", WHO])
    assert (done.exit_code, "1 older commands purged" in done.output) == (0, True), done.output
    house.work_off()
    assert emails(sandbox) == {"other@shop.io"}
    assert house.numbers("profiles") == {"delivered": 1, "dropped": 1}


@pytest.mark.parametrize(
    "arguments", [[], ["--email", WHO, "--profile-id", "01A"]], ids=["none", "two"]
)
def test_forget_takes_exactly_one_identifier(arguments):
    assert CliRunner().invoke(forget, arguments).exit_code == 2


# --- consent --------------------------------------------------------------------------------------


def consent_of(sandbox, email=WHO):
    [found] = [one for one in sandbox.profiles() if one["email"] == email]
    return found["subscriptions"]["email"]["marketing"]


def test_an_unsubscribe_behind_the_window_goes_first(house, sandbox, monkeypatch):
    monkeypatch.setattr(intake, "ENTRIES_MOST_ELSE", 50)
    monkeypatch.setattr(intake, "READ_AT_ONCE", 50)
    list_id = sandbox.create_list("News")
    house.enqueue(Identify(email="out@shop.io"))
    house.work_off()
    house.enqueue(
        Subscribe(list_id=list_id, email=WHO),
        *(Subscribe(list_id=list_id, email=f"p{n}@shop.io") for n in range(300)),
        Unsubscribe(email=WHO),
        Unsubscribe(email="out@shop.io"),
    )
    sandbox.set_faults([{"endpoint": limits.BULK_SUBSCRIBE, "status": 503}])
    house.turn()
    assert consent_of(sandbox, "out@shop.io")["consent"] == "UNSUBSCRIBED"
    sandbox.clear_faults()
    house.work_off()
    assert house.numbers("consent") == {"delivered": 302, "dropped": 1}


def test_the_clock_outlives_the_unsubscribe(house, sandbox, put):
    now = time.time()
    put(Unsubscribe(email=WHO), now)
    house.work_off()
    list_id = sandbox.create_list("News")
    put(Subscribe(list_id=list_id, email=WHO), now - 1)
    put(Subscribe(list_id=list_id, email="other@shop.io"), now - 1)
    house.work_off()
    assert house.lanes()["consent"]["dropped_by_rule"] == {"superseded": 1}
    assert consent_of(sandbox)["consent"] == "UNSUBSCRIBED"


@pytest.mark.parametrize("age", [60, 700], ids=["young", "late"])
def test_a_late_subscribe_asks_klaviyo_first(house, sandbox, put, age):
    list_id = sandbox.create_list("News")
    put(Identify(email=WHO), time.time())
    house.work_off()
    client = house.planner.accounts.client("default")
    command = Unsubscribe(email=WHO)
    client.send(unsubscribe_request(None, [Part((), command)]))
    put(Subscribe(list_id=list_id, email=WHO), time.time() - age)
    house.work_off()
    dropped = house.lanes()["consent"]["dropped_by_rule"]
    assert dropped == ({"newer_at_klaviyo": 1} if age > 600 else {})


def test_our_own_unsubscribe_is_no_newer_change_at_klaviyo(house, sandbox, put):
    list_id = sandbox.create_list("News")
    put(Unsubscribe(email=WHO), time.time() - 800)
    put(Subscribe(list_id=list_id, email=WHO), time.time() - 700)
    house.work_off()
    assert consent_of(sandbox)["consent"] == "SUBSCRIBED"


def test_an_unsubscribe_waits_for_a_join_that_is_under_way(house, sandbox, put, monkeypatch):
    monkeypatch.setattr(consent, "LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(consent, "MEMBERSHIP_SETTLES_SECONDS", 0.3)
    list_id = sandbox.create_list("News")
    put(AddToList(list_id=list_id, email=WHO), time.time() - 20)
    put(Unsubscribe(list_id=list_id, email=WHO), time.time() - 10)
    for _ in for_a_while(0.8):  # longer than membership takes to settle
        house.planner.deliver("default", "consent")
    assert house.numbers("consent") == {"parked": 1}
    house.work_off()
    assert house.numbers("consent") == {"delivered": 1}
    assert sandbox.summary()["global_unsubscribes"] == 0
    assert not house.redis.exists(house.keys.joins("default"))
