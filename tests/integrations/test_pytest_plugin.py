"""`klaviyo_relay.contrib.pytest`, in runs of pytest of its own."""

import subprocess
import sys
import textwrap

from environment import environment_of


def run_pytest(folder, tests, ini=""):
    """The outcome line of a pytest of its own, as a user has it: by the entry point."""
    (folder / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{ini}\n")
    (folder / "test_it.py").write_text("import klaviyo_relay as klaviyo\n" + textwrap.dedent(tests))
    environment = {
        **environment_of(),
        "XDG_STATE_HOME": str(folder / "state"),
        "KLAVIYO_RELAY_REDIS_URL": "redis://127.0.0.1:1/0",
        "KLAVIYO_RELAY_EXIT_SECONDS": "0",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return ran.stdout


def test_the_fixture_is_there_for_whoever_installed_the_package(tmp_path):
    said = run_pytest(
        tmp_path,
        """
        def test_one(relay):
            klaviyo.track("M", email="ada@lovelace.dev")
            relay.assert_tracked("M", count=1)

        def test_two(relay):
            relay.assert_tracked("M", email="ada@lovelace.dev")
        """,
    )

    assert "1 failed, 1 passed" in said
    assert "AssertionError: nothing captured fits track(metric='M', email=" in said
    # The traceback ends in the test: the kit's own frames are hidden.
    assert "test_it.py:8: AssertionError" in said
    assert not (tmp_path / "state").exists()


def test_without_the_fixture_the_plugin_holds_nothing_back(tmp_path):
    said = run_pytest(
        tmp_path,
        """
        def test_one():
            klaviyo.track("M", email="ada@lovelace.dev")
        """,
    )

    assert "1 passed" in said
    assert list(tmp_path.glob("state/klaviyo-relay/spool/*.spool"))


def test_with_the_option_the_whole_run_is_held_back(tmp_path):
    said = run_pytest(
        tmp_path,
        """
        import atexit, pytest
        klaviyo.track("M", email="ada@lovelace.dev")

        @pytest.fixture(scope="session", autouse=True)
        def everything():
            klaviyo.track("M", email="ada@lovelace.dev")
            yield
            klaviyo.track("M", email="ada@lovelace.dev")

        def test_one():
            klaviyo.track("M", email="ada@lovelace.dev")

        def test_two(relay):
            klaviyo.track("M", email="ada@lovelace.dev")
            relay.assert_tracked("M", count=1)
        """,
        ini="klaviyo_relay_capture = true",
    )

    assert "2 passed" in said
    assert not (tmp_path / "state").exists()
