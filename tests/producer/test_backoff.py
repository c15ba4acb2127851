import pytest

from klaviyo_relay.backoff import Backoff


def test_a_wait_is_between_a_half_of_a_doubling_ceiling_and_the_whole():
    backoff = Backoff(0.05, 5.0)

    for ceiling in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
        assert ceiling / 2 <= backoff.wait() <= ceiling


def test_the_waits_of_many_senders_are_spread():
    waits = {Backoff(1.0, 60.0).wait() for _ in range(100)}

    assert len(waits) > 90


def test_after_a_success_the_waits_begin_anew():
    backoff = Backoff(0.05, 5.0)
    for _ in range(10):
        backoff.wait()

    backoff.forget()

    assert backoff.wait() <= 0.1


@pytest.mark.parametrize("failures", [1_022, 1_023, 1_024, 10**6])
def test_days_of_failures_wait_no_longer_than_an_hour_of_them(failures):
    backoff = Backoff(0.05, 5.0)
    backoff.failures = failures

    assert 2.5 <= backoff.wait() <= 5.0
