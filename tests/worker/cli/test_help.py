"""What `--help` says of every verb."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from klaviyo_relay_worker.cli.commands import cli


def verbs(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """All commands below one, by how they are called."""
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from verbs(one, *path, name)
    else:
        yield " ".join(path), command


VERBS = dict(verbs(cli))


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_shows_an_example_that_names_it(name):
    assert re.search(rf"Examples?:\n(.*\n)*?.*klaviyo-relay {name}\b", VERBS[name].help or "")


@pytest.mark.parametrize("name", VERBS)
def test_each_option_says_what_it_is(name):
    options = [one for one in VERBS[name].params if isinstance(one, click.Option)]
    assert [one.opts for one in options if not one.help] == []
