"""pytest's plugin: the fixture `relay`, and the option klaviyo_relay_capture.

pytest loads it in every run where the package is installed (entry point `klaviyo_relay`), which
costs the import of the package; it changes nothing in a run that uses neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from klaviyo_relay.testing import Capture, capture

OPTION = "klaviyo_relay_capture"


@pytest.fixture
def relay() -> Iterator[Capture]:
    """The commands that klaviyo-relay would send; nothing is stored, nothing reaches Redis."""
    with capture() as found:
        yield found


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.addini(OPTION, "hold back klaviyo-relay's commands in the whole run", "bool", False)  # noqa: FBT003 - pytest's signature


def pytest_configure(config: pytest.Config) -> None:
    """With the option, hold back every command from here to the end of the run."""
    if config.getini(OPTION):
        whole_run = ExitStack()
        whole_run.enter_context(capture(keep=False))
        config.add_cleanup(whole_run.close)
