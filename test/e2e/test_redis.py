"""Redis behind berth, as Redis itself sees it."""

import threading
import time

import berth
from berthd import settle
from processes import wait_until
from servers import redis as ask_redis
from servers import wait_for_connections


def pool(redis, **settings):
    return {"redis": {"endpoints": [redis.url], **settings}}


def increment(parent, path, times):
    with berth.Session(path) as session:
        for _ in range(times):
            with session.lease("redis", timeout=20) as lease:
                ask_redis(lease.sock, "INCR", "counter")


def test_a_thousand_leases_cost_redis_four_connections_at_most(berthd, redis):
    daemon = berthd(pool(redis, max_connections=4))
    threads = [threading.Thread(target=increment, args=(None, daemon.path, 200)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redis.command("GET", "counter") == "1000"
    assert redis.connections() <= 4


def test_fifty_processes_share_four_connections(berthd, redis, child):
    daemon = berthd(pool(redis, max_connections=4))
    for worker in [child(increment, daemon.path, 20) for _ in range(50)]:
        worker.result()
    assert redis.command("GET", "counter") == "1000"
    assert redis.connections() <= 4


def work_until_told(parent, path):
    """Leases and pings; returns how often that went well, and each failure at first use."""
    good, failures = 0, []
    with berth.Session(path) as session:
        while parent.waits_for_me():
            asked = time.monotonic()
            try:
                lease = session.lease("redis", timeout=0.5)
            except (berth.UpstreamDown, berth.TimedOut):
                continue
            try:
                ask_redis(lease.sock, "PING")
            except (OSError, AssertionError) as error:
                failures.append((asked, repr(error)))
                lease.discard()
            else:
                good += 1
                lease.release()
    return good, failures


def test_a_restart_under_load_hands_nobody_a_connection_that_was_dead_when_he_asked(berthd, redis, child):
    """Only who held or was being granted a connection when the server died may find it dead."""
    daemon = berthd(pool(redis, max_connections=8))
    workers = [child(work_until_told, daemon.path) for _ in range(8)]
    kills = []
    for _ in range(3):
        wait_until(lambda: redis.command("DBSIZE") == 0 and daemon.connections_to(redis.port) > 2, "load")
        before = time.monotonic()
        redis.kill()
        kills.append((before, time.monotonic()))
        redis.start()
    wait_until(lambda: redis.connections() > 0, "the workers are back")
    for worker in workers:
        worker.tell("enough")
    results = [worker.result() for worker in workers]
    assert all(good > 0 for good, _ in results)
    unlucky = [failure for _, failures in results for failure in failures]
    print(f"{sum(good for good, _ in results)} went well; {len(unlucky)} met the server's death")
    for asked, error in unlucky:
        # Asked for before some kill was complete, and at most a moment before it began.
        assert any(before - 0.5 < asked < after for before, after in kills), (asked, kills, error)


def test_idle_connections_that_redis_kills_are_noticed_within_a_second(berthd, redis):
    daemon = berthd(pool(redis))
    session = daemon.session()
    session.lease_many("redis", 3).release()
    settle(session)
    assert daemon.connections_to(redis.port) == 3
    assert redis.kill_clients() == 3
    wait_for_connections(0, redis.port, daemon, "the dead connections are closed", seconds=1.5)


def test_a_connection_that_redis_kills_is_not_granted_even_a_moment_later(berthd, redis):
    session = berthd(pool(redis, max_connections=1)).session()
    for _ in range(50):
        with session.lease("redis") as lease:
            assert not lease.reused
            assert ask_redis(lease.sock, "PING") == "PONG"
        settle(session)
        redis.kill_clients()


def test_a_connection_that_monitors_is_not_reused(berthd, redis):
    session = berthd(pool(redis, max_connections=1)).session()
    with session.lease("redis") as lease:
        assert ask_redis(lease.sock, "MONITOR") == "OK"
    settle(session)
    redis.command("SET", "seen", "by the monitor")
    with session.lease("redis") as lease:
        assert not lease.reused
        assert ask_redis(lease.sock, "GET", "seen") == "by the monitor"


def test_an_answer_that_nobody_read_is_not_left_to_the_next(berthd, redis):
    session = berthd(pool(redis, max_connections=1)).session()
    with session.lease("redis") as lease:
        lease.sock.sendall(b"GET nothing\r\nPING\r\n")
        assert lease.sock.recv(5) == b"$-1\r\n"
        lease.sock.recv(1, 2)  # MSG_PEEK: the second answer is there
    with session.lease("redis") as lease:
        assert not lease.reused
        assert ask_redis(lease.sock, "PING") == "PONG"


def test_connections_are_ready_before_anyone_asks(berthd, redis):
    daemon = berthd(pool(redis, min_idle=3))
    wait_for_connections(3, redis.port, daemon, "three connections")
    with daemon.session().lease("redis", timeout=0) as lease:
        assert ask_redis(lease.sock, "PING") == "PONG"
