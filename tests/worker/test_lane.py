"""A lane in a real Redis: what is written down about commands adds up, whatever happens twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from klaviyo_relay import Identify, Track
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay_worker.dead_letters import DeadLetters
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.lane import LaneState, next_look
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Dead, Delivered, Dropped, Failure, Following, Parked
from klaviyo_relay_worker.status import Status
from settled_lanes import SettledLane

REFUSED = Failure(status=400, code="invalid", detail="is wrong")


class Bench:
    """One lane with a lease, and commands to put in."""

    def __init__(self, redis, keys=None, lane="profiles"):
        self.redis, self.keys = redis, keys or Keys()
        self._settled = SettledLane(redis, self.keys, lane)
        self.lane, self.lease = self._settled.lane, self._settled.lease
        self.read = self._settled.read
        self.entrance = LaneEntrance(redis, self.keys, 10**9)
        self.letters = DeadLetters(redis, self.keys)
        self._numbers = count(1)

    def ship(self, *commands):
        for command in commands:
            envelope = Envelope(id=new_id(), account="default", at=1_000, command=command)
            self.ship_raw(encode(envelope))

    def ship_raw(self, message):
        self.entrance.ship(self.lane.name, "test", [(next(self._numbers), message)])

    def settle(self, entries, outcome, *, now=None, times=1):
        for _ in range(times):
            self._settled.settle(outcome, entries, at=now)

    def due(self, now):
        found = self.lane.due(now)
        assert found.unread == []
        return found.parked, found.jobs

    def numbers(self):
        accounts = Status(self.redis, self.keys).report()["accounts"]
        found = accounts["default"]["lanes"][self.lane.lane]
        names = ("accepted", "delivered", "dead", "dropped", "discarded", "backlog", "parked",
                 "following", "lost")  # fmt: skip
        return {name: found[name] for name in names if found[name]}

    def stored_bytes(self):
        return int(self.redis.hget(self.lane.keys.counts, "bytes") or 0)


@pytest.fixture
def bench(redis):
    return Bench(redis)


def person(name="a"):
    return Identify(email=f"{name}@x.io", first_name="Ada")


# --- reading --------------------------------------------------------------------------------------


def test_entries_come_in_order_page_by_page(bench):
    bench.ship(*(person(f"p{n}") for n in range(7)))
    read, cursor = [], "0-0"
    while True:
        entries, broken, following = bench.lane.read(cursor, 3)
        assert len(entries) <= 3
        assert broken == []
        if following == cursor:
            break
        read, cursor = read + entries, following
    assert [entry.command.email for entry in read] == [f"p{n}@x.io" for n in range(7)]
    assert not bench.lane.goes_on(cursor)
    assert bench.lane.goes_on(read[2].key)


def test_an_entry_knows_its_command_and_its_bytes(bench):
    envelope = Envelope(id="1", account="default", at=1, command=Track(metric="é", email="a@x.io"))
    bench.ship_raw(encode(envelope))
    [entry] = bench.read()
    assert (entry.envelope.id, entry.command.metric) == ("1", "é")
    assert entry.size == len(encode(envelope)) == bench.stored_bytes()


MESSAGE = encode(Envelope(id="1", account="default", at=1, command=person()))
UNREADABLE = {
    "nothing": b"",
    "no json": b"hello",
    "no envelope": b"[]",
    "unknown verb": MESSAGE.replace(b"identify", b"idolise"),
    "of a later version": json.dumps({**json.loads(MESSAGE), "v": 99}).encode(),
    "invalid command": MESSAGE.replace(b"a@x.io", b"nobody"),
    "unknown field": MESSAGE.replace(b"first_name", b"fist_name"),
    "not utf-8": MESSAGE.replace(b"Ada", b"\xff\xfe"),
    "a comma and a colon": b"1,2:3,",
}


@pytest.mark.parametrize("message", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_message_is_buried_and_harms_no_other(bench, message):
    bench.ship(person("a"))
    bench.ship_raw(message)
    bench.ship(person("b"))
    entries, broken, _ = bench.lane.read("0-0", 10)
    assert [entry.command.email for entry in entries] == ["a@x.io", "b@x.io"]
    bench.lane.bury_unreadable(bench.lease, broken, 7.0)
    assert bench.numbers() == {"accepted": 3, "dead": 1, "backlog": 2}
    [letter] = bench.letters.all([bench.lane.name])
    assert (letter.envelope, letter.failure.code, letter.dead_at) == (None, "unreadable", 7.0)
    assert letter.message == message.decode("utf-8", "backslashreplace")


# --- settling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2, 3], ids=["once", "as after a lost answer", "thrice"])
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Delivered(), {"delivered": 3}),
        (Dropped("superseded"), {"dropped": 3}),
        (Dead(REFUSED), {"dead": 3}),
        (Parked(1e9, "early"), {"parked": 3}),
        (Following("JOB", 0), {"following": 3}),
    ],
    ids=["delivered", "dropped", "dead", "parked", "following"],
)
def test_settling_moves_each_command_once(bench, outcome, expected, times):
    bench.ship(*(person(name) for name in "abc"))
    bench.settle(bench.read(), outcome, times=times)
    assert bench.numbers() == {"accepted": 3, **expected}
    assert bench.stored_bytes() == 0
    assert bench.read() == []


def test_commands_without_an_outcome_stay(bench):
    bench.ship(person("a"), person("b"))
    first, second = bench.read()
    bench.lane.settle(bench.lease, [first, second], {first.key: Delivered()}, time.time())
    assert bench.read() == [second]


def test_nobody_settles_without_the_lease(bench):
    bench.ship(person())
    entries = bench.read()
    bench.redis.set(bench.lease.key, b"another's")
    for outcome in (Delivered(), Dead(REFUSED), Parked(1.0, "x"), Following("J", 0)):
        with pytest.raises(LeaseLostError):
            bench.settle(entries, outcome)
    with pytest.raises(LeaseLostError):
        bench.lane.bury_unreadable(bench.lease, [(entries[0].key, b"x", "why")], 7.0)
    bench.redis.delete(bench.lease.key)
    with pytest.raises(LeaseLostError):
        bench.settle(entries, Delivered())
    assert bench.numbers() == {"accepted": 1, "backlog": 1}


def test_drops_are_counted_by_rule(bench):
    bench.ship(person("a"), person("b"))
    first, second = bench.read()
    bench.settle([first], Dropped("superseded"))
    bench.settle([second], Dropped("not_on_list"))
    lanes = Status(bench.redis, bench.keys).report()["accounts"]["default"]["lanes"]
    assert lanes["profiles"]["dropped_by_rule"] == {"superseded": 1, "not_on_list": 1}


def test_a_parked_command_comes_back_when_it_is_due(bench):
    bench.ship(person())
    [entry] = bench.read()
    bench.settle([entry], Parked(100.0, "early"))
    assert bench.due(99.9) == ([], [])
    [again], jobs = bench.due(100.0)
    assert (jobs, again.key) == ([], f"p:{entry.envelope.id}")
    assert (again.envelope, again.attempts) == (entry.envelope, 0)
    bench.settle([again], Delivered())
    assert bench.due(1e12) == ([], [])
    assert bench.numbers() == {"accepted": 1, "delivered": 1}


def test_only_a_refusal_spends_an_attempt(bench):
    bench.ship(person())
    bench.settle(bench.read(), Parked(1.0, "early"))
    bench.settle(bench.due(2.0)[0], Parked(1.0, "refused", REFUSED))
    [entry], _ = bench.due(2.0)
    assert entry.attempts == 1
    bench.settle([entry], Dead(REFUSED))
    [letter] = bench.letters.all([bench.lane.name])
    assert (letter.attempts, letter.failure) == (2, REFUSED)


def test_a_job_is_looked_at_soon_then_later_and_its_rows_end_with_it(bench):
    bench.ship(*(person(name) for name in "abc"))
    entries = bench.read()
    rows = {e.key: Following("JOB", row) for e, row in zip(entries, (0, 1, 1), strict=True)}
    bench.lane.settle(bench.lease, entries, rows, 1000.0)
    assert bench.due(1000.4) == ([], [])
    _, [(job, record)] = bench.due(1000.5)
    parts = record.parts()
    assert [[e.command.email for e in row] for row in parts] == [["a@x.io"], ["b@x.io", "c@x.io"]]
    running = {e.key: Following("JOB", row) for row, part in enumerate(parts) for e in part}
    assert not bench.lane.settle_job(bench.lease, job, record, running, 1000.5)
    assert bench.due(1000.9) == ([], [])
    assert len(bench.due(1001.1)[1]) == 1
    (first,), (second, third) = parts
    ended = {first.key: Delivered(), second.key: Dead(REFUSED), third.key: Dead(REFUSED)}
    for _ in range(2):  # as after a lost answer
        assert bench.lane.settle_job(bench.lease, job, record, ended, 1001.1)
    assert bench.numbers() == {"accepted": 3, "delivered": 1, "dead": 2}
    assert bench.due(1e12) == ([], [])


def test_a_look_without_an_answer_only_postpones(bench):
    bench.ship(person())
    bench.settle(bench.read(), Following("JOB", 0), now=1000.0)
    [(job, record)] = bench.due(1e9)[1]
    assert not bench.lane.settle_job(bench.lease, job, record, {}, 2000.0)
    assert bench.numbers() == {"accepted": 1, "following": 1}
    assert bench.due(2000.0) == ([], [])


@pytest.mark.parametrize(
    ("age", "wait"), [(0, 0.5), (2, 0.5), (20, 5), (100, 25), (10_000, 30)], ids=str
)
def test_looks_become_rarer_with_age(age, wait):
    assert next_look(1000.0, 1000.0 + age) == 1000.0 + age + wait


def test_parked_and_followed_people_are_fenced(bench):
    bench.ship(person("a"), person("b"), person("c"))
    first, second, _ = bench.read()
    bench.settle([first], Parked(1e9, "x"))
    bench.settle([second], Following("JOB", 0))
    assert bench.lane.fences() == {
        f"p:{first.envelope.id}": frozenset(["email:a@x.io"]),
        "job:JOB": frozenset(["email:b@x.io"]),
    }


@pytest.mark.parametrize("lane", ["events", "events:bulk"])
def test_events_fence_nobody(redis, lane):
    bench = Bench(redis, lane=lane)
    bench.ship(Track(metric="M", email="a@x.io"))
    bench.settle(bench.read(), Parked(1e9, "x"))
    assert bench.lane.fences() == {}


def test_a_snooze_is_remembered_and_forgotten(bench):
    assert bench.lane.state() == LaneState()
    bench.lane.snooze(1200.0, 1234.5678, "outage", 3)
    assert bench.lane.state() == LaneState(1234.568, "outage", 3, 1200.0)
    bench.lane.recover()
    assert bench.lane.state() == LaneState()


def test_the_time_of_a_persons_pauses_is_kept(bench):
    state = bench.lane.keys.state
    for pauses in (1, 2):
        bench.lane.pause()
        bench.lane.pause()  # once more, which begins nothing anew
        assert bench.lane.state().is_paused
        bench.redis.hincrby(state, "paused", -86_400_000)
        bench.lane.resume()
        assert not bench.lane.state().is_paused
        assert bench.lane.state().paused_seconds == pytest.approx(pauses * 86_400, abs=5)


# --- what another release wrote -------------------------------------------------------------------


def newer(stored):
    """As a newer release writes it: with a verb that this one does not know."""
    return stored.replace(b'"verb":"identify"', b'"verb":"merge_profiles"')


def of_a_newer_version(stored):
    """As a newer release writes it that means something else by the same members."""
    return stored.replace(b'"v":1', b'"v":99')


def test_what_is_of_a_newer_schema_version_is_not_sent_though_its_members_are_known(bench):
    bench.ship(person("a"), person("b"))
    first, second = bench.read()
    bench.settle([first], Parked(1.0, "unknown_list"), now=0.5)
    bench.settle([second], Following("JOB", 0), now=0.5)
    for key, name in (
        (bench.lane.keys.parked, first.envelope.id),
        (bench.lane.keys.following, "JOB"),
    ):
        bench.redis.hset(key, name, of_a_newer_version(bench.redis.hget(key, name)))
    found = bench.lane.due(2.0)
    assert (found.parked, found.jobs) == ([], [])
    assert {name for name, _, _ in found.unread} == {first.envelope.id, "job:JOB"}
    assert all("schema version 99 needs a newer worker" in why for _, _, why in found.unread)


def nested_without_end(stored):
    """Damaged: the command's properties never close."""
    return stored.replace(b'"email":', b'"properties":' + b'{"a":' * 200_000 + b'"email":')


@pytest.mark.parametrize(
    "damage", [nested_without_end, lambda _: b'{"since":1,"rows":[]}'], ids=["nested", "no rows"]
)
def test_an_import_job_that_was_damaged_is_passed_over(bench, damage):
    bench.ship(person("a"))
    bench.settle(bench.read(), Following("JOB", 0), now=0.5)
    following = bench.lane.keys.following
    bench.redis.hset(following, "JOB", damage(bench.redis.hget(following, "JOB")))
    assert bench.lane.fences() == {}
    assert [name for name, _, _ in bench.lane.due(2.0).unread] == ["job:JOB"]


def test_a_parked_command_of_a_newer_release_is_buried_with_its_content(bench):
    bench.ship(person("a"), person("b"))
    first, second = bench.read()
    bench.settle([first, second], Parked(1.0, "unknown_list"), now=0.5)
    identity, keys = first.envelope.id, bench.lane.keys
    bench.redis.hset(keys.parked, identity, newer(bench.redis.hget(keys.parked, identity)))
    assert bench.lane.fences().keys() == {f"p:{second.envelope.id}"}
    found = bench.lane.due(2.0)
    assert [entry.envelope.id for entry in found.parked] == [second.envelope.id]
    assert [name for name, _, _ in found.unread] == [identity]
    bench.lane.set_aside(bench.lease, found.unread, 2.0)
    assert bench.lane.due(1e12).unread == []
    assert bench.numbers() == {"accepted": 2, "dead": 1, "parked": 1}
    [letter] = bench.letters.all([bench.lane.name])
    assert (letter.id, letter.failure.code, letter.sendable) == (identity, "unreadable", None)
    told = json.loads(letter.message)
    assert (told["id"], told["command"]["verb"]) == (identity, "merge_profiles")


def test_an_import_job_of_a_newer_release_stays_and_is_looked_at_again_in_an_hour(bench, caplog):
    bench.ship(person("a"), person("b"))
    first, second = bench.read()
    bench.settle([first], Following("NEW", 0), now=0.5)
    bench.settle([second], Following("OLD", 0), now=0.5)
    following = bench.lane.keys.following
    record = newer(bench.redis.hget(following, "NEW"))
    bench.redis.hset(following, "NEW", record)
    assert bench.lane.fences().keys() == {"job:OLD"}
    found = bench.lane.due(2.0)
    assert ([job for job, _ in found.jobs], [one[0] for one in found.unread]) == (
        ["OLD"],
        ["job:NEW"],
    )
    bench.lane.set_aside(bench.lease, found.unread, 2.0)
    assert "job:NEW cannot be read by this release" in caplog.text
    assert bench.lane.due(3_601.0).unread == []
    assert bench.lane.due(3_602.0).unread == found.unread
    assert bench.redis.hget(following, "NEW") == record


@pytest.mark.parametrize("name", ["job:GONE", "0197-gone"])
def test_a_name_behind_which_there_is_nothing_is_due_no_more(bench, name):
    bench.redis.zadd(bench.lane.keys.due, {name: 1})
    found = bench.lane.due(2.0)
    assert [one[0] for one in found.unread] == [name]
    bench.lane.set_aside(bench.lease, found.unread, 2.0)
    assert bench.redis.zcard(bench.lane.keys.due) == 0


def test_what_cannot_be_read_is_set_aside_by_the_holder_of_the_lease_alone(bench):
    bench.redis.zadd(bench.lane.keys.due, {"gone": 1})
    bench.redis.set(bench.lane.keys.lease, b"another's")
    with pytest.raises(LeaseLostError):
        bench.lane.set_aside(bench.lease, bench.lane.due(2.0).unread, 2.0)
    assert bench.redis.zcard(bench.lane.keys.due) == 1


# --- what is gone stays gone ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome", [Delivered(), Dropped("r"), Dead(REFUSED), Parked(1e9, "x"), Following("J", 0)]
)
def test_a_late_settlement_brings_back_nothing(bench, outcome):
    bench.ship(person("a"), person("b"))
    [first, second] = bench.read()
    bench.settle([first], Delivered())
    bench.settle([first, second], outcome)
    found = bench.numbers()
    assert (found["accepted"], found["delivered"] + sum(found.get(p, 0) for p in OTHERS)) == (2, 2)
    assert "lost" not in found


OTHERS = ("dropped", "dead", "parked", "following")


def test_a_letter_that_was_redriven_is_not_buried_again_by_a_repeated_call(bench):
    bench.ship(person())
    entries = bench.read()
    bench.settle(entries, Dead(REFUSED))
    assert bench.letters.redrive(list(bench.letters.all([bench.lane.name]))) == 1
    bench.settle(entries, Dead(REFUSED))
    assert bench.numbers() == {"accepted": 1, "backlog": 1}


def test_a_parked_command_that_was_delivered_is_not_parked_again(bench):
    bench.ship(person())
    bench.settle(bench.read(), Parked(1.0, "x"))
    [entry], _ = bench.due(2.0)
    bench.settle([entry], Delivered())
    bench.settle([entry], Parked(1.0, "x"))
    assert bench.numbers() == {"accepted": 1, "delivered": 1}
    assert bench.due(1e12) == ([], [])


def test_a_job_that_has_ended_is_not_postponed(bench):
    bench.ship(person())
    bench.settle(bench.read(), Following("JOB", 0), now=1000.0)
    [(job, record)] = bench.due(1e9)[1]
    [[entry]] = record.parts()
    bench.lane.settle_job(bench.lease, job, record, {entry.key: Delivered()}, 2000.0)
    bench.lane.settle_job(bench.lease, job, record, {}, 2000.0)
    assert bench.due(1e12) == ([], [])


@pytest.mark.parametrize("outcome", [Dead(REFUSED), Parked(1e9, "x")], ids=["dead", "parked"])
def test_a_command_that_came_in_twice_has_one_place_and_loses_none(bench, outcome):
    message = encode(Envelope(id="1", account="default", at=1, command=person()))
    bench.ship_raw(message)
    bench.ship_raw(message)
    bench.settle(bench.read(), outcome)
    place = "dead" if isinstance(outcome, Dead) else "parked"
    assert bench.numbers() == {"accepted": 2, place: 1, "dropped": 1}


def test_rows_of_one_job_that_are_written_down_one_after_the_other_add_up(bench):
    bench.ship(person("a"), person("b"))
    for row, entry in enumerate(bench.read()):
        bench.settle([entry], Following("JOB", row), now=1000.0)
    [(_, record)] = bench.due(1e9)[1]
    assert [part[0].command.email for part in record.parts()] == ["a@x.io", "b@x.io"]
    assert bench.numbers() == {"accepted": 2, "following": 2}


# --- conservation ---------------------------------------------------------------------------------

OUTCOMES = st.sampled_from(["delivered", "dropped", "dead", "parked", "following", "none"])
TIMES = st.integers(1, 2)


class Conservation(RuleBasedStateMachine):
    """Random lives of commands, against a model that only knows where each of them is."""

    redis = None
    namespaces = count(1)

    def __init__(self):
        super().__init__()
        self.bench = Bench(self.redis, Keys(f"t{next(self.namespaces)}"))
        self.jobs = count(1)
        self.place: dict[str, str] = {}
        self.accepted = self.discarded = 0
        self.now = 1_000.0

    @rule(number=st.integers(1, 4))
    def ship(self, number):
        self.bench.ship(*(person(f"p{n}") for n in range(number)))
        self.accepted += number
        for entry in self.bench.read():
            self.place.setdefault(entry.envelope.id, "backlog")
            if self.place[entry.envelope.id] != "backlog":
                raise AssertionError("a command is at two places")

    def _outcome(self, what, job):
        return {
            "delivered": Delivered(),
            "dropped": Dropped("rule"),
            "dead": Dead(REFUSED),
            "parked": Parked(self.now + 5, "early"),
            "following": Following(job, 0),
        }.get(what)

    def _settle(self, entries, kinds, times):
        job = f"JOB{next(self.jobs)}"
        outcomes = {}
        for entry, what in zip(entries, kinds, strict=False):
            if (outcome := self._outcome(what, job)) is not None:
                outcomes[entry.key] = outcome
                self.place[entry.envelope.id] = what
        for _ in range(times):
            self.bench.lane.settle(self.bench.lease, entries, outcomes, self.now)

    @rule(kinds=st.lists(OUTCOMES, min_size=1, max_size=6), times=TIMES)
    def settle_backlog(self, kinds, times):
        self._settle(self.bench.read(), kinds, times)

    @rule(kinds=st.lists(OUTCOMES, min_size=1, max_size=6), times=TIMES)
    def settle_parked(self, kinds, times):
        self.now += 6
        self._settle(self.bench.due(self.now)[0], kinds, times)

    @rule(kinds=st.lists(st.sampled_from(["delivered", "dead"]), min_size=1), times=TIMES,
          is_running=st.booleans())  # fmt: skip
    def look_at_jobs(self, kinds, times, is_running):
        self.now += 31
        for job, record in self.bench.due(self.now)[1]:
            outcomes = {}
            entries = [entry for part in record.parts() for entry in part]
            for at, entry in enumerate(entries):
                what = "following" if is_running else kinds[at % len(kinds)]
                outcomes[entry.key] = self._outcome(what, job)
                self.place[entry.envelope.id] = what
            for _ in range(times):
                self.bench.lane.settle_job(self.bench.lease, job, record, outcomes, self.now)

    @rule()
    def settle_without_the_lease(self):
        entries = self.bench.read()
        stranger = Lease(self.bench.lease.key)
        if entries:
            outcomes = {entry.key: Delivered() for entry in entries}
            with pytest.raises(LeaseLostError):
                self.bench.lane.settle(stranger, entries, outcomes, self.now)

    @rule(number=st.integers(1, 3), does_redrive=st.booleans(), times=TIMES)
    def move_dead_letters(self, number, does_redrive, times):
        letters = list(self.bench.letters.all([self.bench.lane.name]))[:number]
        move = self.bench.letters.redrive if does_redrive else self.bench.letters.discard
        assert [move(letters) for _ in range(times)] == [len(letters), 0][:times]
        for letter in letters:
            if does_redrive:
                self.place[letter.id] = "backlog"
            else:
                del self.place[letter.id]
                self.discarded += 1

    @invariant()
    def everything_is_where_the_model_says(self):
        if not self.accepted:
            return
        expected = Counter(self.place.values())
        expected.update(accepted=self.accepted, discarded=self.discarded)
        assert self.bench.numbers() == {name: n for name, n in expected.items() if n}
        backlog = self.bench.read()
        assert {entry.envelope.id for entry in backlog} == {
            identity for identity, place in self.place.items() if place == "backlog"
        }
        assert self.bench.stored_bytes() == sum(entry.size for entry in backlog)
        assert len(self.bench.due(1e12)[0]) == expected["parked"]


def test_the_numbers_add_up_after_any_sequence(redis):
    machine = type("Machine", (Conservation,), {"redis": redis})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
