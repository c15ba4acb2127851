"""What the tests of `klaviyo-relay get …` share: the command line over a sandbox."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from klaviyo_relay_worker.cli import commands
from klaviyo_relay_worker.sandbox import Sandbox


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    redis_url: str,
    sandbox: Sandbox,
) -> Callable[..., tuple[object, str, str]]:
    """Runs the command line; gives its exit code, standard output and standard error."""
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", redis_url)
    monkeypatch.setenv("KLAVIYO_API_URL", sandbox.url)
    monkeypatch.setenv("KLAVIYO_API_KEY", "pk_of_a_test")

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["klaviyo-relay", "get", *arguments])
        with pytest.raises(SystemExit) as ended:
            commands.run()
        out, err = capsys.readouterr()
        return ended.value.code, out, " ".join(err.split())

    return run
