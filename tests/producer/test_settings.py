from pathlib import Path

import pytest

from klaviyo_relay import Settings
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.settings import default_spool_directory, masked

P = "KLAVIYO_RELAY_"


def test_every_setting_can_come_from_the_environment():
    settings = Settings.from_env(
        {
            f"{P}REDIS_URL": "rediss://:geheim@redis.example:6380/3",
            f"{P}SPOOL_DIR": "/var/spool/relay",
            f"{P}NAMESPACE": "staging-1",
            f"{P}DURABILITY": "full",
            f"{P}LANE_MAX_BYTES": "5000",
            f"{P}EXIT_SECONDS": "0.5",
        }
    )

    assert settings == Settings(
        redis_url="rediss://:geheim@redis.example:6380/3",
        spool_dir=Path("/var/spool/relay"),
        namespace="staging-1",
        durability="full",
        lane_max_bytes=5000,
        exit_seconds=0.5,
    )


def test_an_empty_variable_counts_as_unset():
    names = [f"{P}{name.upper()}" for name in Settings.__struct_fields__]

    assert Settings.from_env(dict.fromkeys(names, "")) == Settings()


def test_an_unset_spool_directory_is_not_the_default_one():
    assert Settings().spool_dir is None
    assert Settings().spool_directory == default_spool_directory()


def test_variables_of_others_are_left_alone():
    environ = {"REDIS_URL": "redis://other/1", "KLAVIYO_API_KEY": "pk_1", "NAMESPACE": "x"}

    assert Settings.from_env(environ) == Settings()


def test_all_faults_are_reported_at_once_each_with_its_variable():
    wrong = {
        f"{P}REDIS_URL": "http://redis.example",
        f"{P}SPOOL_DIR": "relative/spool",
        f"{P}NAMESPACE": "with space",
        f"{P}DURABILITY": "maybe",
        f"{P}LANE_MAX_BYTES": "0",
        f"{P}EXIT_SECONDS": "soon",
    }

    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(wrong)

    assert len(caught.value.faults) == len(wrong)
    for name in wrong:
        assert sum(fault.startswith(name) for fault in caught.value.faults) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", "redis.example:6379"),
        ("REDIS_URL", "redis+cluster://one:7000/1"),
        ("SPOOL_DIR", "./spool"),
        ("SPOOL_DIR", "~no-such-user-here/spool"),
        ("NAMESPACE", "a:b"),
        ("NAMESPACE", "{a}"),
        ("NAMESPACE", "n" * 33),
        ("DURABILITY", "FULL"),
        ("LANE_MAX_BYTES", "-1"),
        ("LANE_MAX_BYTES", "1.5"),
        ("LANE_MAX_BYTES", "1_000"),
        ("LANE_MAX_BYTES", "lots"),
        ("EXIT_SECONDS", "-0.1"),
        ("EXIT_SECONDS", "nan"),
        ("EXIT_SECONDS", "inf"),
    ],
)
def test_a_setting_that_cannot_work_is_a_configuration_error(name, text):
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({P + name: text})

    assert caught.value.faults[0].startswith(P + name)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one,two:26380/mymaster",
        "rediss+sentinel://user:geheim@one,two,three/mymaster/3?ssl_ca_certs=/etc/ca.pem",
        "redis+cluster://:geheim@one:7000,[::1]:7001",
        "rediss+cluster://one/0",
    ],
)
def test_sentinels_and_clusters_are_places_for_lanes(url):
    assert Settings.from_env({f"{P}REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    "other",
    [
        "redis://:geheim@one:6379/0",
        "redis://:anders@one:6379/0",
        "redis://one:6379/0?password=geheim",
    ],
)
def test_the_digest_ignores_the_password(other):
    assert Settings(redis_url=other).digest == Settings(redis_url="redis://one:6379/0").digest


@pytest.mark.parametrize(
    "other",
    [
        Settings(redis_url="redis://two:6379/0"),
        Settings(redis_url="redis://one:6380/0"),
        Settings(redis_url="redis://one:6379/1"),
        Settings(redis_url="rediss://one:6379/0"),
        Settings(redis_url="unix:///one?db=0"),
        Settings(redis_url="redis://one:6379/0", namespace="staging"),
        Settings(redis_url="redis://one:6379?db=1"),
    ],
    ids=["host", "port", "db", "scheme", "socket", "namespace", "db as query"],
)
def test_the_digest_tells_one_place_from_another(other):
    digest = Settings(redis_url="redis://one:6379/0").digest

    assert other.digest != digest
    assert len(digest) == 8


@pytest.mark.parametrize(
    "url",
    [
        "redis://:geheim@one:6379/0",
        "redis://user:geheim@one/0",
        "unix://user:geheim@/run/redis.sock?db=0",
        "unix:///run/redis.sock?db=0&password=geheim",
        "redis://one:6379/0?password=geheim&db=2",
        "redis://:geh%65im@one/0",
        "redis+cluster://user:geheim@one:7000,two:7001",
        "redis+sentinel://one,two/mymaster?sentinel_password=geheim",
        "rediss://one:6379/0?ssl_keyfile=/k.pem&ssl_password=geheim",
    ],
)
def test_neither_repr_nor_masked_shows_the_password(url):
    for shown in (repr(Settings(redis_url=url)), str(Settings(redis_url=url)), masked(url)):
        assert "geheim" not in shown
        assert "geh%65im" not in shown
        assert "***" in shown


def test_an_option_that_would_break_a_promise_is_refused_by_its_name():
    environ = {"KLAVIYO_RELAY_REDIS_URL": "redis://:geheim@one/0?decode_responses=true"}
    by_hand = Settings(redis_url=environ["KLAVIYO_RELAY_REDIS_URL"])
    rule = "KLAVIYO_RELAY_REDIS_URL must have no option decode_responses: leave it out"

    for read in (lambda: Settings.from_env(environ), lambda: by_hand.digest):
        with pytest.raises(ConfigurationError, match=rule) as caught:
            read()
        assert "geheim" not in str(caught.value)


def test_a_url_without_a_password_is_shown_as_it_is():
    assert masked("redis://one:6379/0?db=2") == "redis://one:6379/0?db=2"


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        Settings().namespace = "other"


def test_the_default_directory_follows_the_xdg_base_directories():
    assert default_spool_directory({"XDG_STATE_HOME": "/x"}) == Path("/x/klaviyo-relay/spool")


def test_without_a_home_directory_there_is_still_a_place_of_this_users(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)

    directory = default_spool_directory({})

    assert directory.is_absolute()
    assert directory.name == "spool"


def test_the_spool_directory_may_be_given_as_a_text(tmp_path):
    settings = Settings(spool_dir=str(tmp_path))
    assert settings.spool_directory == tmp_path
