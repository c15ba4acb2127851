"""`klaviyo-relay track`, `identify`, …: every verb by hand, its fields as options."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from msgspec.structs import FieldInfo, fields

from klaviyo_relay.calls import commands_of
from klaviyo_relay.commands import KINDS, TRACK_ONCE_ID, Command, Track
from klaviyo_relay.envelope import DEFAULT_ACCOUNT
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.producer import Producer

_OBJECTS = ("properties", "location", "append", "unappend", "profile")
_LISTS = ("unset", "channels")
_ARGUMENTS = ("metric", "list_id", "new_name")
_FLUSH_SECONDS = 5.0
_SUMMARIES = {
    "track_once": "As track, but Klaviyo keeps a profile's first event of this metric alone."
}


def _parameter(field: FieldInfo, kind: type[Command]) -> click.Parameter:
    name = field.name
    if name in _ARGUMENTS[:1] or (name == "list_name" and kind.__name__ == "CreateList"):
        return click.Argument([name])
    option = f"--{name.replace('_', '-')}"
    if name in _LISTS:
        return click.Option([option, name], multiple=True, help="may be given several times")
    if name == "backfill":
        return click.Option([option, name], is_flag=True, default=None)
    if name == "value":
        return click.Option([option, name], type=float)
    text = "a JSON object" if name in _OBJECTS else None
    return click.Option([option, name], help=text, required=field.required)


def _command(kind: type[Command], name: str = "", **fixed: str) -> click.Command:
    """The verb of a kind of command, under its own name or another.

    Args:
        fixed: fields that have this value always, and so no option.
    """
    verb = str(kind.__struct_config__.tag)
    parameters = [_parameter(field, kind) for field in fields(kind) if field.name not in fixed]
    if verb == "track":
        parameters.append(click.Option(["--profile"], help="a JSON object, as identify takes it"))
    parameters.append(click.Option(["--account"], default=DEFAULT_ACCOUNT, show_default=True))
    summary = _SUMMARIES.get(name) or (kind.__doc__ or "").splitlines()[0]
    return click.Command(
        (name or verb).replace("_", "-"),
        params=parameters,
        callback=lambda account, **given: _enqueue(verb, account, {**given, **fixed}),
        help=f"{summary}\n\nPrints the command's id once it is in Redis.",
    )


def _enqueue(verb: str, account: str, given: dict[str, Any]) -> None:
    was_given = {name: value for name, value in given.items() if value not in (None, ())}
    arguments = {name: _value(name, value) for name, value in was_given.items()}
    try:
        commands = commands_of(verb, arguments)
    except InvalidCommandError as error:
        raise click.UsageError(str(error)) from None
    with_thread = Producer()
    identity = [with_thread.enqueue(command, account=account) for command in commands][-1]
    left = with_thread.close(_FLUSH_SECONDS).left
    click.echo(identity)
    if left:
        directory = with_thread.settings.spool_directory
        click.echo(f"Redis does not answer; the command waits in {directory}", err=True)


def _value(name: str, value: Any) -> Any:
    if name in _LISTS:
        return list(value)
    if name not in _OBJECTS:
        return value
    try:
        return msgspec.json.decode(value, type=dict)
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"{name} must be a JSON object: {error}") from None


VERB_COMMANDS = (
    *(_command(kind) for kind in KINDS),
    _command(Track, "track_once", unique_id=TRACK_ONCE_ID),
)
