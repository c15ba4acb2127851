"""A stand-in for Klaviyo's JSON:API: develop and test against it, without an account.

    with Sandbox(limits=False) as sandbox:
        client = KlaviyoAPI("pk_test", test_host=sandbox.url)
        ...
        assert sandbox.summary()["events"] == 3

`python -m klaviyo_relay_worker.sandbox` runs the same as a process. It imports nothing of the
rest of the project. What it answers follows Klaviyo OpenAPI 2026-07-15 and the documented
limits; docstrings say where something is only assumed.
"""

from .sandbox import Sandbox

__all__ = ["Sandbox"]
