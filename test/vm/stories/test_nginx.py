"""The same with nginx: HTTP over connections that the kernel encrypts."""

import os
import socket

import berth
import ktls
import pytest
from processes import wait_until
from servers import Nginx
from tls_server import CIPHERS

SIZE = 64 << 20
SOON_S = 60


def request(sock, text, body=b""):
    """The answer's body."""
    sock.sendall(text.encode() + b" HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body))
    sock.sendall(body)
    with sock.makefile("rb") as answer:
        status = answer.readline()
        assert status.startswith(b"HTTP/1.1 200 "), status
        fields = dict(line.rstrip().lower().split(b": ") for line in iter(answer.readline, b"\r\n"))
        return answer.read(int(fields[b"content-length"]))


@pytest.fixture
def nginx(certificate, tmp_path):
    """nginx(suites, **options) answers with its cipher, "r" if the session is resumed, and which request it was."""
    started = []
    (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 64)
    tmp_path.chmod(0o755)

    def begin(suites=":".join(CIPHERS.values()), **options):
        lines = (f"ssl_protocols TLSv1.2; ssl_ciphers {suites}; ssl_session_cache shared:s:1m; "
                 f"client_max_body_size 100m; location /big {{ root {tmp_path}; }}")
        place = tmp_path / str(len(started))
        place.mkdir()
        started.append(Nginx(place, tls=certificate, tls_options=lines,
                             answer="$ssl_cipher $ssl_session_reused $connection_requests", **options))
        return started[-1]

    yield begin
    for each in started:
        each.kill()


@pytest.mark.parametrize("cipher", CIPHERS)
def test_full_and_resumed_connections_carry_64_mib_each_way(nginx, daemon, tmp_path, cipher):
    suite = CIPHERS[cipher]
    with daemon(nginx(suite)).session() as session, session.lease("tls") as full, session.lease("tls") as resumed:
        for lease, mark in ((full, "."), (resumed, "r")):
            assert lease.sock.family == socket.AF_INET and ktls.has_layer(lease.sock)
            assert request(lease.sock, "GET /").decode() == f"{suite} {mark} 1"
            assert request(lease.sock, "GET /big") == (tmp_path / "big").read_bytes()
            request(lease.sock, "POST /", bytes(SIZE))
            assert request(lease.sock, "GET /").decode() == f"{suite} {mark} 4"


def test_a_second_process_uses_the_same_connection(nginx, daemon, child):
    path = daemon(nginx()).path

    def use(_):
        with berth.Session(path) as session, session.lease("tls") as lease:
            return request(lease.sock, "GET /").split()[2], lease.reused

    assert child(use).result(SOON_S) == (b"1", False)
    assert child(use).result(SOON_S) == (b"2", True)


def test_nginx_closes_an_idle_connection_and_the_next_lease_has_another(nginx, daemon):
    upstream = nginx(keepalive_timeout="1s")
    d = daemon(upstream)
    with d.session() as session:
        with session.lease("tls") as lease:
            assert request(lease.sock, "GET /").endswith(b" 1")
        wait_until(lambda: d.connections_to(upstream.port) == 0, "it is closed", SOON_S)
        with session.lease("tls") as lease:
            assert request(lease.sock, "GET /").endswith(b" 1") and not lease.reused


def test_the_end_of_an_answer_without_length_is_its_close_notify(nginx, daemon):
    with daemon(nginx()).session() as session, session.lease("tls") as lease:
        lease.sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with lease.sock.makefile("rb") as answer:
            assert answer.read().endswith(b" 1")
        lease.discard()


def test_nginx_that_restarts_is_dialled_anew(nginx, daemon):
    upstream = nginx()
    d = daemon(upstream)
    with d.session() as session:
        with session.lease("tls") as lease:
            request(lease.sock, "GET /")
        upstream.kill()
        wait_until(lambda: d.connections_to(upstream.port) == 0, "the connection is given up", SOON_S)
        nginx(port=upstream.port)
        with session.lease("tls") as lease:
            assert request(lease.sock, "GET /").endswith(b" 1")
