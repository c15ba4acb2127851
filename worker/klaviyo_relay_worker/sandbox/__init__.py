"""A stand-in for Klaviyo's JSON:API: develop and test against it, without an account.

    with Sandbox(limits=False) as sandbox:
        client = KlaviyoAPI("pk_test", test_host=sandbox.url)
        ...
        assert sandbox.summary()["events"] == 3

`python -m klaviyo_relay_worker.sandbox` runs the same as a process. It imports nothing of the
rest of the project. What it answers follows Klaviyo OpenAPI 2026-07-15 and the documented
limits; docstrings say where something is only assumed.

Not modelled: /client/* endpoints, definitions of segments, requests about push tokens, secondary
emails, `_kx`, number plans of phone numbers, `include` other than on events, the stacked rate
limits of query parameters, and the minutes that Klaviyo takes until an event can be read.
"""

from .sandbox import Sandbox

__all__ = ["Sandbox"]
