"""The verbs of the command line, and how their errors reach a person."""

from __future__ import annotations

import sys

import click
from redis.exceptions import RedisError

from klaviyo_relay.errors import ConfigurationError, RelayError
from klaviyo_relay_worker.cli.dashboard import dashboard
from klaviyo_relay_worker.cli.dead import dead
from klaviyo_relay_worker.cli.enqueue import VERB_COMMANDS
from klaviyo_relay_worker.cli.explain import explain
from klaviyo_relay_worker.cli.forget import forget
from klaviyo_relay_worker.cli.get import get
from klaviyo_relay_worker.cli.load import load
from klaviyo_relay_worker.cli.metrics import metrics
from klaviyo_relay_worker.cli.operate import check, spool, status
from klaviyo_relay_worker.cli.pauses import pause, resume
from klaviyo_relay_worker.cli.run import demo, sandbox, worker
from klaviyo_relay_worker.cli.words import sentence
from klaviyo_relay_worker.errors import InvalidArgumentError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="klaviyo-relay")
def cli() -> None:
    """The durable way from a Python application to Klaviyo."""


for command in (
    demo,
    worker,
    sandbox,
    load,
    status,
    metrics,
    check,
    explain,
    get,
    dead,
    forget,
    spool,
    dashboard,
    pause,
    resume,
    *VERB_COMMANDS,
):
    cli.add_command(command)


def _keep_examples(command: click.Command) -> None:
    r"""Turn the `\b` of raw docstrings into click's mark for lines that must not be rewrapped."""
    command.help = command.help and command.help.replace(r"\b", "\b")
    if isinstance(command, click.Group):
        for one in command.commands.values():
            _keep_examples(one)


_keep_examples(cli)


def run() -> None:
    """Run the command line; expected errors become one sentence and an exit code."""
    try:
        cli()
    except ConfigurationError as error:
        for fault in error.faults:
            click.echo(f"klaviyo-relay: {fault}", err=True)
        sys.exit(2)
    except RelayError as error:
        click.echo(f"klaviyo-relay: {sentence(error)}", err=True)
        sys.exit(2 if isinstance(error, InvalidArgumentError) else 1)
    except RedisError as error:
        click.echo(f"klaviyo-relay: Redis does not answer: {error}", err=True)
        sys.exit(1)
