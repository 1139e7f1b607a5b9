"""The Python client and `berth pipe` with a scripted daemon that grants sockets under kernel TLS."""

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import tempfile

import berth
import berth.asyncio
import daemon
import ktls
import pytest
from berth import _frames as frames
from berthd import BERTH
from processes import DEADLINE_S


@contextlib.contextmanager
def granting():
    """The path of a daemon that grants one connection; the server's end of it."""
    near, far = ktls.pair()

    def script(peer):
        peer.greet()
        request = peer.expect(frames.LeaseRequest)
        peer.send(frames.Grant(request.request_id, (frames.GrantedLease(1, False),)), [near.fileno()])
        near.close()
        while peer.receive() is not None:
            pass

    with tempfile.TemporaryDirectory() as folder:
        played = daemon.Daemon(f"{folder}/sock", script)
        try:
            yield played.path, far
        finally:
            far.close()
            played.finish()


@contextlib.contextmanager
def leased():
    with granting() as (path, far), berth.Session(path) as session, session.lease("tls") as lease:
        yield lease.sock, far


def test_bytes_go_both_ways():
    with leased() as (sock, far):
        assert type(sock) is berth.TlsSocket
        sock.sendall(b"ping")
        assert far.recv(10) == b"ping"
        far.sendall(b"pong")
        assert sock.recv(10) == b"pong"


def test_a_close_notify_is_the_end_and_stays_it():
    with leased() as (sock, far):
        far.sendall(b"last words")
        ktls.say_record(far, ktls.ALERT, ktls.CLOSE_NOTIFY)
        assert [sock.recv(100) for _ in range(3)] == [b"last words", b"", b""]


def test_a_file_of_it_ends_with_a_close_notify():
    with leased() as (sock, far):
        far.sendall(b"one\ntwo\n")
        ktls.say_record(far, ktls.ALERT, ktls.CLOSE_NOTIFY)
        with sock.makefile("rb") as lines:
            assert list(lines) == [b"one\n", b"two\n"]


def test_asyncio_sees_the_end():
    async def read(session):
        async with berth.asyncio.connection(session, "tls") as (reader, writer):
            writer.write(b"ping")
            return await reader.read()

    with granting() as (path, far), berth.Session(path) as session:
        far.sendall(b"all of it")
        ktls.say_record(far, ktls.ALERT, ktls.CLOSE_NOTIFY)
        assert asyncio.run(read(session)) == b"all of it"


def test_a_request_for_renegotiation_is_skipped():
    with leased() as (sock, far):
        ktls.say_record(far, ktls.HANDSHAKE, ktls.HELLO_REQUEST)
        far.sendall(b"data")
        assert sock.recv(100) == b"data"
        buffer = bytearray(10)
        ktls.say_record(far, ktls.HANDSHAKE, ktls.HELLO_REQUEST)
        far.sendall(b"more")
        assert sock.recv_into(buffer) == 4


def test_another_alert_is_an_error_that_names_it():
    with leased() as (sock, far):
        ktls.say_record(far, ktls.ALERT, ktls.INTERNAL_ERROR)
        with pytest.raises(OSError, match="alert 80") as raised:
            sock.recv(100)
        assert raised.value.errno == errno.EPROTO


def test_a_timeout_is_kept():
    with leased() as (sock, _):
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_a_shutdown_says_close_notify():
    with leased() as (sock, far):
        sock.shutdown(socket.SHUT_WR)
        assert ktls.hear_record(far) == (ktls.ALERT, ktls.CLOSE_NOTIFY)
        assert far.recv(1) == b""


def test_sockets_without_tls_are_plain():
    for sock in (socket.socketpair()[0], ktls.plain_pair()[0]):
        berth._tls.know_tls(sock)  # pylint: disable=protected-access
        assert type(sock) is socket.socket
        sock.close()


def pipe(path, **options):
    environment = {**os.environ, "BERTH_SOCKET": path}
    return subprocess.Popen([BERTH, "pipe", "tls"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **options)


def test_berth_pipe_ends_with_a_close_notify():
    with granting() as (path, far):
        program = pipe(path)
        far.sendall(b"220 hello\r\n" * 10_000)
        ktls.say_record(far, ktls.ALERT, ktls.CLOSE_NOTIFY)
        out, err = program.communicate(timeout=DEADLINE_S)
        assert (out, err, program.returncode) == (b"220 hello\r\n" * 10_000, b"", 0)


def test_berth_pipe_says_close_notify_at_the_end_of_its_input():
    with granting() as (path, far):
        program = pipe(path)
        program.stdin.write(b"QUIT\r\n")
        program.stdin.close()
        program.stdin = None
        assert far.recv(100) == b"QUIT\r\n"
        assert ktls.hear_record(far) == (ktls.ALERT, ktls.CLOSE_NOTIFY)
        far.sendall(b"bye\r\n")
        ktls.say_record(far, ktls.ALERT, ktls.CLOSE_NOTIFY)
        out, err = program.communicate(timeout=DEADLINE_S)
        assert (out, err, program.returncode) == (b"bye\r\n", b"", 0)


def test_berth_pipe_tells_of_an_alert():
    with granting() as (path, far):
        program = pipe(path)
        ktls.say_record(far, ktls.ALERT, ktls.INTERNAL_ERROR)
        _, err = program.communicate(timeout=DEADLINE_S)
        assert program.returncode != 0
        assert b"alert 80" in err, err
