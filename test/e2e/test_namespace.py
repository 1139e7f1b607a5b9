"""A process without a network reaches the upstreams that its pools name, and nothing else."""

import os
import socket
import struct
import subprocess

import pytest

import berth
from berthd import BERTH, BERTHD
from processes import DEADLINE_S, Child, disconnect, wait_until
from servers import need
from servers import redis as ask_redis
from upstream import ask

TCP_SYN_SENT = 2
SO_DETACH_FILTER = 27


@pytest.fixture(autouse=True)
def namespaces():
    """Skips where the machine makes no network namespaces."""
    try:
        Child(lambda parent: None, no_network=True).result()
    except AssertionError as error:
        pytest.skip(f"no network namespaces here: {str(error).splitlines()[-1]}")


def pinned(server):
    return {"inside": {"endpoints": [server.url], "sandbox": "pinned", "max_connections": 2}}


def talk_to_redis(parent, path, port):
    with pytest.raises(OSError):  # there is no network
        socket.create_connection(("127.0.0.1", port), timeout=1)
    with berth.Session(path) as session:
        for _ in range(50):
            with session.lease("inside") as lease:
                ask_redis(lease.sock, "INCR", "from inside")


def test_a_process_without_network_talks_to_redis_outside(berthd, redis, child):
    daemon = berthd(pinned(redis))
    child(talk_to_redis, daemon.path, redis.port, no_network=True).result()
    assert redis.command("GET", "from inside") == "50"
    assert redis.connections() == 1


def unshare():
    return [*need("unshare"), "--net", *([] if os.getuid() == 0 else ["--map-root-user"])]


def test_berth_pipe_works_under_unshare(berthd, redis):
    daemon = berthd(pinned(redis))
    done = subprocess.run([*unshare(), BERTH, "pipe", "inside"], input="PING\r\n", env=daemon.environment(),
                          capture_output=True, text=True, timeout=20)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("+PONG", "", 0)


def ask_for(parent, path, key):
    with berth.Session(path) as session:
        try:
            session.lease(key)
        except berth.Error as error:
            return type(error).__name__, str(error)
        return "granted"


def test_where_leases_are_direct_it_is_refused_and_told_what_to_do(berthd, upstream, child):
    daemon = berthd({"outside": {"endpoints": [upstream.url], "handoff": "direct"}})
    kind, words = child(ask_for, daemon.path, "outside", no_network=True).result()
    assert kind == "NotPermitted"
    assert 'sandbox = "pinned"' in words and "network namespace" in words
    assert child(ask_for, daemon.path, "outside").result() == "granted"


def test_a_url_key_is_carried_into_a_namespace(berthd, upstream, child):
    daemon = berthd()
    assert child(ask_for, daemon.path, upstream.url, no_network=True).result() == "granted"


def tcp_state(sock):
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    state, _, retransmits = struct.unpack_from("BBB", info)
    return state, retransmits


def has_tried_in_vain(sock):
    state, retransmits = tcp_state(sock)
    return state == TCP_SYN_SENT and retransmits > 0


def try_to_break_out(parent, path, port):
    with berth.Session(path) as session, session.lease("inside") as lease:
        assert ask(lease.sock) == 1
        with pytest.raises(OSError):
            lease.sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        disconnect(lease.sock)
        lease.sock.setblocking(False)
        lease.sock.connect_ex(("127.0.0.1", port))
        wait_until(lambda: has_tried_in_vain(lease.sock), "no answer to the first and second SYN")


def test_a_pinned_socket_that_is_connected_elsewhere_gets_no_answer(berthd, upstream, other_upstream, child):
    daemon = berthd(pinned(upstream))
    child(try_to_break_out, daemon.path, other_upstream.port, no_network=True).result()
    assert other_upstream.accepted == 0
    with daemon.session().lease("inside") as lease:
        assert ask(lease.sock) == 2


def listen_outside(parent, path):
    with berth.Session(path) as session, session.lease("inside") as lease:
        assert ask(lease.sock) == 1
        disconnect(lease.sock)
        lease.sock.listen()
        parent.say(lease.sock.getsockname()[1])
        parent.hear()
        lease.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            lease.sock.accept()


def test_a_pinned_socket_that_listens_is_reached_by_nobody(berthd, upstream, child):
    """It does listen in berthd's network namespace; but its filter takes packets of its peer only."""
    daemon = berthd(pinned(upstream))
    listener = child(listen_outside, daemon.path, no_network=True)
    port = listener.hear()
    with socket.socket() as caller:
        caller.setblocking(False)
        caller.connect_ex(("127.0.0.1", port))
        wait_until(lambda: has_tried_in_vain(caller), "no answer to the first and second SYN")
    listener.tell()
    listener.result()


def test_the_pin_is_on_every_tcp_connection_before_anyone_has_it(berthd, upstream):
    """Whoever got it in berthd's own namespace may pass it into another."""
    with berthd({"echo": {"endpoints": [upstream.url]}}).session().lease("echo") as lease:
        with pytest.raises(PermissionError):
            lease.sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def without_privileges():
    return [*need("setpriv"), "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []


def test_without_privileges_sockets_are_served_pinned_or_not(berthd, upstream):
    """Some kernels let only CAP_NET_ADMIN put a filter on a TCP socket."""
    daemon = berthd({"echo": {"endpoints": [upstream.url]}}, within=without_privileges())
    with daemon.session() as session:
        for _ in range(3):
            with session.lease("echo") as lease:
                assert ask(lease.sock) == 1


def test_what_leaves_the_namespace_is_pinned_or_not_served_at_all(folder, upstream):
    config = folder / "berthd.toml"
    config.write_text(f'[pool.echo]\nendpoints = ["{upstream.url}"]\nsandbox = "pinned"\n')
    command = [*without_privileges(), BERTHD, "--user", "--runtime-dir", folder, "--config", config]
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = next(line for line in daemon.stderr if "ready" in line or "cannot pin" in line)
        if "ready" in said:
            pytest.skip("this kernel lets everybody put a filter on a TCP socket")
        assert 'pool "echo" says sandbox = "pinned"' in said
        assert daemon.wait(DEADLINE_S) != 0
    finally:
        daemon.kill()
        daemon.wait()
