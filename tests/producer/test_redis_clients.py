import subprocess
import sys
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.redis_address import RedisAddress
from klaviyo_relay.redis_clients import Patience, connect, node_of, nodes_of, tls_options
from klaviyo_relay_worker.embedded import PrivateRedis


def test_a_client_gives_up_after_the_time_it_was_given_and_does_not_try_again():
    with PrivateRedis() as server, connect(server.url, answer_seconds=0.2) as redis:
        redis.ping()
        server.pause()
        began = time.monotonic()

        with pytest.raises(RedisTimeoutError):
            redis.incr("once")

        assert 0.1 < time.monotonic() - began < 2.0
        server.resume()
        with connect(server.url) as another:
            assert int(another.get("once")) == 1


def test_a_redis_that_is_gone_is_said_at_once():
    with PrivateRedis() as server:
        url = server.url

    with connect(url) as redis, pytest.raises(RedisConnectionError):
        redis.ping()


def test_a_single_server_is_its_only_node(redis):
    assert nodes_of(redis) == [redis]
    assert node_of(redis, "kr:any") is redis


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1",
        "redis+cluster://127.0.0.1:1,127.0.0.1:2",
        "redis+sentinel://127.0.0.1:1/m",
    ],
)
def test_nobody_is_asked_before_the_first_command(url):
    with connect(url, answer_seconds=0.2) as client, pytest.raises(RedisConnectionError):
        client.ping()


def test_a_url_that_is_none_is_told():
    with pytest.raises(ConfigurationError, match="KLAVIYO_RELAY_REDIS_URL must begin with"):
        connect("http://redis.example")


def test_the_client_never_tries_again_by_itself():
    options = Patience(0.5, 2.0).as_options()

    assert (options["socket_connect_timeout"], options["socket_timeout"]) == (0.5, 2.0)
    assert options["retry"].get_retries() == 0


def test_the_options_of_tls_have_the_types_that_redis_py_takes():
    address = RedisAddress.of("rediss://one/0?ssl_check_hostname=false&ssl_ca_certs=/ca.pem&db=2")

    assert tls_options(address) == {"ssl_check_hostname": False, "ssl_ca_certs": "/ca.pem"}


OF_TLS = (
    "ssl_ca_certs=/ca.pem&ssl_ca_data=x&ssl_ca_path=/ca&ssl_cert_reqs=required&ssl_certfile=/c.pem"
    "&ssl_check_hostname=true&ssl_ciphers=x&ssl_keyfile=/k.pem&ssl_min_version=771&ssl_password=x"
)


@pytest.mark.parametrize(
    "url",
    [
        "redis://one?client_name=shop&db=1&password=x&username=x",
        f"rediss://one?client_name=shop&db=1&password=x&username=x&{OF_TLS}",
        "unix:///run/redis.sock?client_name=shop&db=1&password=x&username=x",
    ],
)
def test_redis_py_takes_each_option_that_is_allowed(url):
    with connect(url) as redis:
        connection = redis.connection_pool.make_connection()

        assert (connection.client_name, connection.db) == ("shop", 1)


def test_the_options_reach_the_server(redis_url):
    with connect(f"{redis_url.removesuffix('/0')}?db=2&client_name=shop") as redis:
        found = redis.client_info()

    assert (found["db"], found["name"]) == (2, "shop")


def test_importing_the_module_does_not_import_redis():
    code = "import klaviyo_relay.redis_clients, sys; print('redis' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"


FORK_IN_THE_MIDDLE = """
import os, sys, threading
from klaviyo_relay.redis_clients import connect

begun = threading.Event()

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "redis.commands":
            begun.set()

sys.meta_path.insert(0, Watch())
thread = threading.Thread(target=connect, args=("redis://127.0.0.1:1/0",))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    connect("redis://127.0.0.1:1/0")
    os._exit(0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.usefixtures("unmeasured")
def test_a_process_that_is_forked_during_the_first_import_of_redis_can_use_it():
    command = [sys.executable, "-W", "ignore", "-c", FORK_IN_THE_MIDDLE]

    assert subprocess.run(command, check=False, timeout=30).returncode == 0
