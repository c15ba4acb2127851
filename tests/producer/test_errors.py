import pickle

import pytest

from klaviyo_relay import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidCommandError("properties.a", "must be a string"),
        errors.ConfigurationError(["one", "two"]),
    ],
    ids=["invalid command", "configuration"],
)
def test_an_error_survives_the_way_out_of_another_process(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (errors.InvalidCommandError, ValueError),
        (errors.ConfigurationError, ValueError),
        (errors.SpoolFullError, errors.SpoolError),
        (errors.BackpressureError, errors.RedisUnavailableError),
    ],
)
def test_an_error_can_be_caught_by_its_family(kind, also):
    assert issubclass(kind, also)
    assert issubclass(kind, errors.RelayError)


def test_an_invalid_command_names_field_and_rule():
    error = errors.InvalidCommandError("email", "must be one address")

    assert (error.field, error.rule) == ("email", "must be one address")
    assert str(error) == "email: must be one address"
