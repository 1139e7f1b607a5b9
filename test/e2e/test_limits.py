"""Limits: as much as they allow is held, the rest is refused in words, and nobody else suffers."""

import resource
import subprocess
import time

import pytest

import berth
from berth import _frames as frames
from berthd import BERTHD, Raw, settle
from processes import wait_readable, wait_until
from upstream import ask


def echo(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], "max_connections": "unlimited", **settings}}


@pytest.fixture
def many_files():
    """This process may open as many as the machine allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connect_silently(daemon, count):
    """Sockets of sessions that say nothing: those that are held, and the Goodbyes of the rest."""
    raws = [daemon.raw(hello=False) for _ in range(count)]
    probe = Raw(daemon.path, hello=False)  # in line behind all of them
    assert wait_readable(probe.sock)
    probe.close()
    goodbyes = [raw.expect(frames.Goodbye) for raw in raws if wait_readable(raw.sock, 0)]
    return [raw for raw in raws if not wait_readable(raw.sock, 0)], goodbyes


def test_thousands_of_silent_sessions_are_held_as_far_as_descriptors_allow(berthd, upstream, many_files):
    daemon = berthd(echo(upstream), fd_limit=256)
    session = daemon.session()
    held, goodbyes = connect_silently(daemon, 2000)
    assert len(held) == (256 - 64) // 2 // 2 - 1
    assert len(goodbyes) == 2000 - len(held)
    assert {goodbye.code for goodbye in goodbyes} == {frames.Code.TOO_MANY_SESSIONS}
    assert "sessions already" in goodbyes[0].message
    with session.lease_many("echo", 20) as leases:  # meanwhile
        assert len({ask(lease.sock) for lease in leases}) == 20
    with pytest.raises(berth.TooManySessions):
        daemon.session()
    held[0].close()
    wait_until(lambda: can_open_session(daemon), "a place for a new session")
    assert len(daemon.fds()) < 256


def can_open_session(daemon):
    try:
        berth.Session(daemon.path).close()
        return True
    except berth.TooManySessions:
        return False


def test_the_sessions_of_one_user_are_bounded(berthd, upstream):
    daemon = berthd(echo(upstream), max_sessions_per_user=3)
    sessions = [daemon.session() for _ in range(3)]
    with pytest.raises(berth.TooManySessions, match="3 sessions already.*max_sessions_per_user"):
        daemon.session()
    sessions[0].close()
    wait_until(lambda: can_open_session(daemon), "a place for a new session")


def test_all_sessions_together_are_bounded(berthd, upstream):
    daemon = berthd(echo(upstream), max_sessions=2)
    daemon.raw(), daemon.raw()
    with pytest.raises(berth.TooManySessions, match="2 sessions already"):
        daemon.session()


def test_a_session_that_never_says_hello_is_ended_after_ten_seconds(berthd, upstream):
    daemon = berthd(echo(upstream))
    opened = time.monotonic()
    silent, speaker = daemon.raw(hello=False), daemon.raw()
    goodbye = silent.expect(frames.Goodbye)
    assert goodbye.code == frames.Code.INVALID
    assert "Hello" in goodbye.message and "10 s" in goodbye.message
    assert 9.5 < time.monotonic() - opened < 15
    assert silent.receive() is None
    speaker.sync()


def test_idle_connections_make_room_for_another_pools(berthd, upstream, other_upstream):
    pools = {**echo(upstream), "other": {"endpoints": [other_upstream.url], "max_connections": "unlimited"}}
    daemon = berthd(pools, fd_limit=128)  # 64 descriptors for connections and sessions
    session = daemon.session()
    session.lease_many("echo", 50).release()
    settle(session)
    wait_until(lambda: len(upstream.open) == 50, "fifty connections")
    with session.lease_many("other", 40) as leases:
        assert len({ask(lease.sock) for lease in leases}) == 40
        wait_until(lambda: len(upstream.open) <= 24, "idle connections were closed")
        assert upstream.open[-1] == 50  # those idle longest went first
    with session.lease("echo", timeout=1) as lease:
        assert lease.reused


def test_one_user_holds_so_many_leases_in_all_sessions(berthd, upstream):
    daemon = berthd(echo(upstream), max_leases_per_user=3)
    first, second = daemon.session(), daemon.session()
    with first.lease_many("echo", 2), second.lease("echo"):
        with pytest.raises(berth.QueueFull, match="max_leases_per_user is 3"):
            second.lease("echo")
    second.lease("echo").release()


def test_what_is_used_once_is_fresh_for_everyone(berthd, upstream):
    daemon = berthd({"echo": {"endpoints": [upstream.url], "warm": "single-use", "min_idle": 2}})
    session = daemon.session()
    for _ in range(5):
        with session.lease("echo") as lease:
            assert not lease.reused
            ask(lease.sock)
    wait_until(lambda: len(upstream.open) == 2, "two are warm again")


def test_idle_connections_make_room_for_sessions(berthd, upstream):
    daemon = berthd(echo(upstream), fd_limit=128)
    session = daemon.session()
    session.lease_many("echo", 60).release()
    settle(session)
    for _ in range(10):
        daemon.raw().sync()
    wait_until(lambda: len(upstream.open) < 50, "idle connections were closed")


def test_a_daemon_out_of_descriptors_says_so_and_recovers(berthd, upstream):
    daemon = berthd(echo(upstream), fd_limit=128)
    session = daemon.session()
    leases = []
    with pytest.raises(berth.TimedOut, match="no file descriptor left") as refused:
        for _ in range(128):
            leases.append(session.lease("echo", timeout=0.2))
    assert refused.value.why.cause == berth.Cause.NO_SLOTS
    assert 50 <= len(leases) <= 64
    assert len(daemon.fds()) <= 128
    assert [ask(lease.sock) for lease in leases] == list(range(1, len(leases) + 1))
    leases.pop().release()
    with session.lease("echo", timeout=5) as lease:
        ask(lease.sock)
    for lease in leases:
        lease.release()


def test_who_connects_while_no_descriptor_is_left_waits_and_is_then_served(berthd, upstream):
    daemon = berthd(echo(upstream), fd_limit=128)
    session = daemon.session()
    leases = []
    with pytest.raises(berth.TimedOut):
        while True:
            leases.append(session.lease("echo", timeout=0.2))
    late = daemon.raw(hello=False)
    late.send(frames.Hello(frames.VERSION, "late"))
    settle(session)
    assert not wait_readable(late.sock, 0.3)
    before = daemon.wake_ups()
    settle(session)
    assert daemon.wake_ups() < before + 20  # it does not spin on its listener
    for lease in leases:
        lease.release()
    late.expect(frames.Welcome)


def lease_until_full(parent, path):
    session = berth.Session(path)
    leases = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
    try:
        while True:
            leases.append(session.lease("echo"))
    except berth.TooManyFiles as error:
        words = str(error)
    held = [ask(lease.sock) for lease in leases]
    for lease in leases[:4]:
        lease.release()
    with session.lease("echo") as lease:
        again = ask(lease.sock)
    try:
        session.lease_many("echo", 20)
        batch = "granted"
    except berth.TooManyFiles:
        batch = "too many files"
    parent.say((words, held, again, batch, session.closed))
    parent.hear()


def test_a_client_out_of_descriptors_is_told_and_its_session_lives(berthd, upstream, child):
    daemon = berthd(echo(upstream, max_connections=40))
    client = child(lease_until_full, daemon.path)
    words, held, again, batch, closed = client.hear()
    assert "may not open another file" in words
    assert len(set(held)) == len(held) > 10
    assert again in upstream.open
    assert batch == "too many files"
    assert not closed
    client.kill()
    with daemon.session().lease_many("echo", 40, timeout=5) as leases:  # nothing was lost
        assert len(leases) == 40


def test_a_pool_of_limited_waiters_refuses_further_ones(berthd, upstream):
    daemon = berthd(echo(upstream, max_connections=1, max_waiters=2))
    session = daemon.session()
    lease = session.lease("echo")
    waiters = [daemon.raw(), daemon.raw()]
    for raw in waiters:
        raw.request("echo")
        raw.sync()
    with pytest.raises(berth.QueueFull, match="2 requests wait already") as refused:
        daemon.session().lease("echo")
    assert refused.value.why.cause == berth.Cause.QUEUE_FULL
    lease.release()
    waiters[0].expect(frames.Grant)


def test_one_session_may_wait_only_so_often(berthd, upstream):
    daemon = berthd(echo(upstream, max_connections=1))
    lease = daemon.session().lease("echo")
    raw = daemon.raw()
    most = raw.welcome.limits.max_waiters
    for _ in range(most + 1):
        raw.request("echo")
    refusal = raw.expect(frames.Refusal)
    assert refusal.code == frames.Code.QUEUE_FULL
    assert refusal.message
    assert refusal.request_id == most + 1
    assert ask(lease.sock) == 1


def test_max_idle_closes_what_was_idle_longest(berthd, upstream):
    session = berthd(echo(upstream, max_idle=2)).session()
    leases = session.lease_many("echo", 5)
    numbers = [ask(lease.sock) for lease in leases]
    leases.release()
    wait_until(lambda: upstream.open == sorted(numbers[-2:]), "the last two are kept")


def test_total_max_idle_holds_over_all_pools(berthd, upstream, other_upstream):
    pools = {**echo(upstream), "other": {"endpoints": [other_upstream.url]}}
    session = berthd(pools, total_max_idle=3).session()
    first, second = session.lease_many("echo", 3), session.lease_many("other", 2)
    numbers = [ask(lease.sock) for lease in first]
    first.release()
    second.release()
    wait_until(lambda: upstream.open == numbers[-1:], "the pool that came first gave two away")
    assert len(other_upstream.open) == 2


def test_a_connection_is_closed_after_its_last_use(berthd, upstream):
    session = berthd(echo(upstream, max_connections=1, max_uses=3)).session()
    seen = []
    for _ in range(9):
        with session.lease("echo") as lease:
            seen.append(ask(lease.sock))
    assert seen == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_idle_and_old_connections_are_closed(berthd, upstream, other_upstream):
    pools = {**echo(upstream, idle_timeout="300ms"),
             "old": {"endpoints": [other_upstream.url], "max_lifetime": "300ms"}}
    session = berthd(pools).session()
    session.lease_many("echo", 2).release()
    old = session.lease("old")
    wait_until(lambda: not upstream.open, "the idle ones are closed")
    assert ask(old.sock) == 1  # an old one in use is left alone
    old.release()
    wait_until(lambda: not other_upstream.open, "it is closed as it comes back")


def test_a_daemon_whose_limit_leaves_nothing_refuses_to_start(folder):
    command = ["prlimit", "--nofile=64", BERTHD, "--user", "--runtime-dir", folder, "--config", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    assert done.returncode != 0
    assert "fd limit" in done.stderr
