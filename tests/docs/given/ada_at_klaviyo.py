"""Ada is at Klaviyo: she has placed an order, and is on the list Newsletter.

It is read as it was written: by the worker of the sandbox.
"""

import os
from urllib.request import urlopen

import klaviyo_relay as klaviyo

__all__: list[str] = []

LIST = klaviyo.created_list(klaviyo.create_list("Newsletter"), timeout=60)
klaviyo.subscribe(LIST, email="ada@lovelace.dev")
klaviyo.add_to_list(LIST, email="ada@lovelace.dev")
klaviyo.track("Placed Order", email="ada@lovelace.dev", value=23.99, profile={"first_name": "Ada"})
klaviyo.close()
URL = f"{os.environ['KLAVIYO_API_URL']}/sandbox/wait?events=1&members=Newsletter:1&timeout=60"
urlopen(URL).close()  # noqa: S310 - our own sandbox on loopback
