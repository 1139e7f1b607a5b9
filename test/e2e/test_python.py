"""The Python client against the real daemon."""

import os
import socket
import threading

import pytest

import berth
from berthd import settle
from processes import wait_until
from upstream import ask, read_line


@pytest.fixture
def daemon(berthd, upstream):
    return berthd({"echo": {"endpoints": [upstream.url], "max_connections": 4}})


def test_the_first_example_of_the_manual(daemon):
    with berth.Session(daemon.path) as s:
        with s.lease("echo", timeout=5) as c:
            c.sock.sendall(b"PING\r\n")
            assert read_line(c.sock) == b"1 PING"
            assert (c.fd, c.sock.gettimeout(), c.reused) == (c.sock.fileno(), None, False)
        with s.lease("echo") as c:
            assert c.reused


def test_the_socket_is_found_through_the_environment(daemon, monkeypatch):
    monkeypatch.setenv("BERTH_SOCKET", daemon.path)
    with berth.Session() as session:
        assert session.keys() == ["echo"]


def test_leaving_on_an_exception_discards(daemon):
    session = daemon.session()
    with pytest.raises(ZeroDivisionError):
        with session.lease("echo") as lease:
            assert ask(lease.sock) == 1
            raise ZeroDivisionError
    with session.lease("echo") as lease:
        assert ask(lease.sock) == 2


def test_threads_share_a_session(daemon):
    session = daemon.session()
    numbers = set()

    def work():
        for _ in range(25):
            with session.lease("echo", timeout=20) as lease:
                numbers.add(ask(lease.sock))

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers <= {1, 2, 3, 4}


def test_a_thread_that_waits_does_not_hold_up_one_that_releases(daemon):
    session = daemon.session()
    leases = session.lease_many("echo", 4)
    got = []
    waiter = threading.Thread(target=lambda: got.append(session.lease("echo", timeout=20)))
    waiter.start()
    leases.release()
    waiter.join(20)
    assert got[0].reused
    got[0].release()


def test_a_forked_child_is_told_to_open_its_own(daemon, child):
    def life(parent):
        with berth.Session(daemon.path) as session:
            lease = session.lease("echo")
            pid = os.fork()
            if pid == 0:
                try:
                    session.lease("echo")
                except berth.Forked:
                    session.close()
                    os._exit(7)
                os._exit(1)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return status, ask(lease.sock)  # the child has done no harm

    assert child(life).result() == (7, 1)


def test_a_lease_without_a_session_ends(daemon, upstream):
    session = daemon.session()
    lease = session.lease("echo")
    assert ask(lease.sock) == 1
    session.close()
    assert lease.sock.recv(1) == b""
    wait_until(lambda: not upstream.open, "the connection is closed")
    lease.release()


def test_a_makefile_does_not_keep_the_connection(daemon):
    session = daemon.session()
    with session.lease("echo") as lease:
        file = lease.sock.makefile("rwb")
        file.write(b"hello\n")
        file.flush()
        assert file.readline() == b"1 hello\n"
    settle(session)
    with session.lease("echo") as lease:
        assert lease.reused and ask(lease.sock) == 1


def test_default_timeouts_do_not_reach_a_lease(daemon):
    socket.setdefaulttimeout(3)
    try:
        with daemon.session().lease("echo") as lease:
            assert lease.sock.gettimeout() is None
            assert ask(lease.sock) == 1
    finally:
        socket.setdefaulttimeout(None)


def test_a_program_goes_on_while_berthd_is_away(daemon, upstream):
    """Without login, limits or reuse; what it held when berthd was killed works on."""
    with daemon.session(may_be_absent=True) as session:
        with session.lease("echo", fallback=upstream.url) as lease:
            assert (ask(lease.sock), lease.fallback) == (1, None)
            daemon.kill()
            assert ask(lease.sock) == 1
        for number in 2, 3:
            with session.lease("echo", fallback=upstream.url) as lease:
                assert ask(lease.sock) == number and isinstance(lease.fallback, berth.Unavailable)
    with daemon.session(may_be_absent=True) as session, session.lease("echo", fallback=upstream.url) as lease:
        assert ask(lease.sock) == 4
    daemon.start()
    with daemon.session(may_be_absent=True) as session, session.lease("echo", fallback=upstream.url) as lease:
        assert (ask(lease.sock), lease.fallback) == (5, None)


def test_what_berthd_refuses_is_not_dialled(berthd, upstream):
    daemon = berthd({"echo": {"endpoints": [upstream.url], "allow_users": [12345]}}, user=False)
    with daemon.session(may_be_absent=True) as session, pytest.raises(berth.NotPermitted):
        session.lease("echo", fallback=upstream.url)
    assert upstream.accepted == 0
