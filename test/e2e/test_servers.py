"""memcached over a Unix socket, HTTP keep-alive with nginx, and sshd, which speaks first."""

import http.client
import subprocess
import time

import pytest

from berthd import BERTH, settle
from processes import wait_readable, wait_until
from servers import Nginx, need, wait_for_connections
from upstream import read_line


def test_memcached_over_its_unix_socket(berthd, memcached):
    daemon = berthd({"cache": {"endpoints": [memcached.url], "max_connections": 2}})
    for session in [daemon.session() for _ in range(4)]:
        for n in range(50):
            with session.lease("cache") as lease:
                lease.sock.sendall(b"set key 0 0 2\r\n%02d\r\nget key\r\n" % n)
                answer = [read_line(lease.sock) for _ in range(4)]
            assert answer == [b"STORED", b"VALUE key 0 2", b"%02d" % n, b"END"]
    assert memcached.connections() <= 2


def get(sock, path="/"):
    """nginx's number of the connection, and of the request on it."""
    connection = http.client.HTTPConnection("upstream")
    connection.sock = sock
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read().decode()


def get_numbers(session):
    with session.lease("web") as lease:
        return [int(number) for number in get(lease.sock).split()]


def web(server, **settings):
    return {"web": {"endpoints": [server.url], "max_connections": 1, **settings}}


def test_http_requests_of_many_sessions_share_a_kept_alive_connection(berthd, nginx):
    daemon = berthd(web(nginx()))
    seen = [get_numbers(daemon.session()) for _ in range(20)]
    assert len({connection for connection, _ in seen}) == 1
    assert [request for _, request in seen] == list(range(1, 21))


def test_nginx_counts_no_more_connections_than_the_pool_has(berthd, nginx):
    server = nginx()
    session = berthd(web(server, max_connections=3)).session()
    with session.lease("web") as lease:
        accepted_before = int(get(lease.sock, "/status").split()[7])
    for _ in range(30):
        with session.lease_many("web", 3) as leases:
            for lease in leases:
                get(lease.sock)
    with session.lease("web") as lease:
        assert int(get(lease.sock, "/status").split()[7]) == accepted_before + 2


def test_a_connection_on_which_nginx_takes_no_more_requests_is_replaced(berthd, nginx):
    session = berthd(web(nginx(keepalive_requests=5))).session()
    requests = [get_numbers(session)[1] for _ in range(15)]
    assert requests == [1, 2, 3, 4, 5] * 3


def test_a_connection_that_nginx_closes_for_idleness_is_closed_here_too(berthd, nginx):
    server = nginx(keepalive_timeout="1s")
    daemon = berthd(web(server))
    session = daemon.session()
    first, _ = get_numbers(session)
    wait_for_connections(0, server.port, daemon, "nginx's close is noticed", seconds=4)
    second, request = get_numbers(session)
    assert second != first and request == 1


def test_how_long_nginx_keeps_an_idle_connection_is_learnt(berthd, folder):
    server = Nginx(folder, keepalive_timeout="2s")
    try:
        daemon = berthd(web(server))
        session = daemon.session()
        for _ in range(3):
            get_numbers(session)
            wait_until(lambda: daemon.connections_to(server.port) == 0, "nginx has closed it")
        get_numbers(session)
        began = time.monotonic()
        wait_until(lambda: daemon.connections_to(server.port) == 0, "it is closed before nginx does it")
        assert 1.4 < time.monotonic() - began < 1.9
    finally:
        server.kill()


def test_sshs_greeting_waits_for_the_first_holder(berthd, sshd):
    daemon = berthd({"ssh": {"endpoints": [sshd.url], "min_idle": 1}})
    wait_until(lambda: daemon.unread_from(sshd.port) > 0, "a connection is ready, and the server has spoken")
    with daemon.session().lease("ssh") as lease:
        assert not lease.reused
        assert read_line(lease.sock).startswith(b"SSH-2.0-")


def test_a_greeting_that_the_first_holder_left_spoils_the_connection(berthd, sshd):
    session = berthd({"ssh": {"endpoints": [sshd.url], "max_connections": 1}}).session()
    for _ in range(3):
        with session.lease("ssh") as lease:
            assert not lease.reused
            assert wait_readable(lease.sock)
        settle(session)


def test_ssh_makes_its_key_exchange_through_berth_pipe(berthd, sshd, folder):
    ssh, = need("ssh")
    daemon = berthd({"ssh": {"endpoints": [sshd.url]}})
    known = folder / "known_hosts"
    known.write_text(f"somewhere {sshd.host_key()}\n")
    done = subprocess.run(
        [ssh, "-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes",
         "-o", "BatchMode=yes", "-o", f"ProxyCommand={BERTH} pipe ssh", "nobody@somewhere", "true"],
        env=daemon.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    # The host proved its key through the leased socket; that it lets nobody in is as it should be.
    assert "Permission denied (publickey" in done.stderr, done.stderr
    wait_until(daemon.has_no_sessions, "the lease ended with ssh")


@pytest.mark.parametrize("min_idle", [0, 2])
def test_the_server_that_speaks_first_is_served_again_and_again(berthd, sshd, min_idle):
    daemon = berthd({"ssh": {"endpoints": [sshd.url], "min_idle": min_idle}})
    for _ in range(5):
        session = daemon.session()
        lease = session.lease("ssh")
        assert read_line(lease.sock).startswith(b"SSH-2.0-")
        lease.discard()
