"""redis-py over leased connections, and every way in which an exchange can end in doubt."""

import gc
import os
import signal
import socket
import threading

import pytest

import berth
from berthd import settle
from processes import wait_until

redis_py = pytest.importorskip("redis", reason="python3-redis is not installed")

import berth.redis  # noqa: E402

RESET = [{"send": "RESET\r\n"}, {"expect": "+RESET\r\n"}]


@pytest.fixture
def daemon(berthd, redis):
    return berthd({"redis": {"endpoints": [redis.url], "max_connections": 2},
                   "clean": {"endpoints": [redis.url], "max_connections": 1, "reset": RESET}})


@pytest.fixture
def session(daemon):
    return daemon.session()


def client_of(session, key="redis", **options):
    return redis_py.Redis(connection_pool=berth.redis.Pool(session, key, **options))


@pytest.fixture
def client(session):
    return client_of(session)


def reuses(session, key="redis"):
    """Whether what was given back last, of a pool that then held nothing else, is granted again."""
    settle(session)
    try:
        lease = session.lease(key, timeout=0)
    except berth.TimedOut:
        return False
    reused = lease.reused
    lease.release()
    return reused


def test_commands_share_one_connection_and_hold_none_between(client, session, redis):
    for number in range(1, 51):
        assert client.incr("count") == number
        settle(session)
    assert redis.connections() == 1
    assert reuses(session)


def test_threads_of_one_client_share_what_the_pool_has(client, redis):
    def work():
        for _ in range(50):
            client.incr("count")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(client.get("count")) == 300
    assert redis.connections() <= 2


@pytest.mark.parametrize("use", [
    lambda client: client.set("text", "x" * 100_000),
    lambda client: client.pipeline(transaction=False).set("a", 1).get("a").lpush("b", *range(50)).execute(),
    lambda client: client.pipeline().set("a", 1).incr("a").execute(),
    lambda client: client.transaction(lambda pipe: (pipe.multi(), pipe.set("a", 1)), "a", "b"),
    lambda client: client.register_script("return {1, {2, 'three'}}")(),
    lambda client: client.execute_command("CLIENT ID"),
    lambda client: client.client_list(),
    lambda client: list(client.scan_iter("*")),
    lambda client: client.xadd("stream", {"a": 1}) and client.xread({"stream": "0"}),
    lambda client: client.blpop(["nothing"], timeout=0.01),
], ids=["large value", "pipeline", "transaction", "watched transaction", "script", "two-word command", "client list",
        "scan", "stream", "blocking command"])
def test_a_finished_exchange_is_reused(client, session, redis, use):
    use(client)
    assert reuses(session)
    assert redis.connections() == 1


def test_an_error_reply_is_a_reply(client, session):
    client.set("text", "no list")
    with pytest.raises(redis_py.ResponseError):
        client.lpush("text", 1)
    assert reuses(session)
    with pytest.raises(redis_py.ResponseError):
        client.pipeline().lpush("text", 1).get("text").execute()
    assert reuses(session)
    with pytest.raises(redis_py.ResponseError):
        client.pipeline(transaction=False).lpush("text", 1).get("text").execute()
    assert reuses(session)


def test_a_transaction_that_loses_its_race_is_reused(client, session, redis):
    with client.pipeline() as pipe:
        pipe.watch("key")
        redis.command("SET", "key", "changed meanwhile")
        pipe.multi()
        pipe.get("key")
        with pytest.raises(redis_py.WatchError):
            pipe.execute()
    assert reuses(session)


def test_a_watch_that_is_called_off_is_reused(client, session):
    with client.pipeline() as pipe:
        pipe.watch("key")
        pipe.get("key")
    assert reuses(session)


@pytest.mark.parametrize("command", [
    ["WATCH", "key"], ["MULTI"], ["SELECT", "3"], ["CLIENT", "SETNAME", "me"], ["client setname", "me"],
    ["CLIENT", "TRACKING", "ON"], ["READONLY"], ["HELLO"], [b"select", 0], ["RESET"], ["SCRIPT", "DEBUG", "YES"],
], ids=str)
def test_what_lasts_on_a_connection_is_not_left_to_the_next(client, session, command):
    try:
        client.execute_command(*command)
    except redis_py.ResponseError:
        pass
    assert not reuses(session)
    assert client.get("nothing") is None


@pytest.mark.parametrize("command", [
    ["WATCH", "key"], ["MULTI"], ["SELECT", "3"], ["CLIENT", "SETNAME", "me"],
], ids=str)
def test_a_reset_of_the_pool_undoes_what_lasts(session, redis, command):
    client = client_of(session, "clean", resets=True)
    client.execute_command(*command)
    assert client.client_getname() is None
    assert client.set("key", "in database 0")
    assert redis.command("GET", "key") == "in database 0"
    assert redis.connections() == 1


@pytest.mark.parametrize("command", [["CLIENT", "NO-EVICT", "ON"], ["SCRIPT", "DEBUG", "NO"]], ids=str)
def test_what_a_reset_does_not_undo_is_not_left_to_the_next(session, command):
    client_of(session, "clean", resets=True).execute_command(*command)
    assert not reuses(session, "clean")


def test_a_timeout_in_mid_reply_discards(session, redis):
    client = client_of(session, socket_timeout=0.05)
    with pytest.raises(redis_py.TimeoutError):
        client.blpop(["nothing"], timeout=30)
    assert not reuses(session)
    assert client.ping()


def test_an_exception_in_mid_reply_discards(client, session):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            client.blpop(["nothing"], timeout=30)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not reuses(session)


def test_an_unread_reply_discards_even_before_it_comes(session, redis):
    pool = berth.redis.Pool(session, "redis")
    connection = pool.get_connection("BLPOP")
    connection.send_command("BLPOP", "queue", 0)
    pool.release(connection)  # nothing unread yet: the kernel cannot know
    redis.command("LPUSH", "queue", "for nobody")
    assert not reuses(session)


def test_half_a_pipeline_read_discards(session):
    pool = berth.redis.Pool(session, "redis")
    connection = pool.get_connection("PING")
    connection.send_packed_command(connection.pack_commands([("PING",), ("PING",)]))
    assert connection.read_response() == b"PONG"
    pool.release(connection)
    assert not reuses(session)


def test_bytes_that_the_adapter_does_not_know_discard(session):
    pool = berth.redis.Pool(session, "redis")
    connection = pool.get_connection("PING")
    connection.send_packed_command([b"PING\r\n"])
    assert connection.read_response() == b"PONG"
    pool.release(connection)
    assert not reuses(session)


def test_what_came_unasked_discards(berthd):
    """It is in the parser's buffer, where the kernel does not see it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        session = berthd({"chatty": {"endpoints": [f"tcp://127.0.0.1:{server.getsockname()[1]}"]}}).session()
        pool = berth.redis.Pool(session, "chatty")
        connection = pool.get_connection("PING")
        connection.send_command("PING")
        with server.accept()[0] as sock:
            sock.sendall(b"+PONG\r\n+MORE\r\n")
            assert connection.read_response() == b"PONG"
            pool.release(connection)
            assert not reuses(session, "chatty")


def test_a_subscription_holds_its_connection_and_discards_it(client, session, redis, daemon):
    pubsub = client.pubsub()
    pubsub.subscribe("news")
    assert pubsub.get_message(timeout=5)["type"] == "subscribe"
    assert client.publish("news", "hello") == 1
    assert pubsub.get_message(timeout=5)["data"] == b"hello"
    client.connection_pool.disconnect(inuse_connections=False)
    pubsub.close()
    wait_until(lambda: daemon.connections_to(redis.port) <= 1, "the subscriber is gone")
    assert client.ping()


def test_a_subscription_that_loses_its_connection_leases_another(client, redis):
    pubsub = client.pubsub()
    pubsub.subscribe("news")
    assert pubsub.get_message(timeout=5)["type"] == "subscribe"
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    with pytest.raises(redis_py.ConnectionError):
        pubsub.get_message(timeout=5)
    assert pubsub.get_message(timeout=5)["type"] == "subscribe"
    assert client.publish("news", "hello") == 1
    assert pubsub.get_message(timeout=5)["data"] == b"hello"
    pubsub.close()


def test_a_monitor_discards(client, session):
    with client.monitor() as monitor:
        assert monitor.connection is not None
    assert not reuses(session)


def test_a_connection_that_dies_in_mid_lease_is_followed_by_a_live_one(client, session, redis):
    pool = client.connection_pool
    connection = pool.get_connection("PING")
    redis.kill_clients()
    connection.send_command("PING")
    with pytest.raises(redis_py.ConnectionError):
        connection.read_response()
    pool.release(connection)
    assert client.ping()


def test_disconnect_discards(client, session):
    pool = client.connection_pool
    connection = pool.get_connection("PING")
    pool.disconnect()
    pool.release(connection)
    assert not reuses(session)


def test_a_connection_that_is_forgotten_is_discarded(session):
    connection = berth.redis.Pool(session, "redis").get_connection("PING")
    connection.send_command("PING")
    del connection
    gc.collect()
    assert not reuses(session)


def test_a_client_that_holds_one_connection_gives_it_back_with_close(session):
    client = redis_py.Redis(connection_pool=berth.redis.Pool(session, "redis"), single_connection_client=True)
    assert client.set("a", 1)
    client.close()
    assert reuses(session)


def test_health_checks_count_as_what_they_are(session, redis):
    client = client_of(session, health_check_interval=0.001)
    for _ in range(5):
        assert client.set("a", 1)
    assert reuses(session)
    assert redis.connections() == 1


def test_a_refused_lease_has_berths_words(session, daemon):
    with session.lease_many("redis", 2):
        with pytest.raises(redis_py.TimeoutError, match="2/2 leased") as caught:
            client_of(session, timeout=0.05).ping()
        assert isinstance(caught.value.__cause__, berth.TimedOut)
    with pytest.raises(redis_py.ConnectionError, match='did you mean "redis"'):
        client_of(session, "rediss").ping()


def test_settings_of_the_pool_are_not_the_programs(session):
    with pytest.raises(TypeError, match="db, password: set in berthd.toml"):
        berth.redis.Pool(session, "redis", password="secret", db=1)


def test_a_forked_child_has_a_session_of_its_own(daemon, child, redis):
    def life(parent):
        client = client_of(daemon.path)
        client.set("born", "in the parent")
        held = client.connection_pool.get_connection("GET")
        held.send_command("GET", "born")
        pid = os.fork()
        if pid == 0:
            good = client.get("born") == b"in the parent"
            client.connection_pool.release(held)
            del held
            gc.collect()
            os._exit(7 if good else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answer = held.read_response()  # neither the child's work nor its end has harmed it
        client.connection_pool.release(held)
        return status, answer, client.get("born")

    assert child(life).result() == (7, b"in the parent", b"in the parent")


def test_a_session_of_the_parents_is_refused_in_a_child_in_words(daemon, child):
    def life(parent):
        with berth.Session(daemon.path) as session:
            client = client_of(session)
            client.ping()
            pid = os.fork()
            if pid == 0:
                try:
                    client.ping()
                except redis_py.ConnectionError as error:
                    os._exit(7 if "open another one after fork" in str(error) else 2)
                os._exit(1)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), client.ping()

    assert child(life).result() == (7, True)


def test_a_restarted_daemon_is_found_again(daemon, child, redis):
    def life(parent):
        client = client_of(daemon.path)
        client.ping()
        parent.say("ready")
        parent.hear()
        return client.ping()

    born = child(life)
    assert born.hear() == "ready"
    daemon.kill()
    daemon.start()
    born.tell()
    assert born.result() is True


def test_a_default_timeout_does_not_reach_a_lease(client):
    socket.setdefaulttimeout(3)
    try:
        assert client.ping()
    finally:
        socket.setdefaulttimeout(None)
