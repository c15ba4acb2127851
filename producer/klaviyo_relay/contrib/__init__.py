"""Integrations with frameworks: django, flask, fastapi, and pytest's plugin.

The verbs of `klaviyo_relay` work in all of them as they are. An integration adds what only the
framework knows: where settings stand, when a transaction commits, when the server stops.
"""
