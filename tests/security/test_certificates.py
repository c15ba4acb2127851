"""rediss:// is TLS from the first byte, certificate checked, for whoever connects."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
from kombu.exceptions import OperationalError
from redis.connection import SSLConnection
from redis.exceptions import RedisError

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.app import create_app
from klaviyo_relay_worker.settings import WorkerSettings

HANDSHAKE = 0x16  # RFC 8446, ContentType.handshake


class Eavesdropper:
    """Takes one connection and hears what the client says first; answers nothing."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.heard = b""
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    @property
    def url(self):
        return f"rediss://:secret@127.0.0.1:{self._socket.getsockname()[1]}/0"

    def _listen(self):
        connection, _ = self._socket.accept()
        with connection:
            self.heard = connection.recv(4096)

    def close(self):
        self._thread.join(30)
        self._socket.close()


@pytest.fixture
def listener():
    made = Eavesdropper()
    yield made
    made.close()


def test_lanes_are_reached_by_tls_alone(listener):
    client = connect(listener.url)
    with pytest.raises(RedisError):
        client.ping()
    client.close()
    listener.close()
    assert listener.heard[0] == HANDSHAKE
    assert b"secret" not in listener.heard


def test_a_certificate_that_nobody_vouches_for_is_refused_by_default():
    client = connect("rediss://127.0.0.1/0")
    assert client.connection_pool.make_connection().cert_reqs == ssl.CERT_REQUIRED
    client.close()


def test_celerys_broker_is_reached_by_tls_alone(listener):
    app = create_app(WorkerSettings(redis_url=listener.url, api_keys={"default": "pk_a"}))
    with app.connection_for_write() as connection, pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=1, interval_start=0)
    app.close()
    listener.close()
    assert listener.heard[0] == HANDSHAKE
    assert b"secret" not in listener.heard


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ssl.CERT_REQUIRED),
        ("?ssl_ca_certs=/etc/redis-ca.pem", ssl.CERT_REQUIRED),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE),
    ],
    ids=["by default", "own authority", "switched off by name"],
)
def test_celery_checks_the_brokers_certificate(query, wanted):
    settings = WorkerSettings(redis_url=f"rediss://127.0.0.1:1/0{query}", api_keys={"a": "pk_a"})
    app = create_app(settings)
    # kombu hands these to the class of connection that its channel makes.
    with app.connection_for_write() as connection:
        assert SSLConnection(**connection.ssl).cert_reqs == wanted
    app.close()
