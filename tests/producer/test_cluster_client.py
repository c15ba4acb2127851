"""What a client of a cluster knows without one; tests/e2e/servers has real clusters."""

import pytest
from msgspec.structs import asdict
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ClusterError
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay.cluster_client import ClusterClient, Topology
from klaviyo_relay.keys import Keys
from klaviyo_relay.redis_clients import Patience

# As CLUSTER SLOTS answers: first slot, last slot, the primary, its replicas.
ONE, TWO, REPLICA = [b"10.0.0.1", 7000, b"id1"], [b"10.0.0.2", 7001, b"id2"], [b"10.0.0.3", 7002]
SLOTS = [[8192, 16383, TWO], [0, 8191, ONE, REPLICA]]


def test_each_slot_belongs_to_the_primary_of_its_range():
    topology = Topology.of(SLOTS, "10.0.0.9")

    for slot, primary in {0: 1, 8191: 1, 8192: 2, 16383: 2}.items():
        assert topology.primary_of(slot) == (f"10.0.0.{primary}", 6999 + primary)
    assert topology.primaries == [("10.0.0.1", 7000), ("10.0.0.2", 7001)]
    assert ("10.0.0.3", 7002) in topology.hosts


def test_a_node_that_does_not_know_its_own_address_is_where_it_was_asked():
    topology = Topology.of([[0, 16383, [b"", 7000]]], "10.0.0.9")

    assert topology.primary_of(1) == ("10.0.0.9", 7000)


@pytest.mark.parametrize("slot", [99, 201, 16383])
def test_a_slot_that_nobody_has_at_the_moment_is_an_error(slot):
    topology = Topology.of([[100, 200, ONE]], "10.0.0.9")

    with pytest.raises(ClusterError, match=f"slot {slot} "):
        topology.primary_of(slot)


@pytest.fixture
def away():
    """A client of nodes that are not there, and the nodes that it asked."""
    asked = []

    def make_node(host, port, seconds):
        asked.append((host, port))
        return Redis(host="127.0.0.1", port=1, **Patience(seconds, seconds).as_options())

    seeds = [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    with ClusterClient(seeds, make_node, 0.6) as client:
        asked.clear()
        yield client, asked


def test_a_call_asks_three_nodes_for_the_map_and_the_next_call_others(away):
    client, asked = away

    for _ in range(2):
        with pytest.raises(RedisConnectionError, match="no node of the cluster answers"):
            client.get("kr:any")

    assert asked == [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("a", 1), ("b", 2)]


def test_a_transaction_over_all_nodes_is_refused(away):
    client, _ = away

    with pytest.raises(ClusterError, match="no transactions"):
        client.pipeline(transaction=True)


def test_all_keys_of_a_lane_are_in_one_slot():
    keys = asdict(Keys().lane("default", "events:bulk"))
    keys.pop("name")

    assert len({key_slot(key.encode()) for key in keys.values()}) == 1
