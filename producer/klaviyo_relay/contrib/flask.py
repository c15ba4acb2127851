"""Flask: settings from app.config, and the verbs on an extension object.

    relay = Relay()

    def create_app():
        app = Flask(__name__)
        app.config["KLAVIYO_RELAY_REDIS_URL"] = "redis://…"
        relay.init_app(app)

    relay.track("Placed Order", email=…)

Nothing is needed at shutdown: the end of the process waits for what Redis has not got yet, and what
is left then is on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from klaviyo_relay.commands import Command
from klaviyo_relay.contrib.configuration import read_settings
from klaviyo_relay.envelope import DEFAULT_ACCOUNT
from klaviyo_relay.producer import Producer, own
from klaviyo_relay.settings import PREFIX
from klaviyo_relay.verbs import Verbs

if TYPE_CHECKING:
    from flask import Flask

EXTENSION: Final = "klaviyo_relay"


class Relay(Verbs):
    """The extension; its verbs need no application context.

    A process has one producer, which the verbs of `klaviyo_relay` use as well, so those follow the
    application's settings too. For a second Redis in the same process give another producer.

    Args:
        app: initialised at once where given.
        producer: whom to give the settings. Defaults to the process's own.
    """

    def __init__(self, app: Flask | None = None, *, producer: Producer = own) -> None:
        self.producer = producer
        self.created_list = producer.created_list
        self.unsubscribe_async = producer.unsubscribe_async
        self.delete_profile_async = producer.delete_profile_async
        self.enqueue_many = producer.enqueue_many
        self.flush = producer.flush
        self.close = producer.close
        if app is not None:
            self.init_app(app)

    def enqueue_together(
        self, commands: Sequence[Command], *, account: str = DEFAULT_ACCOUNT
    ) -> list[str]:
        """As the producer's; what every verb does in the end."""
        return self.producer.enqueue_together(commands, account=account)

    def init_app(self, app: Flask) -> None:
        """Take the settings from `app.config["KLAVIYO_RELAY_…"]`, the others from the environment.

        The application that is initialised last determines the settings.

        Raises:
            ConfigurationError: with every fault found.
        """
        given = {
            name.removeprefix(PREFIX): value
            for name, value in app.config.items()
            if name.startswith(PREFIX)
        }
        settings = read_settings(given, 'app.config["' + PREFIX + '{}"]')
        self.producer.configure(lambda: settings)
        app.extensions[EXTENSION] = self
