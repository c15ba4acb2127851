from inspect import signature

import pytest
from flask import Flask

import klaviyo_relay
from klaviyo_relay import Producer, Settings
from klaviyo_relay.contrib.flask import Relay
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.testing import capture

ADA = "ada@lovelace.dev"


@pytest.fixture(autouse=True)
def _the_processs_own_producer():
    yield
    klaviyo_relay._default.configure(Settings.from_env)


def app_with(**config):
    app = Flask(__name__)
    app.config.update(config)
    return app


def test_the_config_goes_before_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KLAVIYO_RELAY_NAMESPACE", "from-env")
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", "redis://from-env:1/0")
    app = app_with(
        KLAVIYO_RELAY_REDIS_URL="redis://from-flask:1/0", KLAVIYO_RELAY_SPOOL_DIR=tmp_path
    )

    relay = Relay(app)

    wanted = Settings(redis_url="redis://from-flask:1/0", spool_dir=tmp_path, namespace="from-env")
    assert relay.producer.settings == klaviyo_relay._default.settings == wanted
    assert app.extensions["klaviyo_relay"] is relay


def test_faults_are_raised_at_once_all_of_them_by_their_names_in_the_config():
    app = app_with(KLAVIYO_RELAY_REDIS_URI="x", KLAVIYO_RELAY_LANE_MAX_BYTES="much")

    with pytest.raises(ConfigurationError) as caught:
        Relay().init_app(app)

    unknown, wrong = caught.value.faults
    assert unknown.startswith('app.config["KLAVIYO_RELAY_REDIS_URI"] is unknown; known are REDIS_')
    assert wrong.startswith('app.config["KLAVIYO_RELAY_LANE_MAX_BYTES"] must be a whole number')


def test_it_has_all_verbs_and_they_need_no_context():
    relay = Relay()

    for name in [name for name in klaviyo_relay.__all__ if name.islower()]:
        assert signature(getattr(relay, name)) == signature(getattr(klaviyo_relay, name))
    with capture() as captured:
        relay.track("M", email=ADA)
    captured.assert_tracked("M")


def test_the_application_that_is_initialised_last_determines_the_settings(
    tmp_path, redis_url, redis
):
    relay = Relay()
    for folder in ("a", "b"):
        app = app_with(
            KLAVIYO_RELAY_REDIS_URL=redis_url, KLAVIYO_RELAY_SPOOL_DIR=str(tmp_path / folder)
        )
        relay.init_app(app)
        relay.track("M", email=ADA)
        assert len(list((tmp_path / folder).glob("*.spool"))) == 1
    relay.close()

    assert redis.xlen("kr:{default:events}:stream") == 2


def test_another_producer_is_for_another_redis(tmp_path):
    own = Producer()
    config = {"KLAVIYO_RELAY_NAMESPACE": "second", "KLAVIYO_RELAY_SPOOL_DIR": str(tmp_path)}
    relay = Relay(app_with(**config), producer=own)
    relay.track("M", email=ADA)
    own.close(0.0)

    assert relay.producer.settings.namespace == "second"
    assert klaviyo_relay._default.settings.namespace == "kr"
    assert [path.name for path in tmp_path.glob("*.spool")] == [
        path.name for path in tmp_path.glob(f"{own.settings.digest}-*.spool")
    ]
