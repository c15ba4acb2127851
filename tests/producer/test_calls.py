import pytest

from klaviyo_relay import Identify, InvalidCommandError, Producer, Track
from klaviyo_relay.calls import commands_of, with_profile

ADA = "ada@lovelace.dev"


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("track", {"metric": "M", "email": ADA, "profile": {"first_name": "Ada"}}),
        ("identify", {"email": ADA}),
        ("add_to_list", {"list_name": "News", "email": ADA}),
    ],
)
def test_other_doors_make_the_same_commands_as_the_verbs(away, verb, arguments, stored):
    producer = Producer(away)
    given = dict(arguments)
    getattr(producer, verb)(*([given.pop("metric")] if "metric" in given else []), **given)

    assert commands_of(verb, arguments) == [envelope.command for _, envelope in stored(away)]
    producer.close()


@pytest.mark.parametrize("profile", [7, "Ada", ["Ada"]])
def test_other_doors_refuse_a_profile_that_is_no_dict(profile):
    with pytest.raises(InvalidCommandError, match=r"^profile: must be a dict"):
        commands_of("track", {"metric": "M", "email": ADA, "profile": profile})


def test_a_verb_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(InvalidCommandError, match=r"^verb: must be one of track, identify"):
        commands_of("follow", {"email": ADA})


def test_the_attributes_beside_an_event_go_to_everybody_whom_the_event_names():
    event = Track(metric="M", email=ADA, external_id="crm-1", anonymous_id="a")

    attributes, same = with_profile(event, {"first_name": "Ada"})

    assert same is event
    assert attributes == Identify(email=ADA, external_id="crm-1", first_name="Ada")


def test_the_arguments_of_a_call_stay_the_callers_own():
    arguments = {"metric": "M", "email": ADA, "profile": {"first_name": "Ada"}}

    commands_of("track", arguments)

    assert arguments == {"metric": "M", "email": ADA, "profile": {"first_name": "Ada"}}
