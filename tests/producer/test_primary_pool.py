"""Real servers behind an address that moves; a connection stays where it is until it is left."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay.redis_clients import connect
from ports import HOST
from redis_nodes import RedisNode

WRITES_BY_SCRIPT = "return redis.call('SET', KEYS[1], ARGV[1])"
MAY_RUN_OVER = "#!lua flags=allow-oom\n" + WRITES_BY_SCRIPT


def write(redis):
    redis.set("x", "1")


def write_by_script(redis):
    redis.register_script(WRITES_BY_SCRIPT)(keys=["x"], args=["1"])


def write_by_script_with_flags(redis):
    redis.register_script(MAY_RUN_OVER)(keys=["x"], args=["1"])


def write_in_a_pipeline(redis):
    redis.pipeline(transaction=False).get("x").set("x", "1").get("x").execute()


def write_in_a_transaction(redis):
    redis.pipeline(transaction=True).get("x").set("x", "1").get("x").execute()


def write_in_a_pipeline_that_keeps_errors(redis):
    redis.pipeline(transaction=False).set("x", "1").get("x").execute(raise_on_error=False)


@pytest.mark.parametrize(
    "writes",
    [
        write,
        write_by_script,
        write_by_script_with_flags,
        write_in_a_pipeline,
        write_in_a_transaction,
        write_in_a_pipeline_that_keeps_errors,
    ],
)
def test_after_a_replica_has_refused_a_write_the_next_goes_to_the_new_primary(moving, writes):
    with connect(moving.url) as redis:
        writes(redis)
        moving.move()

        with pytest.raises(RedisConnectionError, match="replica"):
            writes(redis)
        writes(redis)
        redis.set("y", "2")

        assert moving.primary.mget("x", "y") == [b"1", b"2"]


def test_a_replica_without_its_primary_is_left_even_for_a_read(moving):
    with connect(moving.url) as redis:
        redis.set("x", "old")
        moving.move()
        moving.cut_off()
        moving.primary.set("x", "new")
        moving.old.config_set("replica-serve-stale-data", "no")

        with pytest.raises(RedisConnectionError, match="replica"):
            redis.get("x")

        assert redis.get("x") == b"new"


@pytest.mark.parametrize("is_idle", [True, False], ids=["idle", "in use"])
def test_connections_that_have_not_seen_the_replica_leave_it_too(moving, is_idle):
    with connect(moving.url) as redis:
        redis.set("x", "old")
        # Each has a connection of the pool's to itself until it is closed.
        one, other = redis.client(), redis.client()
        moving.move()
        moving.cut_off()
        moving.primary.set("x", "new")
        if is_idle:
            other.close()
        with pytest.raises(RedisConnectionError, match="replica"):
            one.set("y", "1")
        one.close()
        if not is_idle:
            other.close()

        clients = [redis.client() for _ in range(2)]

        assert [client.get("x") for client in clients] == [b"new", b"new"]
        for client in clients:
            client.close()


def test_a_connection_by_a_socket_leaves_a_replica(tmp_path, until):
    directory = tmp_path / "redis"
    node = RedisNode(directory, f"unixsocket {directory}/s", f"replicaof {HOST} 1")
    node.start()
    try:
        with connect(f"unix://{directory}/s") as redis:
            until((directory / "s").exists)

            with pytest.raises(RedisConnectionError, match="replica"):
                redis.set("x", "1")
    finally:
        node.kill()
