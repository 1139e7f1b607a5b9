"""berthd makes the handshake; the program gets the bare socket, and the kernel does the records. Servers: OpenSSL."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time

import berth
import ktls
import pytest
from processes import wait_until
from tls_server import CIPHERS

MIB = 1 << 20
SOON_S = 60  # emulation is slow


def echoes(sock, data):
    """Sends and reads at a time, since both ends' buffers are smaller."""
    heard = bytearray()
    speaker = threading.Thread(target=sock.sendall, args=[data])
    speaker.start()
    while len(heard) < len(data):
        part = sock.recv(256 * 1024)
        assert part, f"the end after {len(heard)} of {len(data)} bytes"
        heard += part
    speaker.join()
    return heard == data


def is_bare(sock):
    return sock.family == socket.AF_INET and ktls.has_layer(sock)


def use_once(daemon):
    with daemon.session() as session, session.lease("tls") as lease:
        assert is_bare(lease.sock) and echoes(lease.sock, b"x")
        return lease.reused


def ended(connection):
    return wait_until(lambda: connection.ended, "the server sees the end", SOON_S)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_full_and_resumed_connections_carry_a_byte_and_64_mib_both_ways(server, daemon, cipher):
    upstream = server(suites=CIPHERS[cipher])
    data = os.urandom(MIB) * 64
    with daemon(upstream).session() as session, session.lease("tls") as full, session.lease("tls") as resumed:
        for lease in (full, resumed):
            assert is_bare(lease.sock)
            assert echoes(lease.sock, b"x")
            assert echoes(lease.sock, data)
    assert [(each.cipher, each.resumed) for each in upstream.connections] == [
        (CIPHERS[cipher], False), (CIPHERS[cipher], True)]


def test_a_second_process_uses_the_same_connection(server, daemon, child):
    upstream = server()
    path = daemon(upstream).path

    def use(_):
        with berth.Session(path) as session, session.lease("tls") as lease:
            return is_bare(lease.sock) and echoes(lease.sock, b"hello"), lease.reused

    assert child(use).result(SOON_S) == (True, False)
    assert child(use).result(SOON_S) == (True, True)
    assert len(upstream.connections) == 1


def test_a_greeting_right_behind_the_handshake_is_not_lost(server, daemon):
    with daemon(server(greeting=b"220 ready\r\n")).session() as session, session.lease("tls") as lease:
        assert lease.sock.recv(100) == b"220 ready\r\n"


@pytest.mark.parametrize("what", ["data", "close_notify", "garbage", "part of a record"])
def test_what_the_server_says_while_it_is_idle_closes_it(server, daemon, what):
    upstream = server()
    d = daemon(upstream)
    use_once(d)
    first = upstream.connections[0]
    if what == "data":
        first.order(first.say, b"late")
    elif what == "close_notify":
        first.order(first.say_close_notify)
    elif what == "garbage":
        first.order(first.say_garbage)
    else:
        first.order(lambda: os.write(first._sock.fileno(), b"\x17\x03\x03"))  # pylint: disable=protected-access
    wait_until(lambda: d.connections_to(upstream.port) == 0, "it is closed", SOON_S)
    assert use_once(d) is False


def test_an_alert_ends_the_holders_stream_and_the_connection(server, daemon):
    upstream = server()
    d = daemon(upstream)
    with d.session() as session, session.lease("tls") as lease:
        ktls.say_record(lease.sock, 99, b"no such record")
        with pytest.raises(OSError, match="alert 10"):  # unexpected_message
            lease.sock.recv(1)
    assert use_once(d) is False


def test_a_server_that_restarts_is_dialled_anew(server, daemon):
    upstream = server()
    d = daemon(upstream)
    use_once(d)
    upstream.stop()
    wait_until(lambda: d.connections_to(upstream.port) == 0, "the connection is given up", SOON_S)
    upstream.start()
    assert use_once(d) is False
    assert upstream.connections[-1].resumed is False, "its tickets are another server's"


def test_a_close_of_the_daemons_says_close_notify(server, daemon):
    upstream = server()
    d = daemon(upstream, idle_timeout="500ms")
    use_once(d)
    assert ended(upstream.connections[0]) == "close_notify"


def test_a_connection_that_nobody_had_is_closed_with_close_notify(server, daemon):
    upstream = server()
    d = daemon(upstream, min_idle=1)
    wait_until(lambda: upstream.connections and upstream.connections[0].cipher, "it is dialled", SOON_S)
    wait_until(lambda: d.connections_to(upstream.port) == 1, "it is there", SOON_S)
    time.sleep(1)  # the server's word of the handshake's end may come before the daemon's
    d.stop()
    assert ended(upstream.connections[0]) == "close_notify"


def test_a_holder_that_shut_down_its_end_leaves_no_connection_to_others(server, daemon):
    d = daemon(server())
    with d.session() as session:
        with session.lease("tls") as lease:
            assert echoes(lease.sock, b"x")
            lease.sock.shutdown(socket.SHUT_WR)
    assert use_once(d) is False


def test_options_of_the_last_holder_are_gone_but_not_the_layer(server, daemon):
    upstream = server()
    d = daemon(upstream)
    with d.session() as session, session.lease("tls") as lease:
        lease.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1000)
        assert echoes(lease.sock, b"x" * 1000)
    with d.session() as session, session.lease("tls") as lease:
        assert lease.reused and is_bare(lease.sock)
        assert lease.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


def test_a_revoked_lease_ends_although_it_cannot_be_reset(server, daemon):
    upstream = server()
    d = daemon(upstream, lease_timeout="1s")
    with d.session() as session, contextlib.suppress(berth.Error):
        with session.lease("tls") as lease:
            assert echoes(lease.sock, b"x")
            assert lease.sock.recv(1) == b""
            assert isinstance(wait_until(lambda: lease.revoked, "it says so", SOON_S), berth.Revoked)
    assert ended(upstream.connections[0])
    assert use_once(d) is False


# A send(2) that waits keeps out whoever else would send, the daemon too.
def test_a_duplicate_within_a_send_holds_up_nobody(server, daemon, child):
    upstream = server(reads=False)
    d = daemon(upstream)

    def block(parent):
        with berth.Session(d.path) as session:
            lease = session.lease("tls")
            other = os.fork()  # keeps the socket, when this one and its session have gone
            if other == 0:
                with contextlib.suppress(OSError):
                    lease.sock.sendall(bytes(64 * MIB))
                os._exit(0)
            parent.say(other)
            parent.hear()
            os._exit(0)

    holder = child(block)
    other = holder.hear(SOON_S)
    wait_until(lambda: b"wait_memory" in wchan(other) or is_asleep(other), "it waits within send(2)", SOON_S)
    holder.kill()
    upstream.reads = True
    began = time.monotonic()
    assert use_once(d) is False
    assert time.monotonic() - began < 20
    with contextlib.suppress(ProcessLookupError):
        os.kill(other, signal.SIGKILL)


def wchan(pid):
    with open(f"/proc/{pid}/wchan", "rb") as file:
        return file.read()


def is_asleep(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "S"


@contextlib.contextmanager
def no_kernel_tls():
    def gone():
        return subprocess.run(["rmmod", "tls"], capture_output=True, check=False).returncode == 0
    wait_until(gone, "the kernel lets go of its module tls", SOON_S)
    try:
        yield
    finally:
        subprocess.run(["insmod", "/modules/tls.ko"], check=True)


def test_where_the_kernel_cannot_bytes_are_carried(server, daemon):
    upstream = server()
    with no_kernel_tls():
        with daemon(upstream, handoff="auto").session() as session, session.lease("tls") as lease:
            assert lease.sock.family == socket.AF_UNIX
            assert echoes(lease.sock, b"x" * MIB)


def test_where_the_kernel_cannot_a_pool_that_insists_says_what_would_help(server, daemon):
    upstream = server()
    with no_kernel_tls():
        with daemon(upstream).session() as session:
            with pytest.raises(berth.Error, match="modprobe tls"):
                session.lease("tls", timeout=5)


def test_auto_hands_over_where_the_kernel_can(server, daemon):
    with daemon(server(), handoff="auto").session() as session, session.lease("tls") as lease:
        assert is_bare(lease.sock) and echoes(lease.sock, b"x")


def test_relay_carries_although_the_kernel_could(server, daemon):
    with daemon(server(), handoff="relay").session() as session, session.lease("tls") as lease:
        assert lease.sock.family == socket.AF_UNIX and echoes(lease.sock, b"x" * MIB)
