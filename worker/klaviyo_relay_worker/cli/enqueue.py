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
from klaviyo_relay_worker.cli.field_help import ACCOUNT_HELP, FIELD_HELP

_OBJECTS = ("properties", "location", "append", "unappend", "profile")
_LISTS = ("unset", "channels")
_ARGUMENTS = ("metric", "list_id", "new_name")
_FLUSH_SECONDS = 5.0
_SUMMARIES = {
    "track_once": "As track, but Klaviyo keeps a profile's first event of this metric alone."
}
_EXAMPLES = {
    "track": 'track "Placed Order" --email ada@lovelace.dev --value 23.99',
    "track_once": 'track-once "Signed Up" --email ada@lovelace.dev',
    "identify": "identify --email ada@lovelace.dev --first-name Ada --properties '{\"tier\": 1}'",
    "add_to_list": "add-to-list --list-name VIP --email ada@lovelace.dev",
    "remove_from_list": "remove-from-list --list-name VIP --email ada@lovelace.dev",
    "create_list": "create-list VIP",
    "rename_list": "rename-list --list-name VIP --new-name Friends",
    "delete_list": "delete-list --list-name VIP",
    "subscribe": "subscribe --list-id Xyz123 --email ada@lovelace.dev --source till",
    "unsubscribe": "unsubscribe --email ada@lovelace.dev",
    "suppress": "suppress --email ada@lovelace.dev",
    "unsuppress": "unsuppress --email ada@lovelace.dev",
    "delete_profile": "delete-profile --email ada@lovelace.dev",
}


def _parameter(field: FieldInfo, kind: type[Command]) -> click.Parameter:
    name = field.name
    if name in _ARGUMENTS[:1] or (name == "list_name" and kind.__name__ == "CreateList"):
        return click.Argument([name])
    option, text = f"--{name.replace('_', '-')}", FIELD_HELP[name]
    if name in _LISTS:
        return click.Option([option, name], multiple=True, help=text)
    if name == "backfill":
        return click.Option([option, name], is_flag=True, default=None, help=text)
    if name == "value":
        return click.Option([option, name], type=float, help=text)
    return click.Option([option, name], help=text, required=field.required)


def _command(kind: type[Command], name: str = "", **fixed: str) -> click.Command:
    """The verb of a kind of command, under its own name or another.

    Args:
        fixed: fields that have this value always, and so no option.
    """
    verb = str(kind.__struct_config__.tag)
    parameters = [_parameter(field, kind) for field in fields(kind) if field.name not in fixed]
    if verb == "track":
        parameters.append(click.Option(["--profile"], help=FIELD_HELP["profile"]))
    parameters.append(
        click.Option(["--account"], default=DEFAULT_ACCOUNT, show_default=True, help=ACCOUNT_HELP)
    )
    summary = _SUMMARIES.get(name) or (kind.__doc__ or "").splitlines()[0]
    example = _EXAMPLES[name or verb]
    return click.Command(
        (name or verb).replace("_", "-"),
        params=parameters,
        callback=lambda account, **given: _enqueue(verb, account, {**given, **fixed}),
        help=f"{summary}\n\nPrints the command's id once it is in Redis.\n\n"
        f"\b\nExample:\n  klaviyo-relay {example}",
    )


def _enqueue(verb: str, account: str, given: dict[str, Any]) -> None:
    was_given = {name: value for name, value in given.items() if value not in (None, ())}
    arguments = {name: _value(name, value) for name, value in was_given.items()}
    with_thread = Producer()
    try:
        commands = commands_of(verb, arguments)
        identity = with_thread.enqueue_together(commands, account=account)[-1]
    except InvalidCommandError as error:
        raise click.UsageError(str(error)) from None
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
