"""Places: each tells what stands there, and settling reads them alike."""

from __future__ import annotations

import pytest

from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.plan.places import is_parked, job_key, job_of, parked_key, row_key


@pytest.mark.parametrize("identity", ["00000000-0000-7000-8000-000000000001", "a:b", ""], ids=str)
def test_a_place_tells_what_stands_there(identity):
    assert is_parked(parked_key(identity))
    assert job_of(job_key(identity)) == identity
    for other in (row_key(identity), job_key(identity), "17-0"):
        assert not is_parked(other)
    for other in (row_key(identity), parked_key(identity), "17-0"):
        assert job_of(other) is None


@pytest.mark.parametrize("place", [parked_key(""), row_key(""), job_key("")])
def test_settling_reads_the_same_grammar(place):
    assert f"'{place}'" in script_of("klaviyo_relay_worker", "settle")
