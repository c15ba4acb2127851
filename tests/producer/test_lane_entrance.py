from hashlib import sha1

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay import Track, lane_entrance
from klaviyo_relay.envelope import Envelope, encode
from klaviyo_relay.errors import BackpressureError, MarkFellBackError
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import BATCH_BYTES, BATCH_COMMANDS, LaneEntrance, batches
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis

LANE = "default:events"
MOST = 1_000_000
ODD = 'a "quoted" \\ é\n'


@pytest.fixture
def entrance(redis):
    return LaneEntrance(redis, Keys(), MOST)


def pairs(first, last):
    return [(number, b"message %d" % number) for number in range(first, last + 1)]


def hexed(name):
    return sha1(name, usedforsecurity=False).hexdigest()


def numbers(lanes):
    counts = lanes.counts()
    return {name: counts[name] for name in ("accepted", "bytes")}


def origins(lanes):
    return [entry.origin for entry in lanes.entries()]


def numbered(source, first, last):
    return [f"{source}:{number}" for number in range(first, last + 1)]


# --- how much goes together -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "together"),
    [
        ([], []),
        ([1] * 3, [3]),
        ([1] * (2 * BATCH_COMMANDS + 1), [BATCH_COMMANDS, BATCH_COMMANDS, 1]),
        ([BATCH_BYTES // 2] * 5, [2, 2, 1]),
        ([1, BATCH_BYTES + 1, BATCH_BYTES + 1, 1], [1, 1, 1, 1]),
        ([BATCH_BYTES, 0, 1], [2, 1]),
    ],
    ids=["nothing", "few", "many", "large", "larger than a batch", "just as much as may be"],
)
def test_a_batch_has_a_most_of_commands_and_of_bytes(sizes, together):
    numbered = [(number, bytes(size)) for number, size in enumerate(sizes, 1)]

    made = list(batches(numbered))

    assert [len(batch) for batch in made] == together
    assert [pair for batch in made for pair in batch] == numbered


# --- each number at most once ---------------------------------------------------------------------


def test_what_is_shipped_is_in_the_lane_in_order_with_its_origin(entrance, lanes):
    shipped = entrance.ship(LANE, "s", pairs(1, 3))

    assert shipped == (3, 3)
    assert lanes.entries() == [
        ("s:1", b"message 1"),
        ("s:2", b"message 2"),
        ("s:3", b"message 3"),
    ]


@pytest.mark.parametrize(
    "message",
    [b"", b"\x00", b"\r\n", "ü✓".encode(), b"12:34,", b"%d %s", bytes(range(256)), b"x" * 3_000_000],  # noqa: E501 - one row of odd ones
    ids=["empty", "nul", "crlf", "utf-8", "index", "format", "all", "3 MB"],
)  # fmt: skip
def test_a_message_arrives_byte_for_byte_between_others(entrance, lanes, message):
    entrance.ship(LANE, "s", [(1, b"before"), (2, message), (3, b"after")])

    assert [entry.message for entry in lanes.entries()] == [b"before", message, b"after"]


@pytest.mark.parametrize(
    ("first", "last", "added"),
    [(1, 5, 0), (2, 4, 0), (5, 5, 0), (4, 7, 2), (1, 6, 1), (6, 8, 3), (9, 9, 1)],
)
def test_shipping_again_adds_only_numbers_above_the_mark(entrance, lanes, first, last, added):
    entrance.ship(LANE, "s", pairs(1, 5))

    shipped = entrance.ship(LANE, "s", pairs(first, last), 5)

    assert shipped == (added, max(5, last))
    assert origins(lanes) == numbered("s", 1, 5) + numbered("s", last - added + 1, last)


def test_numbers_may_have_gaps(entrance, lanes):
    entrance.ship(LANE, "s", [(2, b"a"), (5, b"b"), (90_071_992_547, b"c")])

    assert origins(lanes) == ["s:2", "s:5", "s:90071992547"]
    assert entrance.mark(LANE, "s") == 90_071_992_547


def test_sources_lanes_and_accounts_do_not_mix(entrance, lanes):
    for lane in (LANE, "default:events:bulk", "other:events"):
        for source in ("a", "b"):
            assert entrance.ship(lane, source, pairs(1, 2)).added == 2

    assert origins(lanes) == ["a:1", "a:2", "b:1", "b:2"]
    assert lanes.length("events:bulk") == lanes.length("events", "other") == 4


def test_the_mark_is_what_the_lane_has_of_a_source(entrance):
    assert entrance.mark(LANE, "s") == 0

    entrance.ship(LANE, "s", pairs(1, 7))

    assert entrance.mark(LANE, "s") == 7
    assert entrance.mark(LANE, "other") == 0
    assert entrance.mark("default:lists", "s") == 0


def test_the_mark_says_when_it_was_left(entrance, redis):
    before = redis.time()[0]

    entrance.ship(LANE, "s", pairs(1, 1))

    number, _, moment = redis.hget(Keys().lane("default", "events").marks, "s").partition(b"@")
    assert number == b"1"
    assert before <= int(moment) <= redis.time()[0]


def test_a_mark_that_fell_back_is_refused_and_nothing_is_added(entrance, lanes, redis):
    entrance.ship(LANE, "s", pairs(1, 5))
    redis.hset(Keys().lane("default", "events").marks, "s", "3@0")

    with pytest.raises(MarkFellBackError) as caught:
        entrance.ship(LANE, "s", pairs(6, 7), 5)

    assert caught.value.mark == 3
    assert lanes.length() == 5
    assert entrance.ship(LANE, "s", pairs(4, 7), 3) == (4, 7)


def test_a_mark_that_is_gone_fell_back_to_zero(entrance, redis, lanes):
    entrance.ship(LANE, "s", pairs(1, 5))
    redis.flushall()

    with pytest.raises(MarkFellBackError) as caught:
        entrance.ship(LANE, "s", pairs(6, 7), 5)

    assert caught.value.mark == 0
    assert lanes.length() == 0


# --- counts, register, doorbell -------------------------------------------------------------------


def test_what_was_accepted_is_counted_once_in_commands_and_bytes(entrance, lanes):
    entrance.ship(LANE, "s", [(1, b"four"), (2, b"fives")])
    entrance.ship(LANE, "s", [(2, b"fives"), (3, b"three")])

    assert numbers(lanes) == {"accepted": 3, "bytes": 14}


ENVELOPE = Envelope(id="1", account="default", at=1, command=Track(metric="M", email="a@x.io"))


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (encode(ENVELOPE), b"1"),
        (encode(replace(ENVELOPE, id=ODD)), ODD.encode()),
        (b"four", hexed(b"four").encode()),
        (b'{"id":"1', hexed(b'{"id":"1').encode()),
    ],
    ids=["an id", "an id with escapes", "no envelope", "half an id"],
)
def test_a_lane_sums_the_fingerprints_of_the_ids_that_it_takes(entrance, lanes, message, name):
    once = int(hexed(name)[:13], 16)
    entrance.ship(LANE, "s", [(1, message), (2, message)])
    entrance.ship(LANE, "s", [(2, message)])

    assert lanes.counts()["accepted_ids"] == 2 * once % 2**52


def test_a_lane_is_in_the_register_from_its_first_command_on(entrance, redis):
    entrance.ship(LANE, "s", pairs(1, 1))
    entrance.ship("other:lists:bulk", "s", pairs(1, 1))

    assert redis.smembers(Keys().register) == {LANE.encode(), b"other:lists:bulk"}


def test_a_redis_that_comes_back_empty_gets_its_register_again():
    with PrivateRedis() as server:
        entrance = LaneEntrance(connect(server.url), Keys(), MOST)
        entrance.survey()
        entrance.ship(LANE, "s", pairs(1, 1))
        with connect(server.url) as redis:
            redis.flushall()
        server.restart()
        entrance._surveyed_at = 0.0  # the second for which a survey holds is over

        entrance.survey()
        entrance.ship(LANE, "s", pairs(1, 1))

        with connect(server.url) as redis:
            assert redis.smembers(Keys().register) == {LANE.encode()}
        entrance.close()


def test_the_doorbell_rings_once_a_batch_and_only_for_what_is_new(entrance, redis):
    with redis.pubsub() as bell:
        bell.subscribe(Keys().doorbell)
        assert bell.get_message(timeout=5)["type"] == "subscribe"

        entrance.ship(LANE, "s", pairs(1, 5))
        entrance.ship(LANE, "s", pairs(1, 5))
        entrance.ship("default:lists", "s", pairs(1, 5))

        rung = [bell.get_message(timeout=5)["data"] for _ in range(2)]
        assert rung == [LANE.encode(), b"default:lists"]


def test_keys_of_another_namespace_are_left_alone(redis):
    LaneEntrance(redis, Keys("staging"), MOST).ship(LANE, "s", pairs(1, 1))

    assert all(key.startswith(b"staging:") for key in redis.scan_iter())


# --- fullness -------------------------------------------------------------------------------------


def test_a_lane_that_holds_as_many_bytes_as_it_may_takes_no_more(redis, lanes):
    entrance = LaneEntrance(redis, Keys(), 100)
    entrance.ship(LANE, "s", [(1, b"x" * 99)])
    entrance.ship(LANE, "s", [(2, b"x")])

    with pytest.raises(BackpressureError, match=LANE):
        entrance.ship(LANE, "s", [(3, b"x")])

    assert numbers(lanes) == {"accepted": 2, "bytes": 100}
    assert entrance.mark(LANE, "s") == 2
    assert entrance.ship("default:lists", "s", [(3, b"x")]).added == 1


def test_a_lane_takes_again_once_workers_have_emptied_it(redis):
    entrance = LaneEntrance(redis, Keys(), 100)
    entrance.ship(LANE, "s", [(1, b"x" * 100)])
    redis.hincrby(Keys().lane("default", "events").counts, "bytes", -100)

    assert entrance.ship(LANE, "s", [(2, b"x")]) == (1, 2)


@pytest.fixture
def small_redis():
    with PrivateRedis(maxmemory=20_000_000) as server, connect(server.url) as redis:
        yield redis


def test_the_watermark_is_seen_before_redis_is_full(small_redis, until):
    entrance = LaneEntrance(small_redis, Keys(), 10**9)
    assert not entrance.survey().is_full

    number = 0
    while small_redis.info("memory")["used_memory"] <= 16_000_000:
        number += 1
        entrance.ship(LANE, "s", [(number, b"x" * 250_000)])
    entrance._surveyed_at = 0.0

    assert entrance.survey().is_full
    assert small_redis.info("memory")["used_memory"] < 20_000_000
    small_redis.flushall()

    def has_room():
        entrance._surveyed_at = 0.0
        return not entrance.survey().is_full

    # The server frees memory in a thread of its own, and Lua's when it comes to it.
    until(has_room)


def test_shipping_never_runs_over_maxmemory_and_leaves_nothing_half_done(small_redis, lanes_of):
    entrance = LaneEntrance(small_redis, Keys(), 10**9)
    number = 0
    with pytest.raises(RedisError, match=r"maxmemory|OOM"):  # noqa: PT012 - whichever is the last
        while number < 200:
            entrance.ship(LANE, "s", [(number + 1, b"x" * 250_000)])
            number += 1

    assert 40 < number < 200
    assert entrance.mark(LANE, "s") == number
    assert lanes_of(small_redis).length() == number


def test_a_survey_is_at_most_a_second_old(redis, monkeypatch):
    entrance = LaneEntrance(redis, Keys(), MOST)
    asked = []
    monkeypatch.setattr(redis, "info", lambda *names: asked.append(1) or Redis.info(redis, *names))
    clock = [100.0]
    monkeypatch.setattr(lane_entrance.time, "monotonic", lambda: clock[0])

    for moment in (100.0, 100.5, 101.0, 101.1, 101.2):
        clock[0] = moment
        entrance.survey()

    assert len(asked) == 2


def test_another_run_of_redis_is_another_incarnation():
    with PrivateRedis() as server:
        entrance = LaneEntrance(connect(server.url), Keys(), MOST)
        first = entrance.survey().incarnation
        server.restart()
        entrance._surveyed_at = 0.0

        assert entrance.survey().incarnation != first
        entrance.close()


# --- lost answers ---------------------------------------------------------------------------------


class LossyEntrance(RuleBasedStateMachine):
    """A sender that loses answers, falls back, repeats, and is overtaken by another sender.

    The model is a plain list: every number of each source exactly once, in order.
    """

    server: PrivateRedis

    @initialize()
    def begin(self):
        self.redis = connect(self.server.url)
        self.redis.flushall()
        self.entrance = LaneEntrance(self.redis, Keys(), 10**9)
        self.written = {"a": 0, "b": 0}  # rows in each spool file
        self.left_at = {"a": 0, "b": 0}  # what each sender knows of its mark
        self.model = {"a": [], "b": []}

    def send(self, source, first, last, left_at):
        batch = [(number, b"%d" % number) for number in range(first, last + 1)]
        shipped = self.entrance.ship(LANE, source, batch, left_at)
        new = [number for number, _ in batch if number > len(self.model[source])]
        assert shipped == (len(new), len(self.model[source]) + len(new))
        self.model[source] += new
        return shipped.mark

    @rule(source=st.sampled_from("ab"), many=st.integers(1, 6))
    def append_and_ship(self, source, many):
        self.written[source] += many
        first = self.left_at[source] + 1
        self.left_at[source] = self.send(source, first, self.written[source], self.left_at[source])

    @rule(source=st.sampled_from("ab"), many=st.integers(1, 6))
    def append_and_ship_but_the_answer_is_lost(self, source, many):
        self.written[source] += many
        self.send(source, self.left_at[source] + 1, self.written[source], self.left_at[source])

    @rule(source=st.sampled_from("ab"), many=st.integers(1, 6))
    def append_but_the_request_is_lost(self, source, many):
        self.written[source] += many

    @rule(source=st.sampled_from("ab"), data=st.data())
    def ship_only_a_part(self, source, data):
        first = self.left_at[source] + 1
        if first > self.written[source]:
            return
        last = data.draw(st.integers(first, self.written[source]))
        self.left_at[source] = self.send(source, first, last, self.left_at[source])

    @rule(source=st.sampled_from("ab"))
    def begin_again_from_the_first_row(self, source):
        self.left_at[source] = self.send(source, 1, self.written[source], 0)

    @rule(source=st.sampled_from("ab"))
    def begin_again_at_the_mark(self, source):
        self.left_at[source] = self.entrance.mark(LANE, source)
        assert self.left_at[source] == len(self.model[source])

    @invariant()
    def every_number_is_there_once_and_in_order(self):
        found = [fields[b"o"].decode() for _, fields in
                 self.redis.xrange(Keys().lane("default", "events").stream)]  # fmt: skip
        for source, numbers in self.model.items():
            mine = [origin for origin in found if origin.startswith(f"{source}:")]
            assert mine == [f"{source}:{number}" for number in numbers]
            assert numbers == list(range(1, len(numbers) + 1))
        counted = self.redis.hget(Keys().lane("default", "events").counts, "accepted")
        assert int(counted or 0) == len(found)

    def teardown(self):
        if hasattr(self, "redis"):
            self.redis.close()


def test_whatever_answers_are_lost_every_number_is_there_once_and_in_order(private_redis):
    from hypothesis.stateful import run_state_machine_as_test

    LossyEntrance.server = private_redis

    run_state_machine_as_test(
        LossyEntrance,
        settings=hypothesis_settings(max_examples=40, stateful_step_count=20, deadline=None),
    )
