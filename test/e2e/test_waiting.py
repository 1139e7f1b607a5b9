"""Requests that fail: each says what happened, where, and who is in the way."""

import os
import pathlib
import re
import socket
import time

import pytest

import berth
from berth import _frames as frames
from processes import free_port, wait_until
from upstream import Deaf, Upstream, ask


def pool(url, **settings):
    return {"echo": {"endpoints": [url], **settings}}


@pytest.fixture
def deaf():
    server = Deaf()
    yield server
    server.close()


def test_a_refused_connection_is_told_with_its_address(berthd):
    port = free_port()
    session = berthd(pool(f"tcp://127.0.0.1:{port}")).session()
    with pytest.raises(berth.UpstreamDown, match=f"127.0.0.1:{port}.*Connection refused"):
        session.lease("echo")


def test_a_unix_socket_that_does_not_exist_is_named(berthd, folder):
    session = berthd(pool(f"unix://{folder}/nobody.sock")).session()
    with pytest.raises(berth.UpstreamDown, match=f"{folder}/nobody.sock.*No such file"):
        session.lease("echo")


def test_a_host_name_that_does_not_exist_is_named(berthd):
    session = berthd(pool("tcp://no-such-host.invalid:80", dial_timeout="10s", acquire_timeout="15s")).session()
    with pytest.raises(berth.UpstreamDown, match="no-such-host.invalid"):
        session.lease("echo")


def test_a_host_name_is_resolved(berthd, upstream):
    session = berthd(pool(f"tcp://localhost:{upstream.port}")).session()
    with session.lease("echo") as lease:
        assert ask(lease.sock) == 1


def test_a_dial_that_hangs_ends_after_dial_timeout(berthd, deaf):
    session = berthd(pool(deaf.url, dial_timeout="300ms")).session()
    began = time.monotonic()
    with pytest.raises(berth.UpstreamDown, match=f"127.0.0.1:{deaf.port}.*300 ms"):
        session.lease("echo")
    assert 0.25 < time.monotonic() - began < 2


def test_a_request_that_ends_while_the_dial_hangs_says_so(berthd, deaf):
    session = berthd(pool(deaf.url, acquire_timeout="300ms")).session()
    with pytest.raises(berth.TimedOut, match="timed out after [\\d.]+ m?s: the server does not answer") as refused:
        session.lease("echo")
    assert refused.value.why.cause == berth.Cause.UPSTREAM_DOWN


def test_a_dead_server_disturbs_no_other_pool(berthd, deaf, upstream):
    daemon = berthd({"deaf": {"endpoints": [deaf.url]}, "echo": {"endpoints": [upstream.url]}})
    raw = daemon.raw()
    raw.request("deaf")
    raw.sync()
    with daemon.session().lease("echo", timeout=2) as lease:
        assert ask(lease.sock) == 1


def test_after_a_failed_dial_requests_fail_at_once_until_the_next_try(berthd):
    port = free_port()
    session = berthd(pool(f"tcp://127.0.0.1:{port}")).session()
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(berth.UpstreamDown, match="dial failure"):
            session.lease("echo", timeout=20)
    assert time.monotonic() - began < 15


def test_with_fail_fast_off_requests_wait_for_the_server_to_come(berthd, folder):
    path = f"{folder}/late.sock"
    raw = berthd(pool(f"unix://{path}", fail_fast=False)).raw()
    raw.request("echo", timeout_ms=20_000)
    raw.sync()
    late = Upstream(path)
    try:
        raw.expect(frames.Grant)
        assert ask(socket.socket(fileno=raw.fds.pop())) == 1
    finally:
        late.close()


def test_a_timeout_names_the_oldest_holder(berthd, upstream, child):
    daemon = berthd(pool(upstream.url, max_connections=2))
    oldest = child(hold, daemon.path)
    oldest.hear()
    second = daemon.session().lease("echo")
    command = pathlib.Path("/proc/self/comm").read_text().strip()
    with pytest.raises(berth.TimedOut) as refused:
        daemon.session().lease("echo", timeout=0.3)
    words = str(refused.value)
    assert re.match("timed out after [\\d.]+ m?s: every connection is leased: 2/2 leased; oldest pid ", words)
    assert f"oldest pid {oldest.pid} {command} (" in words
    assert words.endswith("; 0 dial failures")
    why = refused.value.why
    assert (why.cause, why.leased, why.max_connections, why.waiting) == (berth.Cause.EXHAUSTED, 2, 2, 1)
    assert [holder.pid for holder in why.holders] == [oldest.pid, os.getpid()]
    assert why.holders[0].held_ms >= 300
    assert why.holders[0].uid == os.getuid()
    second.release()


def hold(parent, path):
    with berth.Session(path) as session, session.lease("echo") as lease:
        parent.say(ask(lease.sock))
        parent.hear()


def test_a_timeout_of_zero_is_answered_at_once(berthd, upstream):
    session = berthd(pool(upstream.url, max_connections=1)).session()
    began = time.monotonic()
    with pytest.raises(berth.TimedOut):
        session.lease("echo", timeout=0)  # it would need a dial
    with session.lease("echo") as lease:
        ask(lease.sock)
    with session.lease("echo", timeout=0) as lease:
        assert ask(lease.sock) == 1
        with pytest.raises(berth.TimedOut):
            session.lease("echo", timeout=0)
    assert time.monotonic() - began < 5


def test_a_waiter_gets_what_comes_back_not_a_new_connection(berthd, upstream):
    daemon = berthd(pool(upstream.url, max_connections=1))
    lease = daemon.session().lease("echo")
    raw = daemon.raw()
    raw.request("echo")
    raw.sync()
    lease.release()
    assert raw.expect(frames.Grant).leases[0].reused
    wait_until(lambda: upstream.accepted == 1, "the connection is accepted")


def test_a_dial_whose_waiter_left_serves_the_next(berthd, upstream):
    daemon = berthd(pool(upstream.url))
    raw = daemon.raw()
    with daemon.stopped():
        request = raw.request("echo")
        raw.send(frames.Cancel(request))
    raw.receive()
    with daemon.session().lease("echo") as lease:
        assert ask(lease.sock) == 1
    assert upstream.accepted == 1


def test_lifo_uses_the_last_and_fifo_all_in_turn(berthd, upstream, other_upstream):
    session = berthd({"lifo": {"endpoints": [upstream.url]},
                      "fifo": {"endpoints": [other_upstream.url], "idle_order": "fifo"}}).session()
    for key in "lifo", "fifo":
        session.lease_many(key, 3).release()
    assert len({one_use(session, "lifo") for _ in range(6)}) == 1
    assert len({one_use(session, "fifo") for _ in range(3)}) == 3


def one_use(session, key):
    with session.lease(key) as lease:
        return ask(lease.sock)


def test_a_server_that_comes_back_is_used_again(berthd, folder):
    path = f"{folder}/server.sock"
    first = Upstream(path)
    session = berthd(pool(f"unix://{path}")).session()
    with session.lease("echo") as lease:
        ask(lease.sock)
    first.close()
    os.unlink(path)
    with pytest.raises(berth.UpstreamDown):
        session.lease("echo")
    second = Upstream(path)
    try:
        wait_until(lambda: leases_well(session), "the next try")
    finally:
        second.close()


def leases_well(session):
    try:
        with session.lease("echo") as lease:
            return ask(lease.sock)
    except berth.UpstreamDown:
        return False
