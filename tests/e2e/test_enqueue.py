"""Every verb from the command line: what its options say is what stands in the lane."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from klaviyo_relay.commands import VERBS
from klaviyo_relay.envelope import decode
from klaviyo_relay_worker.cli.commands import cli

# Every field of every verb, as the producer's own tests have them.
GOLDEN = Path(__file__).parents[1] / "producer" / "golden"
POSITIONAL = {"track": "metric", "create_list": "list_name"}


def command_of(verb):
    return json.loads((GOLDEN / f"{verb}.json").read_text())["command"]


def words_of(verb):
    """The verb's fields as a person types them."""
    fields = {name: value for name, value in command_of(verb).items() if name != "verb"}
    words = [verb.replace("_", "-")]
    if verb in POSITIONAL:
        words.append(fields.pop(POSITIONAL[verb]))
    for name, value in fields.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            words += [word for one in value for word in (option, one)]
        else:
            words += [option, value if isinstance(value, str) else json.dumps(value)]
    return words


@pytest.mark.parametrize("verb", [path.stem for path in sorted(GOLDEN.glob("*.json"))])
def test_what_a_verbs_options_say_stands_in_its_lane(site, verb):
    done = CliRunner().invoke(cli, words_of(verb), env=site.environment)
    assert done.exit_code == 0, done.output
    lane = site.settings.keys.lane("default", VERBS[verb].lane)
    [(_, fields)] = site.redis.xrange(lane.stream)
    assert decode(fields[b"e"]).id == done.stdout.strip()
    assert json.loads(fields[b"e"])["command"] == command_of(verb)
