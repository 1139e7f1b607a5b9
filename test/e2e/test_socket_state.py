"""Whatever a holder did to its socket, the next holder gets a clean one or a fresh one.

A socket's flags and options belong to its open file description: holder, daemon and next holder
share them.
"""

import fcntl
import os
import re
import signal
import socket
import struct
import time

import pytest

import berth
from berthd import settle
from processes import disconnect, wait_readable, wait_until
from upstream import Mute, Upstream, ask, read_line

AT_ONCE_S = 2
SO_PEEK_OFF = 42
SO_BUF_LOCK = 72
ONE_CONNECTION = {"max_connections": 1}


def pool(upstream, **settings):
    return {"echo": {"endpoints": [upstream.url], **ONE_CONNECTION, **settings}}


@pytest.fixture(params=["tcp", "unix"])
def either(request, folder):
    """A server at each kind of endpoint."""
    server = Upstream(f"{folder}/upstream.sock" if request.param == "unix" else None)
    yield server
    server.close()


def spoil(session, deed):
    """Leases, does the deed and gives back for reuse; what the deed returned is kept alive."""
    with session.lease("echo") as lease:
        assert ask(lease.sock) == 1
        kept = deed(lease.sock)
    settle(session)
    return kept


def set_nonblocking(sock):
    fcntl.fcntl(sock, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


def set_low_water(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)


def set_peek_offset(sock):
    sock.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 4)


def set_timeouts(sock):
    soon = struct.pack("@ll", 0, 1000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, soon)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, soon)


def set_linger(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))


def set_small_buffers(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


def set_cork(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)


def set_no_delay_off(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)


def set_user_timeout(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1)


def own_signals(sock):
    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())


HARMLESS = [set_nonblocking, set_low_water, set_peek_offset, set_timeouts, set_linger, set_small_buffers, own_signals]
HARMLESS_TCP = [set_cork, set_no_delay_off, set_user_timeout]


def state_of(sock):
    """All that a later holder could trip over."""
    names = [socket.SO_RCVLOWAT, SO_PEEK_OFF, socket.SO_OOBINLINE, socket.SO_KEEPALIVE, SO_BUF_LOCK]
    state = [sock.getsockopt(socket.SOL_SOCKET, name) for name in names]
    state += [sock.getsockopt(socket.SOL_SOCKET, name, 16) for name in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)]
    if sock.family != socket.AF_UNIX:
        names = [socket.TCP_NODELAY, socket.TCP_CORK, socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE]
        state += [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
    return state, fcntl.fcntl(sock, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_ASYNC)


def next_holder_finds_it_new(daemon, deed):
    session = daemon.session()
    with session.lease("echo") as lease:
        as_new = state_of(lease.sock)
    settle(session)
    spoil(session, deed)
    with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
        assert lease.reused
        assert state_of(lease.sock) == as_new
        assert lease.sock.gettimeout() is None
        assert ask(lease.sock) == 1


@pytest.mark.parametrize("deed", HARMLESS, ids=lambda deed: deed.__name__)
def test_what_a_holder_set_is_not_what_the_next_one_gets(berthd, either, deed):
    next_holder_finds_it_new(berthd(pool(either)), deed)


@pytest.mark.parametrize("deed", HARMLESS_TCP, ids=lambda deed: deed.__name__)
def test_what_a_holder_set_on_tcp_is_not_what_the_next_one_gets(berthd, upstream, deed):
    next_holder_finds_it_new(berthd(pool(upstream)), deed)


def test_even_the_same_session_gets_a_blocking_socket(berthd, either):
    session = berthd(pool(either)).session()
    spoil(session, set_nonblocking)
    with session.lease("echo") as lease:
        assert fcntl.fcntl(lease.sock, fcntl.F_GETFL) & os.O_NONBLOCK == 0
        assert ask(lease.sock) == 1


def stop_writing(sock):
    sock.shutdown(socket.SHUT_WR)


def stop_reading(sock):
    sock.shutdown(socket.SHUT_RD)


def leave_an_answer(sock):
    sock.sendall(b"unread\n")
    assert wait_readable(sock)


def leave_an_answer_behind_a_peek_offset(sock):
    set_peek_offset(sock)
    sock.sendall(b"x\n")
    assert wait_readable(sock)
    sock.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 1000)


def leave_an_answer_below_low_water(sock):
    leave_an_answer(sock)
    set_low_water(sock)


RUINOUS = [stop_writing, stop_reading, leave_an_answer, leave_an_answer_behind_a_peek_offset,
           leave_an_answer_below_low_water]


@pytest.mark.parametrize("deed", RUINOUS, ids=lambda deed: deed.__name__)
def test_a_connection_that_cannot_be_mended_is_replaced(berthd, either, deed):
    daemon = berthd(pool(either))
    spoil(daemon.session(), deed)
    with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
        assert not lease.reused
        assert ask(lease.sock) == 2
    wait_until(lambda: either.open == [2], "the first is closed")


def test_a_socket_that_was_disconnected_is_replaced(berthd, upstream):
    daemon = berthd(pool(upstream))
    spoil(daemon.session(), disconnect)
    with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
        assert ask(lease.sock) == 2


def test_a_socket_that_was_connected_elsewhere_is_replaced(berthd, upstream, other_upstream):
    def reconnect(sock):
        disconnect(sock)
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", other_upstream.port))

    daemon = berthd(pool(upstream))
    spoil(daemon.session(), reconnect)
    with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
        assert lease.sock.getpeername() == ("127.0.0.1", upstream.port)
        assert ask(lease.sock) == 2
    assert other_upstream.accepted == 0


def test_a_socket_that_listens_is_replaced(berthd, upstream):
    def listen(sock):
        disconnect(sock)
        sock.listen()

    daemon = berthd(pool(upstream))
    spoil(daemon.session(), listen)
    with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
        assert ask(lease.sock) == 2


def test_bytes_that_the_next_holder_would_get_arrive_while_it_is_idle(berthd, either):
    daemon = berthd(pool(either))
    spoil(daemon.session(), lambda sock: None)
    either.send(1, b"surprise")
    with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
        assert ask(lease.sock) == 2


def test_a_corked_rest_reaches_the_server_before_the_next_holder(berthd, upstream):
    def leave_corked(sock):
        set_cork(sock)
        sock.sendall(b"half a ")

    daemon = berthd(pool(upstream))
    spoil(daemon.session(), leave_corked)
    with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
        if lease.reused:  # then the half line has gone before the next one
            lease.sock.sendall(b"line\n")
            assert read_line(lease.sock) == b"1 half a line"
        else:
            assert ask(lease.sock) == 2


def test_a_lingering_close_holds_nobody_up(berthd, upstream):
    """The server never reads: with SO_LINGER a close would wait for half a minute."""
    mute = Mute()
    daemon = berthd({**pool(upstream), "mute": {"endpoints": [mute.url]}})
    session, other = daemon.session(), daemon.session()
    lease = session.lease("mute")
    set_linger(lease.sock)
    fill(lease.sock)
    began = time.monotonic()
    session.close()  # our own close must not wait either: the daemon has the last copy
    with other.lease("echo", timeout=AT_ONCE_S) as good:
        assert ask(good.sock) == 1
    assert time.monotonic() - began < 5
    lease.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    mute.close()


def fill(sock):
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(1 << 20))
    except BlockingIOError:
        pass


def test_what_a_holder_left_unsent_is_given_reset_timeout_to_leave(berthd, upstream):
    mute = Mute()
    daemon = berthd({"mute": {"endpoints": [mute.url], "max_connections": 1, "reset_timeout": "300ms"}})
    session = daemon.session()
    with session.lease("mute") as lease:
        fill(lease.sock)
    with session.lease("mute", timeout=5) as lease:
        assert not lease.reused
    mute.close()


def test_a_server_that_closes_during_a_lease_is_replaced(berthd, either):
    daemon = berthd(pool(either))
    session = daemon.session()
    with session.lease("echo") as lease:
        assert ask(lease.sock) == 1
        either.hang_up(1)
        assert lease.sock.recv(1) == b""
    with session.lease("echo", timeout=AT_ONCE_S) as lease:
        assert ask(lease.sock) == 2


def test_a_greeting_waits_for_as_long_as_nobody_leases(berthd, folder):
    """It is the first holder's: not read, not peeked away, and no reason to close."""
    polite = Upstream(greeting=b"welcome\n")
    try:
        daemon = berthd({"polite": {"endpoints": [polite.url], "min_idle": 2}})
        wait_until(lambda: polite.accepted == 2, "two connections")
        assert stays(lambda: polite.accepted == 2, 2)
        with daemon.session().lease("polite") as lease:
            assert read_line(lease.sock) == b"welcome"
    finally:
        polite.close()


def stays(condition, seconds):
    end = time.monotonic() + seconds
    while condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_server_that_hangs_up_on_an_idle_connection_is_noticed(berthd, either):
    daemon = berthd(pool(either))
    spoil(daemon.session(), lambda sock: None)
    either.hang_up(1)
    wait_until(lambda: either.open == [], "the daemon closes too", seconds=1.5)


def test_nobody_is_sent_a_signal_for_a_socket_that_it_gave_back(berthd, upstream):
    caught = []
    before = signal.signal(signal.SIGIO, lambda *_: caught.append("SIGIO"))
    try:
        daemon = berthd(pool(upstream))

        def ask_for_signals(sock):
            own_signals(sock)
            set_nonblocking(sock)

        spoil(daemon.session(), ask_for_signals)
        with daemon.session().lease("echo", timeout=AT_ONCE_S) as lease:
            caught.clear()
            assert ask(lease.sock) == 1
        assert not caught
    finally:
        signal.signal(signal.SIGIO, before)


def test_a_pools_connections_are_dialled_as_it_says(berthd, upstream):
    """The programs see it on the socket, and the server in where they come from."""
    daemon = berthd({"echo": {"endpoints": [upstream.url], "keepalive": "40s/7s/9", "tcp_user_timeout": "4321ms",
                              "source_address": "127.0.0.9", "interface": "lo"},
                     "quiet": {"endpoints": [upstream.url], "keepalive": "off"}})
    with daemon.session() as session:
        with session.lease("echo") as lease:
            tcp = [lease.sock.getsockopt(socket.IPPROTO_TCP, name)
                   for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)]
            assert tcp == [40, 7, 9, 4321]
            assert lease.sock.getsockname()[0] == "127.0.0.9"
            ask(lease.sock)
        with session.lease("quiet") as lease:
            assert lease.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_an_address_or_interface_that_is_not_there_is_a_failed_dial_in_words(berthd, upstream):
    daemon = berthd({"address": {"endpoints": [upstream.url], "source_address": "192.0.2.1"},
                     "family": {"endpoints": [upstream.url], "source_address": "::1"},
                     "interface": {"endpoints": [upstream.url], "interface": "none0"}})
    with daemon.session() as session:
        for key, words in [("address", 'source_address "192.0.2.1": Cannot assign requested address'),
                           ("family", 'source_address "::1" is not of the family of the server\'s address'),
                           ("interface", 'interface "none0": No such device')]:
            with pytest.raises(berth.UpstreamDown, match=re.escape(words)):
                session.lease(key)
