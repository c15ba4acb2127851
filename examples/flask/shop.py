"""A Flask shop that tells Klaviyo.

    FLASK_KLAVIYO_RELAY_REDIS_URL=redis://127.0.0.1:6379/0 gunicorn --workers 2 --preload "shop:create_app()"

POST /orders with email and total; POST /newsletter with email.
"""  # noqa: E501 - one command, one line

import os

from flask import Flask, request

from klaviyo_relay import InvalidCommandError
from klaviyo_relay.contrib.flask import Relay

relay = Relay()


def create_app() -> Flask:
    """The application; its settings are environment variables that begin with FLASK_."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    relay.init_app(app)

    @app.post("/orders")
    def orders() -> tuple[dict[str, object], int]:
        number, email = request.form["number"], request.form["email"]
        total = float(request.form["total"])
        command = relay.track(
            "Placed Order", email=email, value=total, properties={"number": number}
        )
        return {"id": command, "pid": os.getpid()}, 201

    @app.post("/newsletter")
    def newsletter() -> tuple[dict[str, object], int]:
        command = relay.subscribe("Y6nRLr", email=request.form["email"], source="footer form")
        return {"id": command}, 202

    @app.errorhandler(InvalidCommandError)
    def invalid(error: InvalidCommandError) -> tuple[dict[str, object], int]:
        return {"field": error.field, "rule": error.rule}, 422

    return app
