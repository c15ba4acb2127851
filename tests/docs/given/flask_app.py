"""A Flask application of today, and a form that is about to be sent."""

from flask import Flask

__all__ = ["app"]

app = Flask(__name__)
