import pickle
import re

import pytest

from klaviyo_relay import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidCommandError("properties.a", "must be a string"),
        errors.ConfigurationError(["one", "two"]),
        errors.RedisUnavailableError("cannot reach it", 3),
    ],
    ids=lambda error: type(error).__name__,
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


def test_an_error_without_a_message_says_the_first_sentence_of_its_class():
    assert str(errors.BackpressureError()) == "Redis is filled up to the watermark"
    assert str(errors.SpoolFullError("no room")) == "no room"


def test_the_tree_in_the_docstring_draws_every_error_under_its_parent():
    drawn = re.findall(r"^( {4}(?:[│├└─ ]+─ )?)(\w+Error)\b", errors.__doc__, re.MULTILINE)
    above: list[tuple[int, str]] = []

    for column, name in [(len(indent), name) for indent, name in drawn]:
        above = [*[one for one in above if one[0] < column], (column, name)]
        parents = {kind.__name__ for kind in getattr(errors, name).__bases__}
        assert not above[:-1] or above[-2][1] in parents
    assert {name for _, name in drawn} == {one for one in vars(errors) if one.endswith("Error")}
