"""Coalescing: the one command does to a profile what the two did, or there is no one command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klaviyo_relay import Identify
from klaviyo_relay.commands import PROFILE_ATTRIBUTES
from klaviyo_relay_worker.plan.coalesce import coalesce


def applied(profile, identify):
    """The profile after an identify, as its docstring says: `unset` clears, None leaves."""
    after = dict(profile)
    for name in identify.unset or ():
        after.pop(name, None)
    for name in (*PROFILE_ATTRIBUTES, "location"):
        if getattr(identify, name) is not None:
            after[name] = getattr(identify, name)
    after.update(identify.properties or {})
    return after


NAMES = ("first_name", "last_name", "a", "b", "c")


@st.composite
def identifies(draw):
    touched = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["set", "unset"])))
    values = {name: draw(st.sampled_from("xyz")) for name, what in touched.items() if what == "set"}
    own = {name: value for name, value in values.items() if name.endswith("_name")}
    custom = {name: value for name, value in values.items() if name not in own}
    unset = [name for name, what in touched.items() if what == "unset"]
    location = draw(st.sampled_from([None, {"city": "Bonn"}]))
    return Identify(
        email="a@x.io", properties=custom or None, unset=unset or None, location=location, **own
    )


@given(identifies(), identifies(), st.dictionaries(st.sampled_from(NAMES), st.just("old")))
def test_coalesced_is_the_same_as_both_in_order(first, second, profile):
    one = coalesce(first, second)
    assert one is not None
    assert applied(profile, one) == applied(applied(profile, first), second)


@given(st.lists(identifies(), min_size=2, max_size=6))
def test_a_chain_of_them_is_the_same_as_all_in_order(commands):
    one, profile = commands[0], dict.fromkeys(NAMES, "old")
    for command in commands[1:]:
        one = coalesce(one, command)
    expected = profile
    for command in commands:
        expected = applied(expected, command)
    assert applied(profile, one) == expected


def test_a_location_set_after_it_was_unset_stays_set():
    one = coalesce(
        Identify(email="a@x.io", unset=["location"]),
        Identify(email="a@x.io", location={"city": "Bonn"}),
    )
    assert one is None or "location" not in (one.unset or ())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Identify(email="a@x.io"), Identify(email="b@x.io")),
        (Identify(email="a@x.io"), Identify(email="a@x.io", external_id="e")),
        (Identify(email="a@x.io", append={"l": 1}), Identify(email="a@x.io")),
        (Identify(email="a@x.io"), Identify(email="a@x.io", unappend={"l": 1})),
        (
            Identify(email="a@x.io", location={"city": "Bonn"}),
            Identify(email="a@x.io", location={"city": "Ulm"}),
        ),
    ],
    ids=["other person", "more identifiers", "append", "unappend", "two locations"],
)
def test_what_is_not_certain_is_not_coalesced(first, second):
    assert coalesce(first, second) is None


def test_two_that_together_break_klaviyos_limits_are_not_coalesced():
    first = Identify(email="a@x.io", properties={f"a{n}": 1 for n in range(300)})
    second = Identify(email="a@x.io", properties={f"b{n}": 1 for n in range(300)})
    assert coalesce(first, second) is None
