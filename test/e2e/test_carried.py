"""Carried leases: the lessee holds one end of a socket pair, and berthd carries the bytes."""

import contextlib
import os
import socket
import threading

import pytest

import berth
from processes import wait_until
from test_listen import RESET, fds_return, read_to_end
from upstream import ask


@pytest.fixture
def carried(berthd, upstream):
    """carried(**settings) starts a daemon with a pool `up` whose leases are carried."""
    def start(**settings):
        return berthd({"up": {"endpoints": [upstream.url], "handoff": "relay", **settings}})
    return start


def test_a_carried_lease_is_one_end_of_a_socket_pair(carried, upstream):
    daemon = carried()
    with daemon.session() as session:
        for reused in (False, True, True):
            with session.lease("up") as lease:
                assert (lease.sock.family, lease.reused) == (socket.AF_UNIX, reused)
                assert os.get_blocking(lease.sock.fileno())
                assert ask(lease.sock) == 1
    assert upstream.accepted == 1
    fds_return(daemon, extra=1)


def test_several_at_once_come_in_one_message(carried, upstream):
    daemon = carried()
    with daemon.session() as session:
        leases = session.lease_many("up", 5)
        assert sorted(ask(lease.sock) for lease in leases) == [1, 2, 3, 4, 5]
        for lease in leases:
            lease.release()
    fds_return(daemon, extra=5)


def test_what_is_unread_at_release_is_never_met_by_the_next(carried, upstream):
    daemon = carried()
    with daemon.session() as session:
        with session.lease("up") as lease:
            lease.sock.sendall(b"answer me\n")
            lease.sock.recv(1)
        with session.lease("up") as lease:
            assert ask(lease.sock) == 2
    wait_until(lambda: "came back dirty" in daemon.log(), "it is logged")


def test_what_was_said_before_the_release_is_sent_on_first(berthd):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        daemon = berthd({"up": {"endpoints": [url], "handoff": "relay", "reset_timeout": "20s"}})
        text = os.urandom(100_000)
        with daemon.session() as session:
            with session.lease("up") as lease:
                lease.sock.sendall(text)
            with listener.accept()[0] as server:
                assert server.recv(len(text), socket.MSG_WAITALL) == text
                with session.lease("up") as lease:
                    lease.sock.sendall(b"next")
                    assert (server.recv(4, socket.MSG_WAITALL), lease.reused) == (b"next", True)


def test_a_kept_duplicate_is_of_no_use_after_the_release(carried, upstream):
    daemon = carried(share="any")
    with daemon.session() as session:
        with session.lease("up") as lease:
            kept = socket.socket(fileno=os.dup(lease.sock.fileno()))
            assert ask(lease.sock) == 1
        with kept, session.lease("up") as lease:
            assert ask(lease.sock) == 1
            assert kept.recv(1) == b""
            with pytest.raises(BrokenPipeError):
                kept.sendall(b"poison")


def test_the_end_of_a_session_ends_what_is_carried_for_it(carried, upstream):
    daemon = carried()
    session = daemon.session()
    lease = session.lease("up")
    kept = socket.socket(fileno=os.dup(lease.sock.fileno()))
    assert ask(kept) == 1
    session.close()
    assert kept.recv(1) == b""
    kept.close()
    wait_until(lambda: upstream.open == [], "its connection is closed")
    fds_return(daemon)


def test_a_session_of_another_network_namespace_gets_a_carried_lease(berthd, upstream, child):
    def work(parent, path):
        with berth.Session(path) as session, session.lease("up") as lease:
            return lease.sock.family == socket.AF_UNIX, ask(lease.sock)

    daemon = berthd({"up": {"endpoints": [upstream.url]}})
    try:
        child(lambda parent: None, no_network=True).result()
    except AssertionError as error:
        pytest.skip(f"no network namespaces here: {str(error).splitlines()[-1]}")
    assert child(work, daemon.path, no_network=True).result() == (True, 1)


def test_a_lease_of_ten_thousand_answers_is_as_if_it_were_direct(carried, upstream):
    daemon = carried(reset=RESET)
    with daemon.session() as session, session.lease("up") as lease:
        for _ in range(10_000):
            assert ask(lease.sock) == 1


def test_a_half_close_by_the_lessee_reaches_the_server(carried, upstream):
    daemon = carried()
    with daemon.session() as session:
        with session.lease("up") as lease:
            lease.sock.sendall(b"bye\n")
            lease.sock.shutdown(socket.SHUT_WR)
            assert read_to_end(lease.sock) == b"1 bye\n"
        with session.lease("up") as lease:
            assert ask(lease.sock) == 2


def test_without_descriptors_a_carried_lease_waits_and_is_granted_when_some_come_free(berthd, upstream):
    daemon = berthd({"up": {"endpoints": [upstream.url], "handoff": "relay", "max_connections": "unlimited"}},
                    fd_limit=84, fd_reserve=64)
    with daemon.session() as session:
        leases = []
        with contextlib.suppress(berth.Error):
            while True:
                leases.append(session.lease("up", timeout=1))
        assert len(leases) > 4
        got = []
        waits = threading.Thread(target=lambda: got.append(session.lease("up", timeout=20)))
        waits.start()
        for lease in leases:
            lease.discard()
        waits.join()
        assert ask(got[0].sock) > 0
        got[0].release()
