from pathlib import Path

import pytest

import klaviyo_relay
import klaviyo_relay_worker
from klaviyo_relay.scripts import script_of

SCRIPTS = [
    (package.__name__, path.stem)
    for package in (klaviyo_relay, klaviyo_relay_worker)
    for path in sorted((Path(package.__file__).parent / "scripts").glob("*.lua"))
]


def test_there_are_scripts_of_both_packages():
    assert {package for package, _ in SCRIPTS} == {"klaviyo_relay", "klaviyo_relay_worker"}


@pytest.mark.parametrize(("package", "name"), SCRIPTS, ids=[name for _, name in SCRIPTS])
def test_every_script_is_one_that_the_server_takes_with_all_that_it_includes(redis, package, name):
    text = script_of(package, name)

    assert redis.script_load(text)
    assert "-- include" not in text


def test_a_line_of_inclusion_stands_for_the_others_text():
    assert script_of("klaviyo_relay", "ids") in script_of("klaviyo_relay", "ship")


def test_the_register_takes_lanes_though_redis_is_full(redis):
    """A full Redis refuses a plain SADD."""
    register = redis.register_script(script_of("klaviyo_relay", "register"))
    redis.set("others", "x" * 100_000)
    redis.config_set("maxmemory", 1)
    try:
        assert register(keys=["kr:lanes"], args=["default:events", "default:lists"]) == 2
    finally:
        redis.config_set("maxmemory", 0)
    assert redis.smembers("kr:lanes") == {b"default:events", b"default:lists"}
