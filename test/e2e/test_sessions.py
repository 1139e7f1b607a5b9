"""Clients come and go as they like; what they held comes back, and nobody else notices."""

import os
import signal
import socket

import pytest

import berth
from berth import _frames as frames
from berthd import Raw, settle
from processes import wait_readable, wait_until
from upstream import ask

AT_ONCE_S = 2  # what takes milliseconds, on a machine that is busy


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **settings}}


def lease_and_wait(parent, path, count):
    session = berth.Session(path)
    leases = session.lease_many("echo", count)
    parent.say([ask(lease.sock) for lease in leases])
    parent.hear()


def wait_in_line(parent, path):
    with Raw(path) as raw:
        raw.request("echo", timeout_ms=20_000)
        raw.sync()
        parent.say("waits")
        raw.expect(frames.Grant)
        parent.hear()


def test_a_holder_killed_with_9_gives_everything_back_at_once(berthd, upstream, child):
    daemon = berthd(pool(upstream, max_connections=3))
    session = daemon.session()
    holder = child(lease_and_wait, daemon.path, 3)
    held = holder.hear()
    holder.kill()
    with session.lease_many("echo", 3, timeout=AT_ONCE_S) as leases:
        assert not set(held) & {ask(lease.sock) for lease in leases}
    wait_until(lambda: not set(held) & set(upstream.open), "the server sees their end")


def test_a_waiter_killed_in_mid_wait_leaves_its_place_to_the_next(berthd, upstream, child):
    daemon = berthd(pool(upstream, max_connections=1))
    session = daemon.session()
    lease = session.lease("echo")
    number = ask(lease.sock)
    first = child(wait_in_line, daemon.path)
    assert first.hear() == "waits"
    second = daemon.raw()
    second.request("echo", timeout_ms=20_000)
    second.sync()
    first.kill()
    lease.release()
    second.expect(frames.Grant)
    assert ask(socket.socket(fileno=second.fds.pop())) == number


def leave_everything_to_a_child(parent, path):
    session = berth.Session(path)
    lease = session.lease("echo")
    number = ask(lease.sock)
    survivor = os.fork()
    if survivor != 0:
        parent.say((survivor, number))
        parent.hear()
    signal.pause()
    return session, lease


def test_a_forked_child_that_outlives_the_holder_keeps_nothing(berthd, upstream, child):
    """It has the session's socket and the connection's, but not the lease."""
    daemon = berthd(pool(upstream, max_connections=1))
    opener = child(leave_everything_to_a_child, daemon.path)
    survivor, number = opener.hear()
    try:
        opener.kill()
        os.kill(survivor, 0)
        with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
            assert not lease.reused
            assert ask(lease.sock) != number
        wait_until(lambda: number not in upstream.open, "the server sees the end of the first one")
    finally:
        os.kill(survivor, signal.SIGKILL)


def ask_and_die(parent, path, releases):
    raw = Raw(path)
    raw.request("echo", count=2)
    if releases:
        for lease in raw.expect(frames.Grant).leases:
            raw.send(frames.Release(lease.lease_id, frames.Outcome.REUSE))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("releases", [False, True])
def test_clients_that_die_at_any_point_cost_the_pool_nothing(berthd, upstream, child, releases):
    daemon = berthd(pool(upstream, max_connections=4))
    for dying in [child(ask_and_die, daemon.path, releases) for _ in range(40)]:
        dying.wait()
    with daemon.session().lease_many("echo", 4, timeout=AT_ONCE_S) as leases:
        assert len({ask(lease.sock) for lease in leases}) == 4


def release_and_exit(parent, path):
    session = berth.Session(path)
    lease = session.lease("echo")
    parent.say(ask(lease.sock))
    parent.hear()
    lease.release()
    os._exit(0)


def open_and_exit(parent, path):
    session = berth.Session(path)
    parent.say("open")
    parent.hear()
    os._exit(len(repr(session)) * 0)


def test_what_was_released_before_the_exit_is_reused(berthd, upstream, child):
    """berthd finds all at the same moment: another's exit, the release, and the releaser's exit."""
    daemon = berthd(pool(upstream, max_connections=1))
    for _ in range(10):
        other, worker = child(open_and_exit, daemon.path), child(release_and_exit, daemon.path)
        assert other.hear() == "open"
        assert worker.hear() == 1
        with daemon.stopped():
            for each in other, worker:
                each.tell()
                each.wait()


def test_sessions_leave_no_descriptors_behind(berthd, upstream, child):
    daemon = berthd(pool(upstream, max_idle="none"))
    for _ in range(20):
        with berth.Session(daemon.path) as session:
            session.lease_many("echo", 5).release()
        child(ask_and_die, daemon.path, False).wait()
    wait_until(lambda: len(daemon.fds()) == daemon.fds_at_start, "all descriptors are closed")
    wait_until(lambda: not upstream.open, "all connections are closed")


def test_a_client_that_does_not_read_is_dropped_and_the_others_go_on(berthd, upstream):
    daemon = berthd(pool(upstream))
    deaf, session = daemon.raw(), daemon.session()
    deaf.sock.settimeout(0.2)
    answered = 0
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while answered < 1_000_000:
            try:
                deaf.request("echo.with.no.such.name")
            except TimeoutError:  # berthd reads no more of it
                continue
            answered += 1
            if answered % 500 == 0:
                with session.lease("echo", timeout=AT_ONCE_S) as lease:
                    assert ask(lease.sock) == 1
    with session.lease("echo", timeout=AT_ONCE_S) as lease:
        assert ask(lease.sock) == 1


def test_a_client_that_does_not_read_its_grants_gets_no_more_than_a_session_may(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections="unlimited"), fd_limit=4096)
    deaf = daemon.raw()
    for _ in range(200):
        deaf.request("echo")
    # All of them are dialled before it ends; a dial still under way would go idle instead.
    wait_until(lambda: len(upstream.open) == 200, "all its requests are served")
    session = daemon.session()
    with session.lease("echo", timeout=AT_ONCE_S) as lease:
        ask(lease.sock)
    deaf.close()
    wait_until(lambda: len(upstream.open) == 1, "what it was granted is closed")


def test_a_cancelled_request_is_answered_and_leaves_the_line(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=1))
    session, first, second = daemon.session(), daemon.raw(), daemon.raw()
    lease = session.lease("echo")
    withdrawn = first.request("echo")
    first.sync()
    second.request("echo")
    second.sync()
    first.send(frames.Cancel(withdrawn))
    refusal = first.expect(frames.Refusal)
    assert (refusal.request_id, refusal.code) == (withdrawn, frames.Code.CANCELLED)
    lease.release()
    second.expect(frames.Grant)


def test_cancelling_what_was_answered_or_never_asked_does_nothing(berthd, upstream):
    raw = berthd(pool(upstream)).raw()
    lease_id, sock = raw.lease("echo")
    raw.send(frames.Cancel(1))
    raw.send(frames.Cancel(12345))
    raw.sync()
    assert ask(sock) == 1
    assert raw.release(lease_id).code == frames.Code.OK


def test_a_batch_is_granted_whole_or_not_at_all(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=3))
    session, other = daemon.session(), daemon.session()
    with session.lease_many("echo", 3) as leases:
        assert sorted(ask(lease.sock) for lease in leases) == [1, 2, 3]
    one = other.lease("echo")
    with pytest.raises(berth.TimedOut):
        session.lease_many("echo", 3, timeout=0.1)
    with session.lease_many("echo", 2, timeout=AT_ONCE_S) as leases:  # the failed batch kept none
        assert len(leases) == 2
    one.release()


def test_a_batch_waits_until_enough_came_back(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=4))
    session, raw = daemon.session(), daemon.raw()
    leases = session.lease_many("echo", 4)
    raw.request("echo", count=4)
    raw.sync()
    for lease in leases[:3]:
        lease.release()
    settle(session)
    assert not wait_readable(raw.sock, 0)
    leases[3].release()
    assert len(raw.expect(frames.Grant).leases) == 4
    assert len(raw.fds) == 4


def test_a_batch_beyond_the_pools_limit_is_refused_at_once(berthd, upstream):
    session = berthd(pool(upstream, max_connections=3)).session()
    with pytest.raises(berth.InvalidRequest, match="3"):
        session.lease_many("echo", 4)


def test_a_batch_beyond_the_protocols_limit_is_refused(berthd, upstream):
    raw = berthd(pool(upstream, max_connections="unlimited")).raw()
    raw.request("echo", count=65)
    refusal = raw.expect(frames.Refusal)
    assert refusal.code == frames.Code.INVALID
    assert "at most 64" in refusal.message
    raw.request("echo", count=64)
    assert len(raw.expect(frames.Grant).leases) == 64


def test_another_sessions_lease_cannot_be_released(berthd, upstream):
    daemon = berthd(pool(upstream, max_connections=1))
    holder, thief = daemon.raw(), daemon.raw()
    lease_id, sock = holder.lease("echo")
    for outcome in frames.Outcome:
        answer = thief.release(lease_id, outcome)
        assert answer.code == frames.Code.NO_SUCH_LEASE
        assert str(lease_id) in answer.message
    assert ask(sock) == 1
    assert holder.release(lease_id).code == frames.Code.OK


def test_a_lease_is_released_once(berthd, upstream):
    raw = berthd(pool(upstream)).raw()
    lease_id, _ = raw.lease("echo")
    assert raw.release(lease_id).code == frames.Code.OK
    assert raw.release(lease_id).code == frames.Code.NO_SUCH_LEASE
    assert raw.release(0).code == frames.Code.NO_SUCH_LEASE
    assert raw.release(2**64 - 1).code == frames.Code.NO_SUCH_LEASE


def test_a_discarded_connection_is_never_seen_again(berthd, upstream):
    session = berthd(pool(upstream, max_connections=1)).session()
    for number in range(1, 6):
        lease = session.lease("echo", timeout=AT_ONCE_S)
        assert ask(lease.sock) == number
        lease.discard()


def test_a_kept_duplicate_of_a_discarded_connection_is_dead(berthd, upstream):
    session = berthd(pool(upstream)).session()
    lease = session.lease("echo")
    kept = lease.sock.dup()
    lease.discard()
    assert wait_readable(kept)
    assert kept.recv(1) == b""


def test_an_unknown_key_names_the_nearest(berthd, upstream):
    session = berthd({"mysql.reports": {"endpoints": [upstream.url]}}, user=True).session()
    with pytest.raises(berth.NoSuchKey, match='did you mean "mysql.reports"'):
        session.lease("mysql-report")


def test_a_url_serves_as_a_key_of_ones_own_daemon(berthd, upstream):
    daemon = berthd()
    for session in daemon.session(), daemon.session():
        with session.lease(upstream.url) as lease:
            assert ask(lease.sock) == 1
    with pytest.raises(berth.InvalidRequest):
        daemon.session().lease("tcp://127.0.0.1:http")
    with pytest.raises(berth.InvalidRequest):
        daemon.session().lease("gopher://127.0.0.1:70")


def test_one_url_written_differently_is_one_key(berthd, upstream):
    session = berthd().session()
    for url in upstream.url, upstream.url.replace("tcp", "TCP"), upstream.url:
        with session.lease(url) as lease:
            assert ask(lease.sock) == 1
        settle(session)


def test_requests_are_served_in_the_order_of_their_arrival(berthd, upstream, child):
    daemon = berthd(pool(upstream, max_connections=1))
    session = daemon.session()
    lease = session.lease("echo")
    waiters = []
    for _ in range(6):
        waiters.append(child(take_turn, daemon.path))
        assert waiters[-1].hear() == "waits"
    lease.release()
    turns = [waiter.result() for waiter in waiters]
    assert turns == sorted(turns)


def take_turn(parent, path):
    with Raw(path) as raw:
        raw.request("echo", timeout_ms=20_000)
        raw.sync()
        parent.say("waits")
        grant = raw.expect(frames.Grant)
        turn = len_of_history(socket.socket(fileno=raw.fds.pop()))
        raw.release(grant.leases[0].lease_id)
        return turn


def len_of_history(sock):
    """A number that grows with each use of the connection: the bytes that went over it."""
    ask(sock)
    tcp_info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int.from_bytes(tcp_info[128:136], "little")  # tcpi_bytes_received
