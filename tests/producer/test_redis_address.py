import pytest

from klaviyo_relay.redis_address import RedisAddress


def test_a_single_server_is_a_url_of_redis_py():
    found = RedisAddress.of("redis://user:geheim@one:6380/3")

    assert (found.kind, found.scheme, found.hosts) == ("server", "redis", ())


def test_sentinels_are_asked_for_a_primary_by_its_name():
    found = RedisAddress.of("rediss+sentinel://user:geheim@one,two:26380/my%2Fmaster/3")

    assert (found.kind, found.scheme) == ("sentinel", "rediss")
    assert found.hosts == (("one", 26379), ("two", 26380))
    assert (found.service, found.database) == ("my/master", 3)
    assert found.url_of("ten", 6379) == "rediss://user:geheim@ten:6379/3"


def test_a_primary_without_a_database_has_the_first():
    assert RedisAddress.of("redis+sentinel://one/mymaster").database == 0


def test_a_cluster_is_known_by_some_of_its_nodes():
    found = RedisAddress.of("redis+cluster://:geheim@one,[::1]:7001")

    assert (found.kind, found.scheme) == ("cluster", "redis")
    assert found.hosts == (("one", 6379), ("::1", 7001))
    assert found.url_of("::2", 7002) == "redis://:geheim@[::2]:7002/0"


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("redis.example:6379", "must begin with"),
        ("http://redis.example", "must begin with"),
        ("redis+mesh://one:7000", "must begin with"),
        ("unix+cluster:///run/redis.sock", "must not combine a socket with cluster"),
        ("redis://[::1", "must be a URL"),
        ("redis://redis.example:port/0", "must be a URL"),
        ("redis://redis.example:99999/0", "must be a URL"),
        ("redis+cluster://one:7000,two:port", "must be a URL"),
        ("redis://one:6379,two:6379/0", "must name one host"),
        ("redis+sentinel:///mymaster/0", "must name hosts"),
        ("redis+cluster://one:7000,,two:7001", "must name hosts"),
        ("redis+cluster://one:7000/1", "must end with the hosts"),
        ("redis+sentinel://one:26379,two:26379", "must end with the name"),
        ("redis+sentinel://one:26379/mymaster/first", "must end with the name"),
        ("redis+sentinel://one:26379/mymaster/0/1", "must end with the name"),
        ("redis://one?decode_responses=true", "must have no option decode_responses: leave it out"),
        ("redis://one?socket_timeout=60", "must have no option socket_timeout"),
        ("redis://one/0?client_name=shop&protocol=3", "must have no option protocol"),
        ("unix:///run/redis.sock?encoding=latin-1", "must have no option encoding"),
        ("redis+cluster://one?retry_on_timeout=true", "must have no option retry_on_timeout"),
        ("redis+sentinel://one/m?health_check_interval=5", "must have no option health_check"),
        ("rediss://one?ssl_ca_cert=/ca.pem", "must have no option ssl_ca_cert"),
        ("redis://one?sentinel_password=x", "must have no option sentinel_password"),
        ("redis+sentinel://one/m?db=1", "option db: it belongs before the ?"),
        ("redis+cluster://one?password=geheim", "option password: it belongs before the ?"),
        ("redis://one?ssl_ca_certs=/ca.pem", "must begin with rediss to have the option ssl_ca"),
        ("redis://one?db=first", "must have a number as its option db"),
    ],
)
def test_what_is_no_such_url_is_told_what_is_wrong_with_an_example(url, rule):
    with pytest.raises(ValueError, match=rule) as caught:
        RedisAddress.of(url)

    assert url not in str(caught.value).split(", such as ")[0]


@pytest.mark.parametrize(
    "url",
    [
        "http://:geheim@redis.example",
        "redis://:geheim@redis.example:port/0",
        "redis+cluster://:geheim@one:port",
        "redis+sentinel://:geheim@one/mymaster/0/geheim",
        "redis://:geheim@one/0?protocol=3",
        "redis://one/0?password=geheim&protocol=3",
        "redis://:1?geheim=1@one/0",
        "redis://:1/geheim@one/0",
        "redis://:1#geheim@one/0",
    ],
)
def test_a_fault_never_tells_the_password(url):
    with pytest.raises(ValueError, match="must") as caught:
        RedisAddress.of(url)

    assert "geheim" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://:geheim@one:6379/0", "redis://one:6379/0"),
        ("redis://one:6379/0?password=geheim", "redis://one:6379/0"),
        ("rediss://one/0?ssl_ca_certs=/a.pem", "rediss://one/0?ssl_ca_certs=/b.pem"),
        ("redis+sentinel://one,two/m/0", "redis+sentinel://two,one/m/0"),
        ("redis+sentinel://one/m?sentinel_username=u", "redis+sentinel://one/m"),
        ("redis://one:6379/0?client_name=shop", "redis://one:6379/0"),
    ],
    ids=[
        "password", "password as option", "certificates", "order of hosts", "of Sentinels",
        "name of the client",
    ],
)  # fmt: skip
def test_a_place_stays_the_same_whatever_may_change_while_commands_wait(one, other):
    assert RedisAddress.of(one).place == RedisAddress.of(other).place


@pytest.mark.parametrize(
    "other",
    ["redis://two:6379/0", "redis://one:6380/0", "redis://one:6379/1", "redis://one:6379?db=1",
     "rediss://one:6379/0", "unix:///one?db=0"],
)  # fmt: skip
def test_another_place_is_told_apart(other):
    assert RedisAddress.of(other).place != RedisAddress.of("redis://one:6379/0").place


def test_sentinels_may_have_a_user_and_a_password_of_their_own():
    found = RedisAddress.of(
        "redis+sentinel://one/m?sentinel_username=u&sentinel_password=p&client_name=shop"
    )

    assert found.of_sentinels == {"username": "u", "password": "p"}
    assert found.url_of("ten", 1) == "redis://ten:1/0?client_name=shop"


def test_the_options_of_tls_are_told_apart_from_the_others():
    found = RedisAddress.of("rediss://one:6379/0?ssl_ca_certs=%2Fca.pem&db=1")

    assert found.tls == {"ssl_ca_certs": "/ca.pem"}
    assert RedisAddress.of("redis://one").tls is None
