"""`klaviyo-relay get …` in this process: what it says of bad input, in its own options."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.cli import commands


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("events", "--since", "yesterday"), "--since: must be a time", 2),
        (("events", "--metric", "Nope"), "--metric: Klaviyo has no metric", 2),
        (("events", "--metric", "A", "--metric-id", "B"), "--metric-id | --metric: give one", 2),
        (("events", "--profile", "A", "--email", "a@b.io"), "--profile | --email: give one", 2),
        (("events", "--profile", "UNKNOWN"), "--profile: Klaviyo knows nothing by this id", 1),
        (("events", "--email", "nobody@shop.io"), "--email: Klaviyo knows no profile", 1),
        (("events", "--follow", "--since", "2026-01-01"), "--since: not with --follow", 2),
        (("events", "--cursor", "nonsense"), "The cursor is not valid", 1),
        (("lists", "--json", "--csv"), "--json | --csv: give one", 2),
        (("lists", "--output", "/nowhere/at/all"), "--output: No such file", 2),
        (("lists", "--account", "other"), "KLAVIYO_API_KEY_OTHER", 2),
        (("profile",), "ID | --email | --phone-number | --external-id: exactly one", 2),
        (("profiles", "--email", "a@b.io", "--email", "c"), "--email number 2: must be", 2),
        (("profiles", "--emails-from", "/dev/null"), "'--emails-from': there is no address", 2),
        (("profiles", "--email", "a@b.io", "--cursor", "c"), "--cursor: belongs to a read", 2),
        (("list", "Newsletter"), "ID: must be six letters", 2),
        (("list", "ABCDEF"), "ID: Klaviyo knows nothing by this id", 1),
        (("members", "--list-id", "ABCDEF"), "--list-id: Klaviyo knows nothing by this id", 1),
        (("members", "--list-name", "Twice"), "2 lists share this name; give --list-id, one of", 2),
        (("members", "--list-name", "None"), "--list-name: Klaviyo has no list", 2),
        (("members",), "--list-id | --list-name | --segment-id | --segment-name: exactly one", 2),
        (("members", "--segment-name", "None", "--list-id", "ABCDEF"), "exactly one is needed", 2),
        (("suppressed", "--since", "1767225600"), "--since: must be a time", 2),
        (("profiles", "--updated-since", "soon"), "--updated-since: must be a time", 2),
        (
            ("aggregate", "--metric", "M", "--start", "2026-02-01", "--end", "2026-01-01"),
            "--end: must be later than start",
            2,
        ),
        (
            ("aggregate", "--start", "2026-01-01", "--end", "2026-02-01", "--where", "URL"),
            "'--where': must be DIMENSION=VALUE",
            2,
        ),
    ],
)
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
