from math import inf

from klaviyo_relay.replication import Replication


def info(offset, *replicas):
    found = {f"slave{n}": {"state": s, "offset": o} for n, (s, o) in enumerate(replicas)}
    return {"master_repl_offset": offset, "slaves_of_others": 1, **found}


def test_a_server_without_replicas_has_nobody_to_wait_for():
    replication = Replication()
    replication.note(1.0, "a", [info(100)])

    assert replication.until == inf


def test_what_was_confirmed_before_a_look_is_replicated_once_any_replica_reaches_its_offset():
    replication = Replication()
    replication.note(1.0, "a", [info(100, ("online", 90), ("online", 80))])
    assert replication.until == -inf

    replication.note(2.0, "a", [info(200, ("online", 99), ("online", 100))])
    assert replication.until == 1.0

    replication.note(3.0, "a", [info(200, ("online", 200))])
    assert replication.until == 3.0


def test_replicas_that_are_gone_are_waited_for():
    replication = Replication()
    replication.note(1.0, "a", [info(100, ("online", 100))])
    replication.note(2.0, "a", [info(200)])

    assert replication.until == 1.0


def test_a_replica_that_is_being_filled_has_nothing_yet():
    replication = Replication()
    replication.note(1.0, "a", [info(100, ("online", 100))])
    replication.note(2.0, "a", [info(200, ("send_bulk", 200))])

    assert replication.until == 1.0


def test_each_primary_of_a_cluster_needs_its_replica():
    replication = Replication()
    replication.note(1.0, "a", [info(100, ("online", 100)), info(50, ("online", 49))])
    assert replication.until == -inf

    replication.note(2.0, "a", [info(100, ("online", 100)), info(60, ("online", 50))])
    assert replication.until == 1.0


def test_offsets_of_another_incarnation_are_not_compared():
    replication = Replication()
    replication.note(1.0, "a", [info(100, ("online", 90))])
    replication.note(2.0, "b", [info(500, ("online", 400))])

    assert replication.until == -inf
    replication.note(3.0, "b", [info(500, ("online", 500))])
    assert replication.until == 3.0


def test_replicas_that_stay_away_cost_no_memory():
    replication = Replication()
    replication.note(0.0, "a", [info(0, ("online", 0))])
    for at in range(1, 2000):
        replication.note(float(at), "a", [info(at)])
    assert len(replication._samples) < 1000

    replication.note(2000.0, "a", [info(2000, ("online", 1999))])
    assert replication.until == 1999.0
