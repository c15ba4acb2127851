"""Writes docs/cli.md from the command line itself: `python tests/docs/cli_reference.py`.

With `--show` it prints the page instead; the test compares that with what is there.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from klaviyo_relay_worker.cli.commands import cli
from klaviyo_relay_worker.cli.enqueue import VERB_COMMANDS
from klaviyo_relay_worker.sandbox.__main__ import parser as sandbox_parser

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """\
# The command line

For whoever types `klaviyo-relay`, or writes a script around it: every verb with its arguments and
options. This page is made from the program by `python tests/docs/cli_reference.py`; do not edit it
by hand.

`pip install "klaviyo-relay[worker]"` brings the program; some verbs name a further extra. It is
configured by [environment variables](settings.md). `klaviyo-relay --version` says which release it
is, and every verb has `--help`. `python -m klaviyo_relay_worker` is the same program.
[Exit codes](operating.md#exit-codes-of-the-command-line) stand in one table.
"""
GROUPS = {
    "Run": ("demo", "worker", "sandbox", "metrics", "dashboard"),
    "Look": ("status", "check", "explain", "get"),
    "Act": ("dead", "pause", "resume", "forget", "spool"),
    "Load": ("load",),
}
_SHORT = {"INTEGER RANGE": "N", "FLOAT RANGE": "N", "FLOAT": "N"}
VERBS = """\
Each puts one command into the spool, ships it, and prints its id. If Redis does not answer within
five seconds, the command stays in the spool, standard error says so, and the exit code is still 0:
it is stored. A command that cannot be meant is refused with exit code 2. The options are the fields
of the verb in Python, which [verbs.md](verbs.md) explains: objects are given as JSON, and lists by
repeating the option.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *_contents()]
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        for name in names:
            parts += _sections(cli.commands[name], f"klaviyo-relay {name}")
    parts.append(f"## Verbs by hand\n\n{VERBS}")
    for command in VERB_COMMANDS:
        parts += _sections(command, f"klaviyo-relay {command.name}", is_verb=True)
    _complain_about_missing()
    return "\n".join(parts)


def _contents() -> Iterator[str]:
    for group, names in (*GROUPS.items(), ("Verbs by hand", [one.name for one in VERB_COMMANDS])):
        links = " · ".join(f"[{name}](#klaviyo-relay-{name})" for name in names)
        yield f"**{group}:** {links}\n"


def _complain_about_missing() -> None:
    known = {name for names in GROUPS.values() for name in names}
    known |= {str(command.name) for command in VERB_COMMANDS}
    missing = set(cli.commands) - known
    if missing:
        raise SystemExit(f"put into a group of tests/docs/cli_reference.py: {sorted(missing)}")


def _sections(command: click.Command, path: str, *, is_verb: bool = False) -> Iterator[str]:
    yield f"### {path}\n"
    text, example = _help(command)
    yield f"{text}\n"
    if command.name == "sandbox":
        yield from _table(_sandbox_rows())
    elif is_verb:
        yield f"{_usage(command, path)}\n"
    else:
        if not isinstance(command, click.Group):
            yield f"{_usage(command, path)}\n"
        yield from _table([_row(command, one) for one in _options(command)])
    if example:
        yield f"```text\n{example}\n```\n"
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from _sections(one, f"{path} {name}")


def _help(command: click.Command) -> tuple[str, str]:
    """The text in paragraphs of one line each, and the example."""
    if command.name == "sandbox":
        text = (
            "A stand-in for Klaviyo on this machine; [sandbox.md](sandbox.md) tells what it can do."
        )
        return f"{text} Prints its URL as JSON when it is ready.", ""
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    text, _, example = re.sub(r"\n*Examples?:\n", "\0", text, count=1).partition("\0")
    text = text.removesuffix("Prints the command's id once it is in Redis.").strip()
    paragraphs = [" ".join(one.split()) for one in text.split("\n\n")]
    return "\n\n".join(paragraphs), inspect.cleandoc(example)


def _usage(command: click.Command, path: str) -> str:
    parts = [path, *(one.make_metavar(click.Context(command)) for one in _arguments(command))]
    options = _options(command)
    if command in VERB_COMMANDS:
        parts += [_flag(command, one) for one in options]
    elif options:
        parts.append("[OPTION …]")
    return f"`{' '.join(parts)}`"


def _flag(command: click.Command, option: click.Option) -> str:
    name = max(option.opts, key=len)
    if not option.is_flag:
        name = f"{name} {_value(command, option)}"
    return name if option.required else f"[{name}]"


def _arguments(command: click.Command) -> list[click.Argument]:
    return [one for one in command.params if isinstance(one, click.Argument)]


def _value(command: click.Command, option: click.Option) -> str:
    shown = option.make_metavar(click.Context(command))
    return _SHORT.get(shown, shown)


def _options(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option)]


def _row(command: click.Command, option: click.Option) -> tuple[str, str, str]:
    names = " ".join(f"`{name}`" for name in option.opts)
    if not option.is_flag:
        names += f" {_words(_value(command, option))}"
    text, _, default = (option.help or "").partition("  [default: ")
    default = default.rstrip("]") or _default(option)
    if option.multiple and "repeat" not in text and "several" not in text:
        text = f"{text}; may be repeated".removeprefix("; ")
    if option.envvar:
        text = f"{text} (`{option.envvar}`)"
    return names, _words(text), f"{_words(default)}{' (needed)' * option.required}"


def _default(option: click.Option) -> str:
    value: Any = option.default
    is_said = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    return f"`{value}`" if is_said and not option.is_flag else ""


def _words(text: str) -> str:
    return text.replace("|", "\\|").strip()


def _sandbox_rows() -> list[tuple[str, str, str]]:
    rows = []
    for action in sandbox_parser()._actions:
        text = (action.help or "").replace(" (%(default)s)", "")
        has_value = action.nargs != 0
        kinds = {int: "N", float: "SECONDS", Path: "FILE"}
        kind = "|".join(action.choices) if action.choices else kinds.get(action.type, "TEXT")
        shown = f" {_words(kind)}"
        default = (
            f"`{action.default}`"
            if has_value and action.default not in (None, argparse.SUPPRESS)
            else ""
        )
        if action.dest != "help":
            rows.append((f"`{action.option_strings[-1]}`{shown * has_value}", text, default))
    return rows


def _table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if rows:
        head = ["| option | meaning | default |", "|---|---|---|"]
        yield "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page(), "utf-8")
