"""`klaviyo-relay get …` in this process: what it says of bad input, in its own options."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.cli import commands

BAD_INPUT = {
    "since a word": (("events", "--since", "yesterday"), "--since: must be a time", 2),
    "an unknown metric": (("events", "--metric", "Nope"), "--metric: Klaviyo has no metric", 1),
    "a metric twice over": (
        ("events", "--metric", "A", "--metric-id", "B"),
        "--metric-id | --metric: give one",
        2,
    ),
    "a profile twice over": (
        ("events", "--profile", "A", "--email", "a@b.io"),
        "--profile | --email: give one",
        2,
    ),
    "an unknown profile": (
        ("events", "--profile", "UNKNOWN"),
        "--profile: Klaviyo knows nothing by this id",
        1,
    ),
    "an unknown email": (
        ("events", "--email", "nobody@shop.io"),
        "--email: Klaviyo knows no profile",
        1,
    ),
    "follow since": (
        ("events", "--follow", "--since", "2026-01-01"),
        "--since: not with --follow",
        2,
    ),
    "a cursor of ours that is not valid": (
        ("events", "--cursor", "nonsense"),
        "The cursor is not valid",
        1,
    ),
    "two formats": (("lists", "--json", "--csv"), "--json | --csv: give one", 2),
    "a folder that is not there": (
        ("lists", "--output", "/nowhere/at/all"),
        "--output: No such file",
        2,
    ),
    "an account without a key": (("lists", "--account", "other"), "KLAVIYO_API_KEY_OTHER", 2),
    "an account that none can be": (
        ("lists", "--account", "Bad!"),
        "--account: must be 1-32 lower-case letters",
        2,
    ),
    "a list by its id and its name": (
        ("list", "ABCDEF", "--list-name", "Twice"),
        "ID | --list-name: exactly one",
        2,
    ),
    "a segment by nothing": (("segment",), "ID | --segment-name: exactly one", 2),
    "one of two lists": (
        ("list", "--list-name", "Twice"),
        "2 lists share this name; give ID, one of",
        2,
    ),
    "a profile without a name": (
        ("profile",),
        "ID | --email | --phone-number | --external-id: exactly one",
        2,
    ),
    "the second email is none": (
        ("profiles", "--email", "a@b.io", "--email", "c"),
        "--email number 2: must be",
        2,
    ),
    "a file without addresses": (
        ("profiles", "--emails-from", "/dev/null"),
        "'--emails-from': there is no address",
        2,
    ),
    "a cursor of another read": (
        ("profiles", "--email", "a@b.io", "--cursor", "c"),
        "--cursor: belongs to a read",
        2,
    ),
    "a list by its name as an id": (("list", "Newsletter"), "ID: must be six letters", 2),
    "an unknown list": (("list", "ABCDEF"), "ID: Klaviyo knows nothing by this id", 1),
    "members of an unknown list": (
        ("members", "--list-id", "ABCDEF"),
        "--list-id: Klaviyo knows nothing by this id",
        1,
    ),
    "members of one of two lists": (
        ("members", "--list-name", "Twice"),
        "2 lists share this name; give --list-id, one of",
        2,
    ),
    "members of no list of that name": (
        ("members", "--list-name", "None"),
        "--list-name: Klaviyo has no list",
        1,
    ),
    "members of no segment of that name": (
        ("members", "--segment-name", "None"),
        "--segment-name: Klaviyo has no segment",
        1,
    ),
    "members of nothing": (
        ("members",),
        "--list-id | --list-name | --segment-id | --segment-name: exactly one",
        2,
    ),
    "members of a list and a segment": (
        ("members", "--segment-name", "None", "--list-id", "ABCDEF"),
        "exactly one is needed",
        2,
    ),
    "suppressed since seconds": (
        ("suppressed", "--since", "1767225600"),
        "--since: must be a time",
        2,
    ),
    "suppressed for no reason of Klaviyo's": (
        ("suppressed", "--reason", "NOPE"),
        "'--reason': 'NOPE' is not one of",
        2,
    ),
    "exclusions for no reason of Klaviyo's": (
        ("exclusions", "--list-id", "ABCDEF", "--reason", "NOPE"),
        "'--reason': 'NOPE' is not one of",
        2,
    ),
    "updated since a word": (
        ("profiles", "--updated-since", "soon"),
        "--updated-since: must be a time",
        2,
    ),
    "an end before the start": (
        ("aggregate", "--metric", "M", "--start", "2026-02-01", "--end", "2026-01-01"),
        "--end: must be later than start",
        2,
    ),
    "where without a value": (
        ("aggregate", "--start", "2026-01-01", "--end", "2026-02-01", "--where", "URL"),
        "'--where': must be DIMENSION=VALUE",
        2,
    ),
}


@pytest.mark.parametrize(("arguments", "said", "code"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_said_in_options(typed, sandbox, arguments, said, code):
    sandbox.create_list("Twice")
    sandbox.create_list("Twice")
    found, out, err = typed(*arguments)
    assert said in err
    assert (found, out) == (code, "")


@pytest.mark.parametrize("name", sorted(commands.get.commands))
def test_the_help_of_each_verb_has_an_example_on_a_line_of_its_own(typed, name):
    code, out, _err = typed(name, "--help")
    assert code == 0
    assert f"\n    klaviyo-relay get {name} " in out or f"\n    klaviyo-relay get {name}\n" in out


@pytest.mark.parametrize("reason", ["HARD_BOUNCE", "hard_bounce"])
def test_a_reason_may_be_written_in_small_letters(typed, sandbox, reason):
    sandbox.add_push_token("ada@shop.io", "token/1")
    sandbox.suppress("ada@shop.io", "HARD_BOUNCE")
    code, out, _err = typed("suppressed", "--reason", reason, "--json")
    assert (code, out.count("ada@shop.io")) == (0, 1)
