import gc
import threading
import time
import tracemalloc

import pytest

import descriptors
from klaviyo_relay import (
    AddToList,
    Identify,
    InvalidCommandError,
    Producer,
    Settings,
    Subscribe,
    Track,
    batch,
)
from klaviyo_relay.errors import BackpressureError, RedisUnavailableError
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import BATCH_BYTES, LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis

ADA = "ada@lovelace.dev"
CHUNK = batch.CHUNK_COMMANDS


@pytest.fixture
def impatient(monkeypatch):
    """Waits of a tenth of a second; answers are awaited for a third of one."""
    monkeypatch.setattr(batch, "_WAIT_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(batch, "_WAIT_MOST_SECONDS", 0.1)
    monkeypatch.setattr("klaviyo_relay.lane_entrance._SURVEY_SECONDS", 0.05)
    monkeypatch.setattr(batch, "connect", lambda url: connect(url, answer_seconds=0.3))


def events(many, first=0):
    return (Track(metric="M", email=ADA, value=number) for number in range(first, first + many))


def values(lanes, lane="events:bulk"):
    return [entry.envelope.command.value for entry in lanes.entries(lane)]


@pytest.mark.parametrize("many", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_every_command_of_a_generator_is_in_redis_in_order(producer, lanes, many):
    assert producer.enqueue_many(events(many)) == (many, many)

    assert values(lanes) == list(range(many))
    assert len(set(lanes.ids("events:bulk"))) == many
    assert lanes.counts("events:bulk").get("accepted", 0) == many


def test_the_commands_take_their_lanes_and_the_slow_ones_where_there_are(producer, lanes):
    commands = [
        Track(metric="M", email=ADA),
        Identify(email=ADA),
        AddToList(list_id="Y6nRLr", email=ADA),
        Subscribe(email=ADA),
    ]

    assert producer.enqueue_many(commands) == (4, 4)
    assert producer.enqueue_many(commands, bulk=False, account="shop_2") == (4, 4)

    for lane in ("events:bulk", "profiles:bulk", "lists:bulk", "consent"):
        assert lanes.length(lane) == 1
    for lane in ("events", "profiles", "lists", "consent"):
        assert lanes.length(lane, "shop_2") == 1


def test_a_load_needs_no_spool(producer, relay_settings):
    producer.enqueue_many(events(3))

    assert not relay_settings.spool_directory.exists()


def test_a_generator_is_read_as_it_goes(producer, lanes):
    seen = []

    def source():
        for number, command in enumerate(events(3 * CHUNK)):
            if number % CHUNK == 0:
                seen.append(lanes.length("events:bulk"))
            yield command

    producer.enqueue_many(source())

    assert seen == [0, CHUNK, 2 * CHUNK]


def test_memory_stays_flat_whatever_the_number_of_commands(producer):
    def load(many):
        gc.collect()
        tracemalloc.start()
        producer.enqueue_many(
            Track(metric="M", email=ADA, properties={"x": "y" * 500}) for _ in range(many)
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    load(10)

    assert load(8 * CHUNK) < 1.5 * load(2 * CHUNK)


def test_the_same_source_loaded_twice_adds_nothing_the_second_time(producer, lanes):
    assert producer.enqueue_many(events(1_200), source="cdnow") == (1_200, 1_200)

    assert producer.enqueue_many(events(1_200), source="cdnow") == (1_200, 0)
    assert values(lanes) == list(range(1_200))


def test_a_longer_load_of_the_same_source_adds_only_what_is_new(producer, lanes):
    producer.enqueue_many(events(700), source="cdnow")

    assert producer.enqueue_many(events(1_000), source="cdnow") == (1_000, 300)
    assert values(lanes) == list(range(1_000))


@pytest.mark.parametrize(
    ("commands", "source", "said"),
    [
        ([], 5, "source: must be a string, not int"),
        ([], "", "source: must not be empty; leave it out instead"),
        (None, None, "commands: must be an iterable of commands, not NoneType"),
        (
            Track(metric="M", email=ADA),
            None,
            "commands: must be an iterable of commands, not Track",
        ),
    ],
    ids=["a source that is no text", "an empty source", "no commands", "one command"],
)
def test_arguments_of_a_wrong_type_are_said_by_name(producer, commands, source, said):
    with pytest.raises(InvalidCommandError, match=said):
        producer.enqueue_many(commands, source=source)


@pytest.mark.parametrize("source", [None, "other"])
def test_a_load_without_that_name_is_another_load(producer, lanes, source):
    producer.enqueue_many(events(5), source="cdnow")
    producer.enqueue_many(events(5))

    assert producer.enqueue_many(events(5), source=source).added == 5
    assert lanes.length("events:bulk") == 15


def test_a_repeated_load_with_many_lanes_adds_nothing_in_any_of_them(producer, lanes):
    def mixed():
        for number in range(900):
            yield (
                Track(metric="M", email=ADA, value=number)
                if number % 3
                else Identify(email=ADA, properties={"n": number})
            )

    assert producer.enqueue_many(mixed(), source="s") == (900, 900)
    assert producer.enqueue_many(mixed(), source="s") == (900, 0)
    assert lanes.length("events:bulk") == 600
    assert lanes.length("profiles:bulk") == 300


# --- faults of the caller -------------------------------------------------------------------------


@pytest.mark.parametrize("good", [0, 7, CHUNK, CHUNK + 7])
def test_an_invalid_command_in_the_middle_raises_and_those_before_it_are_in_redis(
    producer, lanes, good
):
    def source():
        yield from events(good)
        yield Track(metric="M", email="nobody")

    with pytest.raises(InvalidCommandError, match="email"):
        producer.enqueue_many(source())

    assert values(lanes) == list(range(good))


def test_an_error_of_the_callers_own_comes_back_unchanged_after_those_before_it(producer, lanes):
    ours = OSError("the file ended")

    def source():
        yield from events(5)
        raise ours

    with pytest.raises(OSError, match="the file ended") as caught:
        producer.enqueue_many(source())

    assert caught.value is ours
    assert values(lanes) == list(range(5))


def test_a_command_too_large_in_the_middle_raises_and_those_before_it_are_in_redis(producer, lanes):
    large = Track(metric="M", email=ADA, properties={str(n): "x" * 99_999 for n in range(50)})

    with pytest.raises(InvalidCommandError, match="bytes"):
        producer.enqueue_many([*events(5), large])

    assert values(lanes) == list(range(5))


def test_a_load_that_failed_goes_on_under_its_name(producer, lanes):
    def source(bad):
        yield from events(600)
        yield Track(metric="M", email="nobody" if bad else ADA, value=600)
        yield from events(10, first=601)

    with pytest.raises(InvalidCommandError):
        producer.enqueue_many(source(bad=True), source="s")

    assert producer.enqueue_many(source(bad=False), source="s") == (611, 11)
    assert values(lanes) == list(range(611))


def test_an_account_that_cannot_be_is_refused_before_anything_is_read(producer):
    read = []

    with pytest.raises(InvalidCommandError, match="account"):
        producer.enqueue_many((read.append(1) or Track(metric="M", email=ADA) for _ in range(2)),
                              account="Shop")  # fmt: skip

    assert read == []


# --- Redis full or away ---------------------------------------------------------------------------


def test_a_full_lane_raises_after_the_timeout_and_says_how_far_it_came(
    impatient, relay_settings, lanes
):
    small = Settings(redis_url=relay_settings.redis_url, lane_max_bytes=2 * CHUNK * 100)

    with pytest.raises(BackpressureError) as caught:
        Producer(small).enqueue_many(events(10 * CHUNK), timeout=0.2)

    assert 0 < caught.value.accepted < 10 * CHUNK
    assert caught.value.accepted == lanes.length("events:bulk")
    assert values(lanes) == list(range(caught.value.accepted))


def test_a_load_waits_for_a_full_lane_and_goes_on_when_workers_have_emptied_it(
    impatient, relay_settings, redis, lanes, until
):
    small = Settings(redis_url=relay_settings.redis_url, lane_max_bytes=CHUNK * 100)
    counts = Keys().lane("default", "events:bulk").counts
    done = []
    thread = threading.Thread(
        target=lambda: done.append(Producer(small).enqueue_many(events(4 * CHUNK)))
    )
    thread.start()
    try:
        until(lambda: int(redis.hget(counts, "bytes") or 0) >= CHUNK * 100)
        assert not done
    finally:
        redis.hincrby(counts, "bytes", -(10**9))
        thread.join(20)

    assert done == [(4 * CHUNK, 4 * CHUNK)]
    assert values(lanes) == list(range(4 * CHUNK))


def test_a_redis_above_its_watermark_is_backpressure(impatient):
    with PrivateRedis(maxmemory=20_000_000) as server:
        with connect(server.url) as redis:
            for number in range(17):
                redis.set(f"somebody else's {number}", b"x" * 1_000_000)

        with pytest.raises(BackpressureError) as caught:
            Producer(Settings(redis_url=server.url)).enqueue_many(events(3), timeout=0.1)

    assert caught.value.accepted == 0


def test_a_redis_that_is_not_there_is_unavailable_after_the_timeout_without_its_password(impatient):
    with PrivateRedis() as server:
        url = server.url
    began = time.monotonic()

    with pytest.raises(RedisUnavailableError) as caught:
        Producer(Settings(redis_url=url)).enqueue_many(events(3), timeout=0.2)

    assert not isinstance(caught.value, BackpressureError)
    assert caught.value.accepted == 0
    assert url.split(":")[2].split("@")[0] not in str(caught.value)
    assert 0.2 < time.monotonic() - began < 9


@pytest.mark.parametrize("trouble", ["kill", "pause"])
def test_a_redis_that_goes_away_in_the_middle_and_comes_back_gets_everything_once(
    impatient, lanes_of, trouble
):
    with PrivateRedis() as server:
        helper = None

        def source():
            nonlocal helper
            for number, command in enumerate(events(4 * CHUNK)):
                if number == CHUNK + 10:
                    getattr(server, trouble)()
                    # Back when the load has met the trouble: it cannot go on before.
                    helper = threading.Timer(
                        0.6, server.start if trouble == "kill" else server.resume
                    )
                    helper.start()
                yield command

        loaded = Producer(Settings(redis_url=server.url)).enqueue_many(source())
        helper.join()

        assert loaded == (4 * CHUNK, 4 * CHUNK)
        with connect(server.url) as redis:
            assert values(lanes_of(redis)) == list(range(4 * CHUNK))
            assert lanes_of(redis).counts("events:bulk")["accepted"] == 4 * CHUNK


@pytest.mark.parametrize("before", [0, 10, CHUNK + 10])
def test_an_answer_that_is_lost_doubles_nothing_and_what_it_was_for_is_counted(
    impatient, producer, lanes, monkeypatch, before
):
    from redis.exceptions import TimeoutError as RedisTimeoutError

    producer.enqueue_many(events(before), source="s")
    real, lost = LaneEntrance.ship, iter([True, False, True, True, False])

    def ship(self, *arguments):
        shipped = real(self, *arguments)
        if next(lost, False):
            raise RedisTimeoutError
        return shipped

    monkeypatch.setattr(LaneEntrance, "ship", ship)

    loaded = producer.enqueue_many(events(3 * CHUNK), source="s")

    assert loaded == (3 * CHUNK, 3 * CHUNK - before)
    assert values(lanes) == list(range(3 * CHUNK))


def test_a_redis_that_lost_the_load_meanwhile_is_said_and_loading_again_repairs_it(
    producer, redis, lanes
):
    def source(rob):
        for number, command in enumerate(events(2 * CHUNK)):
            if rob and number == CHUNK + 1:
                redis.flushall()
            yield command

    with pytest.raises(RedisUnavailableError, match="load again"):
        producer.enqueue_many(source(rob=True), source="s", timeout=0.1)

    assert producer.enqueue_many(source(rob=False), source="s") == (2 * CHUNK, 2 * CHUNK)
    assert values(lanes) == list(range(2 * CHUNK))


def test_a_load_that_is_killed_and_repeated_under_its_name_is_there_once(
    relay_settings, program, lanes, line_of
):
    code = """
        import signal, sys
        from klaviyo_relay import Producer, Settings, Track
        def source():
            for number in range(3_000):
                if number == 2_100:
                    print("here", flush=True)
                    signal.pause()
                yield Track(metric="M", email="ada@lovelace.dev", value=number)
        Producer(Settings(redis_url=sys.argv[1])).enqueue_many(source(), source="s")
    """
    process = program(code, relay_settings.redis_url)
    assert line_of(process) == "here\n"
    process.kill()
    process.wait(10)

    assert lanes.length("events:bulk") == 2_000
    again = Producer(relay_settings).enqueue_many(events(3_000), source="s")
    assert again == (3_000, 1_000)
    assert values(lanes) == list(range(3_000))


def test_large_commands_are_loaded_in_batches_that_a_slow_link_carries_in_time(
    producer, lanes, monkeypatch
):
    real, sizes = LaneEntrance.ship, []

    def ship(self, lane, source, numbered, left_at=0):
        sizes.append(sum(len(message) for _, message in numbered))
        return real(self, lane, source, numbered, left_at)

    monkeypatch.setattr(LaneEntrance, "ship", ship)
    large = {str(number): "x" * 90_000 for number in range(4)}

    commands = [Track(metric="M", email=ADA, value=n, properties=large) for n in range(10)]
    assert producer.enqueue_many(commands) == (10, 10)

    assert values(lanes) == list(range(10))
    assert max(sizes) <= BATCH_BYTES


@descriptors.listed
def test_a_load_closes_its_connections(producer):
    producer.enqueue_many(events(1))
    before = len(descriptors.open_files())

    for _ in range(5):
        producer.enqueue_many(events(1))
    gc.collect()

    assert len(descriptors.open_files()) <= before
