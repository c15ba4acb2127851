import pytest
from redis.crc import key_slot

from klaviyo_relay.envelope import LANES
from klaviyo_relay.keys import Keys, split


@pytest.mark.parametrize("lane", LANES)
def test_all_keys_of_a_lane_lie_in_one_cluster_slot(lane):
    keys = Keys("staging").lane("shop_2", lane)
    of_lane = [getattr(keys, name) for name in keys.__struct_fields__ if name != "name"]

    assert len(set(of_lane)) == len(of_lane)
    assert len({key_slot(key.encode()) for key in of_lane}) == 1
    assert all(key.startswith("staging:") for key in of_lane)


@pytest.mark.parametrize("lane", LANES)
def test_the_name_of_a_lane_splits_into_account_and_lane(lane):
    assert split(Keys().lane("shop_2", lane).name) == ("shop_2", lane)


def test_no_two_lanes_share_a_key():
    keys = Keys()
    of_all = [
        getattr(keys.lane(account, lane), name)
        for account in ("default", "other")
        for lane in LANES
        for name in keys.lane(account, lane).__struct_fields__
    ]

    assert len(set(of_all)) == len(of_all)
